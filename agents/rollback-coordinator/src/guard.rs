//! What surrounds a rollback: the lock that all coordinators respect, and the controllers that are kept still.

mod find;
mod grip;
mod holds;

#[cfg(test)]
mod tests;

pub use find::{Found, find};
pub use grip::Grip;
pub use holds::{Ended, let_go, take};
