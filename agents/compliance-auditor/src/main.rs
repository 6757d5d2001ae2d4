//! The compliance-auditor daemon.
fn main() {}
