//! The db-migrator daemon.

fn main() -> std::process::ExitCode {
    shared::main::<db_migrator::Cli>()
}
