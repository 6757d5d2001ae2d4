//! The monitoring-agent daemon.
fn main() {}
