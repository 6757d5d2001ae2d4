//! The performance-optimizer daemon.
fn main() {}
