//! The databases and files this agent works on, behind small ports.

pub mod databases;
pub mod hooks;
pub mod postgres;
pub mod sqlite;
pub mod target;
pub mod watch;
pub mod workspace;

pub use databases::{Database, DatabaseSpec, Databases};
pub use target::{
    Batch, BatchOutcome, Own, Row, Session, Shadow, Target, TargetError, Transaction, Value,
};
pub use watch::{Sample, Watch};
pub use workspace::Workspace;
