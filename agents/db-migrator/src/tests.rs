//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod adopt;
mod concurrency;
mod crash;
mod generated;
mod generator;
mod lifecycle;
mod oci;
mod shop;
mod skills;
mod support;
