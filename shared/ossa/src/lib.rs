//! The Open Standard for Software Agents, as far as it can be checked in one file: YAML with places,
//! the schema verdict, conformance scores. What a manifest means for this mesh is the crate `manifest`.
//!
//! - [`Document`] is a parsed YAML file that still knows lines and columns.
//! - [`schema::check`] gives the schema verdict from this crate's own rule table.
//! - [`score()`] measures a document against a conformance profile.

mod document;
mod finding;
pub mod schema;
mod score;
pub mod secret;
#[cfg(feature = "testing")]
pub mod testing;

pub use document::{Document, Position, SyntaxError, child};
pub use finding::{Finding, Severity, Verdict};
pub use score::{Features, Profile, Score, Standing, Thresholds, score};
