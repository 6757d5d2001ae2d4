//! The cost-analyzer daemon.

fn main() -> std::process::ExitCode {
    shared::main::<cost_analyzer::Cli>()
}
