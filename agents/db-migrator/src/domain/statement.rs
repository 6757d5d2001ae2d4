//! What a statement is: its kind, whether it may share a transaction, which lock it takes, and whether it is allowed.

mod forbidden;
mod names;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Dialect,
    lex::{self, Kind},
};
use forbidden::{LEDGER, forbidden_in_postgres, forbidden_in_sqlite};
use names::{kind, object, rename};

/// The strongest lock that a statement takes on a table that others use.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// None that another session notices.
    None,
    /// Rows only (`ROW EXCLUSIVE`): readers and writers go on.
    RowExclusive,
    /// Readers and writers go on, other schema changes wait (`SHARE UPDATE EXCLUSIVE`).
    ShareUpdateExclusive,
    /// Readers go on, writers wait (`SHARE`).
    Share,
    /// Readers go on, writers and `SHARE` wait (`SHARE ROW EXCLUSIVE`).
    ShareRowExclusive,
    /// Readers and writers wait (`ACCESS EXCLUSIVE`).
    AccessExclusive,
    /// SQLite's single write lock: readers go on (WAL), writers wait.
    DatabaseWrite,
}

/// One statement of a script, classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The SQL without its final `;`.
    pub text: String,
    /// Its leading keywords, for example `CREATE INDEX CONCURRENTLY`.
    pub kind: String,
    /// The object it names, as written; empty when it names none.
    pub object: String,
    /// Whether it may run inside a transaction.
    pub transactional: bool,
    /// Whether it must commit before the next statement may use its result (`ALTER TYPE ... ADD VALUE`).
    pub commits_alone: bool,
    /// Whether it only switches SQLite's foreign keys off or on: the runner does that outside the transaction.
    pub foreign_key_switch: bool,
    /// The strongest lock it takes.
    pub lock: Lock,
    /// What it renames.
    pub rename: Option<Rename>,
}

impl Statement {
    /// Its keywords and object: `INSERT log`.
    pub fn what(&self) -> String {
        format!("{} {}", self.kind, self.object)
            .trim_end()
            .to_owned()
    }
}

/// `ALTER TABLE ... RENAME`: what has a new name afterwards is not new. Names are without schema and quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The table.
    pub table: String,
    /// The column, unless the table itself is renamed.
    pub column: Option<String>,
    /// The new name.
    pub to: String,
}

/// A statement that no migration may contain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} is not allowed in a migration: {reason}")]
pub struct Forbidden {
    /// Its leading keywords.
    pub kind: String,
    /// Why.
    pub reason: &'static str,
}

/// Classifies one statement.
///
/// # Errors
/// [`Forbidden`], when no migration may contain it.
pub fn classify(text: String, dialect: Dialect) -> Result<Statement, Forbidden> {
    let words = words(&text, dialect);
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    let kind = kind(&words, dialect);
    let forbidden = match dialect {
        Dialect::Sqlite => forbidden_in_sqlite(&words),
        Dialect::Postgres => forbidden_in_postgres(&words),
    };
    let touches_ledger = text.to_ascii_lowercase().contains("db_migrator");
    if let Some(reason) = forbidden.or_else(|| touches_ledger.then_some(LEDGER)) {
        return Err(Forbidden { kind, reason });
    }
    let transactional = match dialect {
        Dialect::Sqlite => !starts(&words, &["VACUUM"]),
        Dialect::Postgres => transactional_in_postgres(&words),
    };
    Ok(Statement {
        object: object(&text, dialect),
        transactional,
        commits_alone: starts(&words, &["ALTER", "TYPE"]) && has_pair(&words, "ADD", "VALUE"),
        foreign_key_switch: dialect == Dialect::Sqlite
            && starts(&words, &["PRAGMA", "FOREIGN_KEYS"]),
        lock: lock(&words, dialect),
        rename: rename(&text, dialect),
        kind,
        text,
    })
}

