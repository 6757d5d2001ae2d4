//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod abort;
mod backfill;
mod concurrency;
mod concurrent_ddl;
mod connections;
mod contract;
mod corpus;
mod crash;
mod expand;
mod fleet;
mod generated;
mod generator;
mod hooks;
mod lifecycle;
mod lint;
mod lint_databases;
mod lint_reports;
mod locks;
mod orphan;
mod proofs;
mod shop;
mod skills;
mod staging;
mod support;
mod verify;
