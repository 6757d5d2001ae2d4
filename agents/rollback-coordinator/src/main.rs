//! The rollback-coordinator daemon.
fn main() {}
