//! NOT NULL as a constraint with a name, which PostgreSQL 18 keeps.

use super::{
    completeness::server,
    expand::{complete_on, version},
    support::*,
};
use crate::{
    clients::Database,
    domain::{Dialect, Inverse, Migration, Verdict},
};

const NAMES: &str = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype = 'n' AND conrelid = 't'::regclass";

fn empty(name: &str, dev: bool) -> Database {
    database(&server(18).create_database(name).unwrap(), dev)
}

async fn names(database: &Database) -> String {
    query(database, NAMES).await[0].text(0).unwrap()
}

fn source(steps: &[(&str, &str, &str)]) -> Vec<Migration> {
    migrations(Dialect::Postgres, steps)
}

#[tokio::test]
async fn keeps_a_name_that_its_author_gave() {
    let database = empty("named_nulls", true);
    let source = source(&[
        (
            "table",
            "CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT a_is_there NOT NULL, b text CONSTRAINT b_is_there NOT NULL, c text NOT NULL); \
             INSERT INTO t VALUES (1, 2, 'x', 'y')",
            "DROP TABLE t",
        ),
        (
            "big",
            "-- migrate: online\nALTER TABLE t ALTER COLUMN a TYPE bigint",
            "",
        ),
        ("gone", "ALTER TABLE t DROP COLUMN b", ""),
    ]);
    apply(&database, &Caller::operator("t1"), &source[..1], None)
        .await
        .unwrap();
    let (before, all) = (fingerprint(&database).await, names(&database).await);
    assert_eq!(all, "a_is_there b_is_there t_c_not_null t_id_not_null");
    apply(&database, &Caller::operator("t2"), &source[..2], None)
        .await
        .unwrap();
    complete_on(&database, &Caller::operator("t3"))
        .await
        .unwrap();
    assert_eq!(names(&database).await, all);
    let plan = plan(&database, &source).await.unwrap();
    assert_eq!(plan.migrations[0].proof.verdict, Verdict::Reversible);
    apply(&database, &Caller::operator("t4"), &source, None)
        .await
        .unwrap();
    assert_eq!(
        names(&database).await,
        "a_is_there t_c_not_null t_id_not_null"
    );
    rollback(&database, &Caller::coordinator("t5"), version("0001"))
        .await
        .unwrap();
    assert_eq!(
        (fingerprint(&database).await, names(&database).await),
        (before, all)
    );
}

/// The server's own names say nothing: an author's down that lets it choose one is right.
#[tokio::test]
async fn takes_the_servers_names_for_what_they_are() {
    let database = empty("servers_nulls", true);
    let source = source(&[
        (
            "table",
            "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL)",
            "DROP TABLE t",
        ),
        (
            "loose",
            "ALTER TABLE t ALTER COLUMN a DROP NOT NULL",
            "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        ),
        (
            "renamed",
            "ALTER TABLE t RENAME COLUMN b TO c",
            "ALTER TABLE t RENAME COLUMN c TO b",
        ),
        (
            "looser",
            "ALTER TABLE t ALTER COLUMN c DROP NOT NULL",
            "ALTER TABLE t ALTER COLUMN c SET NOT NULL",
        ),
    ]);
    let plan = plan(&database, &source).await.unwrap();
    let found = plan.migrations.iter().map(|one| {
        assert_eq!(one.proof.verdict, Verdict::Reversible, "{}", one.name);
        one.inverse
    });
    let author = Inverse::Author;
    // The column of another name bore the old one's constraint, which SET NOT NULL would not bring back.
    assert_eq!(
        found.collect::<Vec<_>>(),
        [author, author, author, Inverse::Synthesised]
    );
}

/// Two tables can claim one name, and the second gets a number: which of them says the order of their creation.
#[tokio::test]
async fn sees_no_difference_in_the_order_of_tables() {
    let long = "t".repeat(60);
    let tables = [
        "CREATE TABLE a_b (c int NOT NULL)".to_owned(),
        "CREATE TABLE a (b_c int NOT NULL)".to_owned(),
        format!("CREATE TABLE {long} (some_column_of_it int NOT NULL, c int NOT NULL)"),
        format!("CREATE TABLE {long}2 (some_column_of_it int NOT NULL)"),
        "CREATE DOMAIN filled AS int NOT NULL".to_owned(),
    ];
    let (one, two) = (empty("order_one", true), empty("order_two", true));
    for sql in &tables {
        execute(&one, sql).await;
    }
    for sql in tables.iter().rev() {
        execute(&two, sql).await;
    }
    assert_eq!(fingerprint(&one).await, fingerprint(&two).await);
    let shown = "SELECT count(*) FROM pg_constraint WHERE contype = 'n' AND conname LIKE '%null1'";
    assert_eq!(count(&one, shown).await, 2);
    execute(&two, "ALTER TABLE a ALTER COLUMN b_c DROP NOT NULL").await;
    assert_ne!(fingerprint(&one).await, fingerprint(&two).await);
}
