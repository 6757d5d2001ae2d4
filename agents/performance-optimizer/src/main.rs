//! The performance-optimizer daemon.

fn main() -> std::process::ExitCode {
    shared::main::<performance_optimizer::Cli>()
}
