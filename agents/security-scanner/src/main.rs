//! The security-scanner daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::main::<security_scanner::Cli>()
}
