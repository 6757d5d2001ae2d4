//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod abort;
mod backfill;
mod concurrency;
mod contract;
mod crash;
mod expand;
mod generated;
mod generator;
mod lifecycle;
mod shop;
mod skills;
mod staging;
mod support;
