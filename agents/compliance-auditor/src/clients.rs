//! The world of this agent: its store.

pub mod facets;
pub mod trail;

pub use trail::{Delivery, Kept, Refusal, Signed, Trail};