/// Words and quoted names in upper case, without literals.
fn words(text: &str, dialect: Dialect) -> Vec<String> {
    let tokens = lex::tokens(text, dialect).unwrap_or_default();
    tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        .map(|token| token.text.to_ascii_uppercase())
        .collect()
}

fn starts(words: &[&str], prefix: &[&str]) -> bool {
    words.starts_with(prefix)
}

fn has(words: &[&str], word: &str) -> bool {
    words.contains(&word)
}

fn has_pair(words: &[&str], first: &str, second: &str) -> bool {
    words.windows(2).any(|pair| pair == [first, second])
}

fn one_of(words: &[&str], first: &[&str], second: &[&str]) -> bool {
    words.first().is_some_and(|word| first.contains(word))
        && words.get(1).is_some_and(|word| second.contains(word))
}

fn first_is(words: &[&str], options: &[&str]) -> bool {
    words.first().is_some_and(|word| options.contains(word))
}

/// The list of statements that PostgreSQL refuses inside a transaction block.
fn transactional_in_postgres(words: &[&str]) -> bool {
    let concurrently = has(words, "CONCURRENTLY")
        && (one_of(words, &["CREATE", "DROP"], &["INDEX", "UNIQUE"])
            || first_is(words, &["REINDEX"])
            || has_pair(words, "DETACH", "PARTITION"));
    let whole_database = starts(words, &["REINDEX"])
        && words
            .iter()
            .skip(1)
            .any(|word| matches!(*word, "DATABASE" | "SYSTEM"));
    let cluster_all =
        starts(words, &["CLUSTER"]) && words.iter().skip(1).all(|word| *word == "VERBOSE");
    !(concurrently || whole_database || cluster_all || starts(words, &["VACUUM"]))
}

