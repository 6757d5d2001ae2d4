//! What is known of a catalog without reading all of it is what reading it says, whatever somebody else changed.

use super::support::{migrations, *};
use crate::{
    clients::{Databases, Session},
    domain::{Answer, Dialect, Version},
    engine::Goal,
};

const CHANGES: [&str; 40] = [
    "create table t (id int primary key, note text)",
    "alter table t alter note set not null",
    "alter table t alter note set default 'x'",
    "alter table t alter note set default 'y'",
    "alter table t rename note to remark",
    "alter table t add check (id > 0)",
    "create index i on t (remark)",
    "alter index i set (fillfactor = 50)",
    "alter table t alter remark set statistics 50",
    "alter table t alter remark set storage external",
    "comment on table t is 'a'",
    "comment on table t is 'b'",
    "comment on schema public is 'c'",
    "create view v as select id from t",
    "create or replace view v as select id, remark from t",
    "create rule r as on delete to t do nothing",
    "alter table t disable rule r",
    "create function f() returns trigger language plpgsql as 'begin return new; end'",
    "create or replace function f() returns trigger language plpgsql as 'begin return null; end'",
    "create trigger g before insert on t for each row execute function f()",
    "alter table t disable trigger g",
    "create policy p on t using (id > 1)",
    "alter policy p on t using (id > 2)",
    "alter table t enable row level security",
    "grant select on t to public",
    "grant select (id) on t to public",
    "alter default privileges grant select on tables to public",
    "create type e as enum ('a')",
    "alter type e add value 'b'",
    "create sequence s",
    "alter sequence s increment by 7",
    "create domain d as int",
    "alter domain d add constraint dc check (value > 0)",
    "create statistics st on id, remark from t",
    "create publication pub for table t",
    "create table parts (id int) partition by range (id)",
    "create table part partition of parts for values from (0) to (9)",
    "alter table parts detach partition part",
    "create schema other authorization current_user",
    "drop view v",
];

#[tokio::test]
async fn databases_of_services_are_read_ahead_and_those_that_are_away_are_not_waited_for() {
    let fixture = fixture(Dialect::Postgres, true);
    let url = &fixture.url;
    let specs = [
        format!("shop={url},service=web"),
        format!("other={url}"),
        "away=postgres://nobody@127.0.0.1:1/away,service=api".to_owned(),
    ];
    let databases = Databases::new(specs.map(|spec| spec.parse().unwrap()));
    assert_eq!(databases.look_ahead().await, 1);
}

async fn check(seen: &mut dyn Session, fixture: &Fixture, change: &str) -> String {
    let shape = seen.shape().await.unwrap();
    // Another target has seen nothing.
    let mut fresh = session(&database(&fixture.url, true)).await;
    let catalog = fresh.catalog().await.unwrap();
    fresh.close().await.unwrap();
    assert_eq!(shape.fingerprint, catalog.fingerprint(), "{change}");
    assert_eq!(shape.tables, catalog.tables(), "{change}");
    shape.fingerprint.clone()
}

#[tokio::test]
async fn notices_every_change_of_the_catalog() {
    let fixture = fixture(Dialect::Postgres, true);
    let mut seen = session(&fixture.database).await;
    let mut before = check(seen.as_mut(), &fixture, "nothing").await;
    for change in CHANGES {
        execute(&fixture.database, change).await;
        let after = check(seen.as_mut(), &fixture, change).await;
        assert_ne!(before, after, "{change}");
        // What only writes rows changes nothing.
        execute(&fixture.database, "create table if not exists t (id int)").await;
        assert_eq!(seen.shape().await.unwrap().fingerprint, after, "{change}");
        before = after;
    }
    // What moves every row version without changing any.
    execute(&fixture.database, "vacuum full pg_class").await;
    assert_eq!(check(seen.as_mut(), &fixture, "vacuum").await, before);
    seen.begin(crate::clients::Transaction::default())
        .await
        .unwrap();
    seen.execute("drop table t cascade").await.unwrap();
    let within = seen.shape().await.unwrap().fingerprint.clone();
    assert_ne!(within, before);
    seen.rollback().await.unwrap();
    assert_eq!(check(seen.as_mut(), &fixture, "rollback").await, before);
    seen.close().await.unwrap();
}

#[tokio::test]
async fn an_assessment_is_true_each_time_that_it_is_asked() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let database = &fixture.database;
        let tables = (1..=20).map(|n| {
            (
                "table",
                format!("create table t{n} (id int)"),
                format!("drop table t{n}"),
            )
        });
        let tables = tables.collect::<Vec<_>>();
        let all = tables
            .iter()
            .map(|(name, up, down)| (*name, up.as_str(), down.as_str()));
        let source = migrations(dialect, &all.collect::<Vec<_>>());
        apply(database, &Caller::operator("up"), &source, None)
            .await
            .unwrap();
        let goal = Goal::Version(Version::zero());
        let answer = async || assess(database, &goal).await.unwrap();
        assert_eq!(answer().await.answer, Answer::Reversible, "{dialect:?}");
        assert_eq!(answer().await.answer, Answer::Reversible, "{dialect:?}");
        execute(database, "insert into t7 values (1)").await;
        execute(database, "insert into t9 values (1), (2)").await;
        let told = answer().await;
        assert_eq!(
            (told.answer, told.rows_at_risk),
            (Answer::PointOfNoReturn, 3)
        );
        let risks = told.reverts.iter().flat_map(|revert| {
            let rows = revert.rows_at_risk.iter();
            rows.map(|risk| (revert.version.as_str(), risk.rows))
        });
        assert_eq!(risks.collect::<Vec<_>>(), [("0009", 2), ("0007", 1)]);
        execute(database, "delete from t7").await;
        execute(database, "delete from t9").await;
        assert_eq!(answer().await.answer, Answer::Reversible, "{dialect:?}");
        execute(database, "alter table t3 add column more int").await;
        let told = answer().await;
        assert_eq!(told.answer, Answer::PointOfNoReturn, "{dialect:?}");
        assert!(told.evidence[0].contains("catalog was changed"), "{told:?}");
        execute(database, "alter table t3 drop column more").await;
        assert_eq!(answer().await.answer, Answer::Reversible, "{dialect:?}");
    }
}
