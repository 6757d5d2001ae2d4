//! The databases and files this agent works on, behind small ports.

pub mod databases;
pub mod hooks;
pub mod postgres;
pub mod question;
pub mod source;
pub mod sqlite;
pub mod target;
pub mod watch;

pub use databases::{Database, DatabaseSpec, Databases};
pub use question::{Counted, Own, Row, Tables, Value};
pub use source::{OciRegistries, Workspace};
pub use target::{Batch, BatchOutcome, Ran, Session, Shadow, Target, TargetError, Transaction};
pub use watch::{Sample, Watch};
