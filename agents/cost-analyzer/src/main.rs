//! The cost-analyzer daemon.
fn main() {}
