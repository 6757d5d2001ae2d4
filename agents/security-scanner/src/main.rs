//! The security-scanner daemon.
fn main() {}
