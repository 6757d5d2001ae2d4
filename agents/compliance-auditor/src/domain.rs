//! What the trail and the manifests say about controls. Pure: no clock, no I/O.

pub mod assessment;
pub mod catalog;
pub mod class;
pub mod evidence;
pub mod manifests;

pub use assessment::{ControlResult, FrameworkResult, Status, assess};
pub use catalog::{Control, Framework, Severity};
pub use class::Class;
pub use evidence::{ChainVerdict, ClusterFindings, Evidence, Reference};
pub use manifests::ManifestFacts;
