//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod concurrency;
mod concurrent_ddl;
mod connections;
mod corpus;
mod crash;
mod fleet;
mod generated;
mod generator;
mod hooks;
mod hooks_again;
mod lifecycle;
mod locks;
mod orphan;
mod proofs;
mod receiver;
mod roles;
mod secrets;
mod shop;
mod skills;
mod support;
mod verify;
