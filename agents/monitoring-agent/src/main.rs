//! The monitoring-agent daemon.

fn main() -> std::process::ExitCode {
    shared::main::<monitoring_agent::Cli>()
}
