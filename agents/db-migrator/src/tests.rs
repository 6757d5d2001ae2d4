//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod completeness;
mod concurrency;
mod crash;
mod generated;
mod generator;
mod inverse;
mod lifecycle;
mod shop;
mod skills;
mod support;
mod versions;
