//! The rollback-coordinator daemon.

fn main() -> std::process::ExitCode {
    shared::main::<rollback_coordinator::Cli>()
}
