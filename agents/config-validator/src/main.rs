//! The config-validator daemon.
fn main() {}