fn lock(words: &[&str], dialect: Dialect) -> Lock {
    if first_is(words, &["SELECT", "VALUES", "WITH", "SHOW", "EXPLAIN"]) {
        return Lock::None;
    }
    if dialect == Dialect::Sqlite {
        return Lock::DatabaseWrite;
    }
    if !transactional_in_postgres(words) && has(words, "CONCURRENTLY") {
        return Lock::ShareUpdateExclusive;
    }
    match words {
        ["INSERT" | "UPDATE" | "DELETE" | "MERGE", ..] => Lock::RowExclusive,
        ["CREATE", "INDEX" | "UNIQUE", ..] => Lock::Share,
        ["CREATE", rest @ ..] if has(rest.get(..4).unwrap_or(rest), "TRIGGER") => {
            Lock::ShareRowExclusive
        }
        ["ALTER", "TABLE", ..]
            if has_pair(words, "VALIDATE", "CONSTRAINT") || has(words, "STATISTICS") =>
        {
            Lock::ShareUpdateExclusive
        }
        ["ALTER", "TABLE", ..]
            if has_pair(words, "FOREIGN", "KEY") && !has_pair(words, "ADD", "COLUMN") =>
        {
            Lock::ShareRowExclusive
        }
        ["VACUUM", rest @ ..] if !has(rest, "FULL") => Lock::ShareUpdateExclusive,
        ["ANALYZE", ..] | ["COMMENT", "ON", ..] => Lock::ShareUpdateExclusive,
        ["CREATE" | "GRANT" | "REVOKE" | "SET" | "RESET", ..]
        | [
            "DROP" | "ALTER",
            "FUNCTION" | "PROCEDURE" | "TYPE" | "DOMAIN" | "SCHEMA" | "SEQUENCE" | "EXTENSION",
            ..,
        ] => Lock::None,
        _ => Lock::AccessExclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> Statement {
        classify(text.into(), Dialect::Postgres).unwrap()
    }

    #[test]
    fn knows_what_postgres_refuses_inside_a_transaction() {
        for text in [
            "create unique index concurrently if not exists i on t (a)",
            "drop index concurrently i",
            "reindex index concurrently i",
            "reindex (verbose) database x",
            "vacuum full t",
            "cluster",
            "alter table p detach partition q concurrently",
        ] {
            assert!(!postgres(text).transactional, "{text}");
        }
        for text in [
            "create index i on t (a)",
            "cluster t using i",
            "refresh materialized view concurrently v",
            "alter type e add value 'x'",
            "insert into t values ('vacuum')",
        ] {
            assert!(postgres(text).transactional, "{text}");
        }
        assert!(postgres("alter type e add value 'x'").commits_alone);
    }

    #[test]
    fn names_kind_object_and_lock() {
        for (text, kind, object, lock) in [
            (
                "create unique index concurrently i on s.t (a)",
                "CREATE UNIQUE INDEX CONCURRENTLY",
                "i",
                Lock::ShareUpdateExclusive,
            ),
            ("create index i on t (a)", "CREATE INDEX", "i", Lock::Share),
            (
                "alter table only \"S\".t add column c int",
                "ALTER TABLE",
                "\"S\".t",
                Lock::AccessExclusive,
            ),
            (
                "alter table t add constraint f foreign key (a) references u",
                "ALTER TABLE",
                "t",
                Lock::ShareRowExclusive,
            ),
            (
                "insert into t values (1)",
                "INSERT",
                "t",
                Lock::RowExclusive,
            ),
            (
                "create or replace function f() returns int",
                "CREATE OR REPLACE FUNCTION",
                "f",
                Lock::None,
            ),
            (
                "drop table if exists t",
                "DROP TABLE",
                "t",
                Lock::AccessExclusive,
            ),
        ] {
            let statement = postgres(text);
            assert_eq!(
                (
                    statement.kind.as_str(),
                    statement.object.as_str(),
                    statement.lock
                ),
                (kind, object, lock),
                "{text}"
            );
        }
        assert_eq!(
            classify("create table t (a)".into(), Dialect::Sqlite)
                .unwrap()
                .lock,
            Lock::DatabaseWrite
        );
    }

    #[test]
    fn reads_renames() {
        let rename = |text: &str| {
            postgres(text)
                .rename
                .map(|rename| (rename.table, rename.column, rename.to))
        };
        assert_eq!(
            rename("alter table if exists only s.\"T\" rename column a to b"),
            Some(("t".into(), Some("a".into()), "b".into()))
        );
        assert_eq!(
            rename("ALTER TABLE t RENAME a TO b"),
            Some(("t".into(), Some("a".into()), "b".into()))
        );
        assert_eq!(
            rename("alter table n rename to p"),
            Some(("n".into(), None, "p".into()))
        );
        assert_eq!(rename("alter table t rename constraint a to b"), None);
        assert_eq!(rename("create table rename (a int)"), None);
    }

    #[test]
    fn forbids_what_leaves_the_database_the_transaction_or_the_ledger() {
        for text in [
            "begin",
            "commit",
            "create database x",
            "alter system set a = 1",
            "create role r",
            "grant admin to bob",
            "copy t to program 'sh'",
            "copy t from stdin",
            "set role x",
            "delete from db_migrator.run",
            "select pg_advisory_unlock_all()",
            "drop owned by x",
        ] {
            assert!(classify(text.into(), Dialect::Postgres).is_err(), "{text}");
        }
        for text in [
            "attach 'x' as y",
            "vacuum into 'f'",
            "pragma journal_mode = delete",
            "savepoint a",
            "drop table db_migrator_run",
        ] {
            assert!(classify(text.into(), Dialect::Sqlite).is_err(), "{text}");
        }
        for text in [
            "grant select on t to bob",
            "set search_path = a",
            "create user mapping for bob server s",
            "comment on table t is 'role'",
        ] {
            assert!(classify(text.into(), Dialect::Postgres).is_ok(), "{text}");
        }
        assert!(
            classify("pragma foreign_keys = off".into(), Dialect::Sqlite)
                .unwrap()
                .foreign_key_switch
        );
    }
}
