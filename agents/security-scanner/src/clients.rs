//! Adapters to the world, each behind a small port trait.

pub mod advisories;
pub mod rbac;
pub mod workspace;
