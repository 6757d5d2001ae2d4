//! Which known vulnerabilities apply to which installed components.

pub mod components;
pub mod cvss;
pub mod database;
pub mod matching;
pub mod osv;
pub mod purl;
pub mod version;

pub use components::{Component, Inventory, ReadInventoryError, read_inventory};
pub use database::{AdvisoryDatabase, AdvisoryDatabaseBuilder};
pub use matching::{Effort, Evaluation, Finding, NotEvaluated, evaluate};
