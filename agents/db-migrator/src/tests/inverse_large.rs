//! Inverses of scripts that make hundreds of objects: what depends on another is dropped first, so that the search tries
//! every statement about once, in whatever order the script made them.

use super::support::{migrations, *};
use crate::{
    domain::{Dialect, Inverse, PlannedMigration, Verdict, Version},
    engine::Goal,
};

/// Applies a script without a down and goes back to the empty database. Returns the proof.
async fn there_and_back(dialect: Dialect, up: &[String]) -> PlannedMigration {
    let fixture = fixture(dialect, true);
    let database = &fixture.database;
    let empty = fingerprint(database).await;
    let source = migrations(dialect, &[("many", &up.join(";\n"), "")]);
    let applied = apply(database, &Caller::operator("up"), &source, None)
        .await
        .unwrap();
    let planned = applied.plan.unwrap().migrations.remove(0);
    assert_eq!(
        (planned.proof.verdict, planned.inverse),
        (Verdict::Reversible, Inverse::Synthesised),
        "{dialect:?}: {:?}",
        planned.proof.evidence
    );
    let goal = Goal::Version(Version::zero());
    rollback(database, &Caller::operator("down"), goal)
        .await
        .unwrap();
    assert_eq!(fingerprint(database).await, empty, "{dialect:?}");
    planned
}

fn downs(planned: &PlannedMigration) -> usize {
    planned.down.as_ref().map_or(0, |down| down.steps.len())
}

/// Every table refers to one that is made after it: dropped from the newest on, all but one would be refused each time.
#[tokio::test]
async fn drops_300_tables_against_the_order_in_which_they_were_made() {
    const TABLES: usize = 300;
    let table = |n| format!("create table t{n} (id integer primary key, next integer)");
    let mut up = (0..TABLES).map(table).collect::<Vec<_>>();
    up.extend((1..TABLES).map(|n| {
        format!(
            "alter table t{} add foreign key (next) references t{n}",
            n - 1
        )
    }));
    let planned = there_and_back(Dialect::Postgres, &up).await;
    assert_eq!(downs(&planned), TABLES, "no foreign key needs a statement");
    let table = |n| {
        let next = (n + 1) % TABLES;
        format!("create table t{n} (id integer primary key, next integer references t{next})")
    };
    there_and_back(Dialect::Sqlite, &(0..TABLES).map(table).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn drops_tables_whose_foreign_keys_form_circles() {
    const TABLES: usize = 30;
    let table = |n| format!("create table t{n} (id integer primary key, a integer, b integer)");
    let mut up = (0..TABLES).map(table).collect::<Vec<_>>();
    up.extend((0..TABLES).map(|n| {
        format!(
            "alter table t{n} add foreign key (a) references t{}, add foreign key (b) references t{}",
            (n + 1) % TABLES,
            n / 2 * 2
        )
    }));
    let planned = there_and_back(Dialect::Postgres, &up).await;
    // One key of the long circle; those of a pair are in it or refer to their own table.
    assert!(
        downs(&planned) < TABLES + TABLES / 2 + 2,
        "{}",
        downs(&planned)
    );
}

#[tokio::test]
async fn goes_back_from_1000_objects_of_all_kinds() {
    const SETS: usize = 120;
    let on_postgres = |n| {
        format!(
            "create type mood{n} as enum ('a', 'b');
            create table t{n} (id serial primary key, mood mood{n} not null default 'a', parent int references t{n});
            create index i{n} on t{n} (mood); create view v{n} as select id, mood from t{n};
            create function f{n}() returns trigger language plpgsql as 'begin return new; end';
            create trigger g{n} before insert on t{n} for each row execute function f{n}();
            alter table t{n} enable row level security; create policy p{n} on t{n} using (id > 0);
            comment on table t{n} is 'x'; grant select on t{n} to public"
        )
    };
    let on_sqlite = |n| {
        format!(
            "create table t{n} (id integer primary key, mood text not null default 'a', parent integer references t{n});
            create index i{n} on t{n} (mood); create index j{n} on t{n} (parent) where parent > 0;
            create view v{n} as select id, mood from t{n}; create view w{n} as select id from v{n};
            create trigger g{n} after insert on t{n} begin update t{n} set mood = 'b' where id = new.id; end;
            create trigger h{n} instead of delete on v{n} begin delete from t{n} where id = old.id; end;
            create table u{n} (id integer primary key, t integer references t{n}); create index k{n} on u{n} (t)"
        )
    };
    there_and_back(
        Dialect::Postgres,
        &(0..SETS).map(on_postgres).collect::<Vec<_>>(),
    )
    .await;
    there_and_back(
        Dialect::Sqlite,
        &(0..SETS).map(on_sqlite).collect::<Vec<_>>(),
    )
    .await;
}
