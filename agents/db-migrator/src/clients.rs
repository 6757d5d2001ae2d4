//! The databases and files this agent works on, behind small ports.

pub mod databases;
pub mod hooks;
pub mod postgres;
pub mod source;
pub mod sqlite;
pub mod target;
pub mod watch;

pub use databases::{Database, DatabaseSpec, Databases};
pub use source::{OciRegistries, Workspace};
pub use target::{
    Batch, BatchOutcome, Columns, Counted, Own, Ran, Row, Session, Shadow, Target, TargetError,
    Transaction, Value,
};
pub use watch::{Sample, Watch};
