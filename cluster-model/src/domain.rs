//! The cluster as a value: objects, the API's rules, and controllers that play them forward.
//!
//! Nothing here waits, reads a clock or draws a random number: time is an argument and
//! names come from a seeded sequence, so one seed and one series of calls give one history.

pub mod admission;
pub mod controllers;
pub mod defaults;
pub mod kind;
pub mod object;
pub mod patch;
pub mod refusal;
pub mod selector;
pub mod state;
pub mod validation;
pub mod verbs;

pub use controllers::{duration, step};
pub use kind::Kind;
pub use refusal::Refusal;
pub use state::{Key, Settings, State};
