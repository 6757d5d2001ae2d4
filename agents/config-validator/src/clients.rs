//! The world: files, the schema on disk, the Rego engine, and the peer that finds secrets.

pub mod rego;
pub mod scanner;
pub mod schema;
pub mod workspace;
