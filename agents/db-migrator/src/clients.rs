//! The databases and files this agent works on, behind small ports.

pub mod databases;
pub mod postgres;
pub mod source;
pub mod sqlite;
pub mod target;

pub use databases::{Database, DatabaseSpec, Databases};
pub use source::{OciRegistries, Workspace};
pub use target::{Row, Session, Shadow, Target, TargetError, Transaction, Value};
