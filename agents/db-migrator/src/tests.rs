//! Tests on real databases: SQLite files and a PostgreSQL server of their own.

mod concurrency;
mod crash;
mod generated;
mod generator;
mod lifecycle;
mod lint;
mod lint_databases;
mod lint_facts;
mod lint_reports;
mod shop;
mod skills;
mod support;
