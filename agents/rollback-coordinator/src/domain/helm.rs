//! Releases of Helm: their records, their objects, and how they go back so that Helm agrees.

pub mod fields;
pub mod manifest;
pub mod matching;
pub mod merge;
mod quantity;
pub mod record;
pub mod release;

pub use manifest::{Action, Difference, Object, ObjectId};
pub use record::{Record, Status};
pub use release::{End, Member, ReleasePlan, ReleaseRefusal};
