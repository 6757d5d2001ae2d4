//! The compliance-auditor daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    shared::main::<compliance_auditor::Cli>()
}
