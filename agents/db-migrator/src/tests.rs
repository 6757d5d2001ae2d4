//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod adopt;
mod baseline;
mod concurrency;
mod concurrent_ddl;
mod connections;
mod corpus;
mod crash;
mod generated;
mod generator;
mod lifecycle;
mod locks;
mod oci;
mod orphan;
mod proofs;
mod shop;
mod skills;
mod support;
