//! The config-validator daemon.

fn main() -> std::process::ExitCode {
    shared::main::<config_validator::Cli>()
}
