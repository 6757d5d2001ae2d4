//! DORA metrics from events: facts that can be joined in any order, and numbers from facts.
//!
//! An event becomes a few [`Facts`]. Facts form a join semilattice: [`Facts::absorb`] is commutative, associative
//! and idempotent, so lost order and repeated deliveries cannot change a number.

pub mod assign;
pub mod changes;
pub mod clock;
pub mod deployments;
pub mod fact;
pub mod facts;
pub mod failures;
pub mod hook;
pub mod level;
pub mod measure;
mod numbers;
pub mod page;
pub mod release;
pub mod report;

pub use fact::Sha;
pub use facts::Facts;
pub use hook::{Hook, Unreadable};
pub use measure::{Project, Question, measure};
pub use report::{Definition, Interval, Report};

#[cfg(test)]
mod tests;
