//! The db-migrator daemon.
fn main() {}
