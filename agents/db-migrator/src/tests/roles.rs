//! A role with exactly the rights of the README's script plans, applies, waits its turn and rolls back.

use super::{support::*, versions_online::server_now};
use crate::{
    clients::{Database, Databases},
    domain::{Answer, Dialect, Version},
    engine::Goal,
};

/// The script of the README, with the names of a test and a password for the login.
fn script(database: &str, owner: &str, migrator: &str) -> String {
    let readme = include_str!("../../README.md");
    let start = readme.find("```sql\n").unwrap() + 7;
    let script = &readme[start..start + readme[start..].find("```").unwrap()];
    script
        .replace("shop_owner", owner)
        .replace("shop_migrator", migrator)
        .replace("DATABASE shop", &format!("DATABASE {database}"))
        .replace("PASSWORD NULL", "PASSWORD 'pw'")
}

async fn prepared(name: &str) -> (Database, Database) {
    let url = server_now().create_database(name).unwrap();
    let root = database(&url, true);
    let (owner, migrator) = (format!("{name}_owner"), format!("{name}_migrator"));
    for statement in script(name, &owner, &migrator).split(';') {
        if !statement.trim().is_empty() {
            execute(&root, statement).await;
        }
    }
    let url = {
        let mut config: tokio_postgres::Config = url.parse().unwrap();
        config.user(&migrator).password("pw");
        let host = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(path) => {
                path.display().to_string().replace('/', "%2F")
            }
        };
        format!(
            "postgres://{migrator}:pw@{host}:{}/{name}",
            config.get_ports()[0]
        )
    };
    let spec = format!("shop={url},owner={owner},dev");
    let database = Databases::new([spec.parse().unwrap()]);
    (root, database.find("shop").unwrap().clone())
}

#[tokio::test]
pub(super) async fn needs_no_more_than_the_documented_rights() {
    let (root, database) = prepared("least").await;
    let source = migrations(
        Dialect::Postgres,
        &[
            ("a", "CREATE TABLE a (x int)", "DROP TABLE a"),
            (
                "b",
                "CREATE INDEX CONCURRENTLY a_x ON a (x)",
                "DROP INDEX CONCURRENTLY a_x",
            ),
            (
                "c",
                "CREATE SCHEMA own; CREATE TABLE own.c (x int)",
                "DROP TABLE own.c; DROP SCHEMA own",
            ),
        ],
    );
    let applied = apply(&database, &Caller::operator("t"), &source, None)
        .await
        .unwrap();
    assert_eq!(applied.head.as_deref(), Some("0003"));
    let owners = "SELECT count(*) FROM pg_class WHERE relname IN ('a', 'c', 'step') AND relowner <> 'least_owner'::regrole";
    assert_eq!(
        count(&root, owners).await,
        0,
        "all belongs to the owner's role"
    );
    let more = migrations(
        Dialect::Postgres,
        &[
            ("a", "", ""),
            ("b", "", ""),
            ("c", "", ""),
            (
                "d",
                "ALTER TABLE a ADD COLUMN y int",
                "ALTER TABLE a DROP COLUMN y",
            ),
        ],
    );
    let mut source = source;
    source.push(more[3].clone());
    apply(&database, &Caller::operator("u"), &source, None)
        .await
        .unwrap();
    let goal = Goal::Version(Version::zero());
    let done = rollback(&database, &Caller::operator("r"), goal)
        .await
        .unwrap();
    assert_eq!(done.reverted.len(), 4);
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'db_migrator_shadow_%' AND datdba = 'least_owner'::regrole";
    assert_eq!(count(&root, left).await, 0, "no scratch database stays");
}

#[tokio::test]
async fn assesses_on_the_only_connection_that_it_gets() {
    let (root, database) = prepared("narrow").await;
    let one = [("a", "CREATE TABLE a (x int)", "DROP TABLE a")];
    let source = migrations(Dialect::Postgres, &one);
    apply(&database, &Caller::operator("t"), &source, None)
        .await
        .unwrap();
    execute(&root, "ALTER ROLE narrow_migrator CONNECTION LIMIT 1").await;
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'narrow_migrator'";
    let goal = Goal::Version(Version::zero());
    for _ in 0..5 {
        for _ in 0..1_000 {
            if count(&root, connected).await == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let told = assess(&database, &goal).await.unwrap();
        assert_eq!(told.answer, Answer::Reversible);
    }
}

#[tokio::test]
pub(super) async fn ends_the_backend_that_a_former_owner_left() {
    let (_root, database) = prepared("least_orphan").await;
    let mut orphan = database.target.connect("t").await.unwrap();
    let until = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    orphan.lock("t", until).await.unwrap();
    // The same task again, as after a crash: it ends its own orphan rather than wait for it.
    let source = migrations(
        Dialect::Postgres,
        &[("a", "CREATE TABLE a (x int)", "DROP TABLE a")],
    );
    apply(&database, &Caller::operator("t"), &source, None)
        .await
        .unwrap();
    assert!(
        orphan.query("SELECT 1::bigint", &[]).await.is_err(),
        "its backend is gone"
    );
}

#[tokio::test]
pub(super) async fn may_not_become_more_than_its_owner() {
    let (_root, database) = prepared("least_bounds").await;
    let mut session = session(&database).await;
    for refused in [
        "CREATE ROLE other",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ] {
        assert!(session.execute(refused).await.is_err(), "{refused}");
    }
    session.close().await.unwrap();
}
