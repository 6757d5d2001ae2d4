//! Inverses that no author wrote: found, proven, recorded, and held to what was said before apply.

use std::collections::BTreeMap;

use super::{
    generator::{OneWay, one_way},
    support::{apply_without_retention as apply, plan_without_retention as plan, *},
};
use crate::{
    domain::{
        Dialect, Inverse, Migration, Plan, PlannedMigration, Verdict, Version, proof::TableRows,
    },
    engine::Goal,
};

/// Migrations a plan.
const LENGTH: usize = 20;

/// Chains for each database; more by `DB_MIGRATOR_TEST_CHAINS`.
fn chains() -> u64 {
    std::env::var("DB_MIGRATOR_TEST_CHAINS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(26)
}

/// What there was after each migration, by running the scripts alone on another database.
struct Reference(Vec<(String, BTreeMap<String, TableRows>)>);

impl Reference {
    async fn new(source: &[Migration], dialect: Dialect) -> Self {
        let fixture = fixture(dialect, true);
        let mut session = session(&fixture.database).await;
        let mut all = Vec::new();
        for at in 0..=source.len() {
            if let Some(before) = at.checked_sub(1) {
                for statement in &source[before].up.statements {
                    session.execute(&statement.text).await.unwrap();
                }
            }
            let catalog = session.catalog().await.unwrap();
            let tables = catalog.tables();
            let rows = session.rows(&tables).await.unwrap();
            let rows = tables.into_iter().map(|(table, _)| table).zip(rows);
            all.push((catalog.fingerprint(), rows.collect()));
        }
        session.close().await.unwrap();
        Self(all)
    }
}

async fn rows(fixture: &Fixture) -> BTreeMap<String, TableRows> {
    let mut session = session(&fixture.database).await;
    let tables = session.catalog().await.unwrap().tables();
    let rows = session.rows(&tables).await.unwrap();
    session.close().await.unwrap();
    tables
        .into_iter()
        .map(|(table, _)| table)
        .zip(rows)
        .collect()
}

fn source(dialect: Dialect, all: &[OneWay]) -> Vec<Migration> {
    let texts = all.iter().map(|one| one.up.join(";\n")).collect::<Vec<_>>();
    let named = texts.iter().map(|up| ("generated", up.as_str(), ""));
    migrations(dialect, &named.collect::<Vec<_>>())
}

/// Whether the catalog comes back, with or without its rows.
fn restores(migration: &PlannedMigration) -> bool {
    !matches!(
        migration.proof.verdict,
        Verdict::Irreversible | Verdict::Wrong
    )
}

/// Applies a plan and goes back step by step: what was said about each step is what happens.
async fn keeps_its_word(
    fixture: &Fixture,
    source: &[Migration],
    plan: &Plan,
    reference: &Reference,
) {
    let database = &fixture.database;
    if let Err(error) = apply(database, &Caller::operator("up"), source, None).await {
        let caller = Caller::operator("approved").approved(&digest_of(error));
        apply(database, &caller, source, None).await.unwrap();
    }
    let mut rows_known = true;
    for (at, migration) in plan.migrations.iter().enumerate().rev() {
        let says = format!(
            "{} {}: {:?}",
            migration.version, migration.up.steps[0].statement.text, migration.proof
        );
        let goal = || {
            Goal::Version(
                at.checked_sub(1)
                    .map_or_else(Version::zero, |before| source[before].version.clone()),
            )
        };
        let caller = Caller::operator(&format!("down {at}"));
        let reverted = rollback(database, &caller, goal()).await;
        match (migration.proof.verdict, reverted) {
            (Verdict::Irreversible | Verdict::Wrong | Verdict::Unproven, reverted) => {
                assert!(reverted.is_err(), "{says}");
                return;
            }
            (Verdict::Reversible | Verdict::OrderOnly, reverted) => {
                reverted.unwrap_or_else(|error| panic!("{says}: {error}"));
            }
            (Verdict::Lossy, reverted) => {
                let caller = Caller::operator(&format!("approved {at}"))
                    .approved(&digest_of(reverted.unwrap_err()));
                rollback(database, &caller, goal())
                    .await
                    .unwrap_or_else(|error| panic!("{says}: {error}"));
                rows_known = false;
            }
        }
        let (fingerprint, expected) = &reference.0[at];
        assert_eq!(
            super::support::fingerprint(database).await,
            *fingerprint,
            "{says}"
        );
        if rows_known {
            assert_eq!(rows(fixture).await, *expected, "{says}");
        }
    }
}

/// Returns how many of how many migrations can be reverted.
async fn chain(dialect: Dialect, seed: u64) -> (usize, usize) {
    let generated = one_way(dialect, seed, LENGTH);
    let source = source(dialect, &generated);
    let reference = Reference::new(&source, dialect).await;
    let fixture = fixture(dialect, true);
    let plan = plan(&fixture.database, &source)
        .await
        .unwrap_or_else(|error| panic!("{dialect:?} seed {seed}: {error}"));
    for (migration, generated) in plan.migrations.iter().zip(&generated) {
        if !restores(migration) {
            println!(
                "{dialect:?} {seed} {:?}: {:?}",
                generated.up, migration.proof.evidence
            );
        }
        if !generated.destroys && restores(migration) {
            assert!(
                migration.inverse != Inverse::Author,
                "there is no author's down"
            );
        }
    }
    keeps_its_word(&fixture, &source, &plan, &reference).await;
    let restored = plan.migrations.iter().filter(|one| restores(one)).count();
    (restored, plan.migrations.len())
}

async fn restores_most(dialect: Dialect) {
    let (mut restored, mut all) = (0, 0);
    for seed in 0..chains() {
        let (some, of) = chain(dialect, seed).await;
        (restored, all) = (restored + some, all + of);
    }
    println!(
        "{dialect:?}: {restored} of {all} generated migrations have a proven way back to their catalog"
    );
    assert!(restored * 100 >= all * 97, "{restored} of {all}");
}

#[tokio::test]
async fn synthesises_the_inverses_of_520_migrations_on_sqlite() {
    restores_most(Dialect::Sqlite).await;
}

#[tokio::test]
async fn synthesises_the_inverses_of_520_migrations_on_postgres() {
    restores_most(Dialect::Postgres).await;
}

/// Plans two migrations, the second without a down, and returns the proof of the second.
async fn second(dialect: Dialect, first: &str, up: &str, down: &str) -> PlannedMigration {
    let fixture = fixture(dialect, true);
    let source = migrations(
        dialect,
        &[("first", first, "select 1"), ("second", up, down)],
    );
    let mut plan = plan(&fixture.database, &source).await.unwrap();
    plan.migrations.pop().unwrap()
}

async fn check(dialect: Dialect, first: &str, up: &str, expected: Verdict) -> PlannedMigration {
    let planned = second(dialect, first, up, "").await;
    assert_eq!(
        planned.proof.verdict, expected,
        "{up}: {:?}",
        planned.proof.evidence
    );
    planned
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of changes")]
async fn knows_the_way_back_from_what_postgres_projects_do() {
    const BASE: &str = "create type mood as enum ('a', 'b'); create table t (id serial primary key, n int not null default 3, note text, m mood default 'a'); \
        insert into t (note) values ('x'), ('y'); create view v as select id, note, m from t; create view w as select * from v where id > 0; \
        create materialized view mv as select count(*) as c from v; create unique index mvi on mv (c); comment on view w is 'w'; grant select on w to public; \
        create function f(a int) returns int language sql as 'select a'; create index i on t (f(n)) where f(1) = 1; \
        create table p (id int not null, primary key (id)) partition by range (id); create table p1 partition of p for values from (0) to (10); \
        create policy own on t using (n > 1); create table u (id int primary key, t_id int references t (id)); insert into u values (1, 1)";
    let base = BASE.replace("create index i on t (f(n)) where f(1) = 1;", "");
    for (up, expected) in [
        ("alter type mood add value 'c'", Verdict::Reversible),
        (
            "alter type mood rename value 'a' to 'z'",
            Verdict::Reversible,
        ),
        (
            "alter table t rename to t2; alter table t2 rename column note to remark; alter table t2 add column note int",
            Verdict::Reversible,
        ),
        (
            "alter table t rename n to x; alter table t rename note to n; alter table t rename x to note",
            Verdict::Reversible,
        ),
        (
            "create schema s; alter table t set schema s; alter sequence if exists t_id_seq rename to q",
            Verdict::Reversible,
        ),
        (
            "drop view w; drop materialized view mv; drop view v; alter table t alter note type varchar(20); create view v as select id, note, m from t",
            Verdict::Reversible,
        ),
        ("drop table p", Verdict::Reversible),
        ("drop table p1", Verdict::Reversible),
        ("alter table p detach partition p1", Verdict::Reversible),
        ("drop table u", Verdict::Lossy),
        (
            "alter table t drop constraint t_pkey cascade",
            Verdict::Reversible,
        ),
        // The new sequence takes the name of the old one, which therefore cannot be kept with its position.
        (
            "alter table t alter id drop default; drop sequence t_id_seq; alter table t alter id add generated always as identity",
            Verdict::Lossy,
        ),
        (
            "create or replace function f(a int) returns int language sql as 'select a + 1'",
            Verdict::Reversible,
        ),
        (
            "drop function f(int); create function f(a int) returns text language sql as 'select ''x'''",
            Verdict::Reversible,
        ),
        (
            "alter policy own on t using (n > 2); alter table t enable row level security; alter table t alter n set default 4",
            Verdict::Reversible,
        ),
        ("alter table t drop column note cascade", Verdict::Lossy),
        ("delete from u", Verdict::Lossy),
        ("update t set note = 'z'", Verdict::Lossy),
        (
            "drop schema if exists none; create domain d as text check (value <> ''); alter table t add column d d",
            Verdict::Reversible,
        ),
        (
            "revoke select on w from public; comment on view w is null; alter view w rename to w2",
            Verdict::Reversible,
        ),
        (
            "alter default privileges grant select on tables to public; revoke execute on function f(int) from public",
            Verdict::Reversible,
        ),
        (
            "do $$ begin execute 'alter table t rename to other'; end $$",
            Verdict::Reversible,
        ),
    ] {
        let planned = check(Dialect::Postgres, &base, up, expected).await;
        assert_eq!(planned.inverse, Inverse::Synthesised, "{up}");
    }
}

#[tokio::test]
async fn knows_the_way_back_from_what_sqlite_projects_do() {
    const BASE: &str = "create table t (id integer primary key, n int not null default 3, note text, check (n > 0)); insert into t (note) values ('x'), ('y'); \
        create table u (id integer primary key, t_id int references t (id)); insert into u values (1, 1); create index i on t (note); \
        create view v as select id, note from t; create trigger g after insert on u begin update t set note = 'z' where id = new.t_id; end";
    for (up, expected) in [
        ("alter table t rename to t2", Verdict::Reversible),
        (
            "alter table t rename column note to remark",
            Verdict::Reversible,
        ),
        (
            "alter table t add column x int default 4",
            Verdict::Reversible,
        ),
        (
            "drop view v; drop index i; alter table t drop column note",
            Verdict::Lossy,
        ),
        ("drop table u", Verdict::Lossy),
        (
            "pragma foreign_keys = off; create table n (id integer primary key, n text, note text); insert into n select id, n, note from t; drop view v; drop trigger g; drop table t; \
          alter table n rename to t; create view v as select id from t",
            Verdict::Reversible,
        ),
        (
            "drop index i; create unique index i on t (note, id)",
            Verdict::Reversible,
        ),
        (
            "drop trigger g; pragma user_version = 7",
            Verdict::Reversible,
        ),
        (
            "create table a (x int); insert into a values (1); create view b as select x from a",
            Verdict::Reversible,
        ),
        ("delete from u", Verdict::Lossy),
    ] {
        let planned = check(Dialect::Sqlite, BASE, up, expected).await;
        assert_eq!(planned.inverse, Inverse::Synthesised, "{up}");
    }
}

#[tokio::test]
async fn takes_the_place_of_a_wrong_down_and_says_so() {
    for dialect in BOTH {
        let planned = second(
            dialect,
            "create table t (a int)",
            "create index i on t (a)",
            "drop index if exists j",
        )
        .await;
        assert_eq!(
            (planned.proof.verdict, planned.inverse),
            (Verdict::Reversible, Inverse::Synthesised)
        );
        assert!(
            planned.proof.evidence[0].contains("because after its down script: added index"),
            "{:?}",
            planned.proof.evidence
        );
        let right = second(
            dialect,
            "create table t (a int)",
            "create index i on t (a)",
            "drop index i",
        )
        .await;
        assert_eq!(
            (right.proof.verdict, right.inverse),
            (Verdict::Reversible, Inverse::Author)
        );
    }
}

#[tokio::test]
async fn says_before_apply_what_cannot_be_restored() {
    let planned = check(
        Dialect::Postgres,
        "create table t (a int primary key); insert into t values (1), (2)",
        "alter table t drop column a",
        Verdict::Irreversible,
    )
    .await;
    assert_eq!(planned.inverse, Inverse::None);
    let evidence = planned.proof.evidence.join("; ");
    assert!(evidence.contains("every way back leaves"), "{evidence}");
    assert!(evidence.contains("t.a, which holds 2 rows"), "{evidence}");
}
