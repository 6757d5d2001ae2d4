//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod concurrency;
mod crash;
mod fleet;
mod generated;
mod generator;
mod hooks;
mod lifecycle;
mod shop;
mod skills;
mod support;
mod verify;
