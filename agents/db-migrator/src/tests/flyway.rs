//! Repeatable and baseline migrations of Flyway, run, rolled back and taken over.

use std::sync::Arc;

use shared::Skill;

use super::support::*;
use crate::{
    Metrics,
    clients::{Database, Databases, OciRegistries, Workspace},
    domain::{
        Dialect, Inverse, Migration, SourceFile, Verdict, Version,
        history::ChecksumVerdict,
        source::{Placeholders, read_with},
    },
    engine::{self, AdoptRequest, Goal, Job, Wanted},
    skills::{LintMigration, Workbench},
};

fn files(all: &[(&str, &str)], dialect: Dialect) -> Vec<Migration> {
    let files = all.iter().map(|(name, content)| SourceFile {
        name: (*name).into(),
        content: (*content).into(),
    });
    let values = Placeholders::default().with([("price", "total")]);
    let files = files.collect::<Vec<_>>();
    read_with(&files, dialect, None, &values)
        .unwrap()
        .migrations
}

const ORDERS: (&str, &str) = (
    "V1__orders.sql",
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, note TEXT)",
);
const UNDO: (&str, &str) = ("U1__orders.sql", "DROP TABLE orders");

/// Flyway's way to a view that can be made again.
fn view(columns: &str) -> String {
    format!("DROP VIEW IF EXISTS cheap; CREATE VIEW cheap AS SELECT {columns} FROM orders")
}

async fn versions(
    database: &Database,
    task: &str,
    source: &[Migration],
    release: &str,
) -> Vec<String> {
    let applied = apply(database, &Caller::operator(task), source, Some(release)).await;
    let applied = applied.unwrap().migrations.into_iter();
    applied
        .map(|migration| migration.version.to_string())
        .collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn runs_a_repeatable_when_it_changed_and_brings_its_earlier_text_back() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let database = &fixture.database;
        let source = |columns: &str, more: &[(&str, &str)]| {
            let text = view(columns);
            let all = [&[ORDERS, UNDO, ("R__cheap.sql", text.as_str())], more].concat();
            files(&all, dialect)
        };
        let first = source("id, ${price}", &[]);
        assert_eq!(
            versions(database, "a", &first, "1").await,
            ["1", "1.R1.cheap"]
        );
        assert!(versions(database, "b", &first, "1b").await.is_empty());
        let before = fingerprint(database).await;
        // A view with other columns cannot replace the first one: its text drops it.
        let second = source(
            "note",
            &[("V2__more.sql", "ALTER TABLE orders ADD more TEXT")],
        );
        let planned = plan(database, &second).await.unwrap();
        let again = planned.migrations.last().unwrap();
        assert_eq!(
            (again.version.as_str(), again.inverse),
            ("2.R1.cheap", Inverse::Author)
        );
        assert_eq!(
            again.proof.verdict,
            Verdict::Reversible,
            "{:?}",
            again.proof.evidence
        );
        let down = again.down.as_ref().unwrap().steps.last().unwrap();
        assert!(
            down.statement.text.contains("id, total"),
            "{}",
            down.statement.text
        );
        assert_eq!(
            versions(database, "c", &second, "2").await,
            ["2", "2.R1.cheap"]
        );
        assert_ne!(fingerprint(database).await, before);
        let goal = Goal::Release("1".into());
        let back = rollback(database, &Caller::operator("d"), goal)
            .await
            .unwrap();
        assert_eq!(back.head.as_deref(), Some("1.R1.cheap"));
        assert_eq!(fingerprint(database).await, before, "{dialect:?}");
        assert_eq!(
            versions(database, "e", &second, "3").await,
            ["2", "2.R2.cheap"]
        );
        let goal = Goal::Version(Version::zero());
        rollback(database, &Caller::operator("f"), goal)
            .await
            .unwrap();
        assert_eq!(status(database, &second).await.pending.len(), 3);
        assert_eq!(
            versions(database, "g", &second, "4").await,
            ["1", "2", "2.R3.cheap"]
        );
    }
}

#[tokio::test]
async fn makes_an_inverse_where_the_earlier_text_cannot_come_back() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let source = |columns: &str| {
        let text = format!("CREATE OR REPLACE VIEW cheap AS SELECT {columns} FROM orders");
        files(
            &[ORDERS, UNDO, ("R__cheap.sql", text.as_str())],
            Dialect::Postgres,
        )
    };
    versions(database, "a", &source("id"), "1").await;
    let before = fingerprint(database).await;
    // A view can get columns by CREATE OR REPLACE, and cannot lose them so.
    let wider = source("id, note");
    let planned = plan(database, &wider).await.unwrap();
    let again = &planned.migrations[0];
    assert_eq!(
        (again.proof.verdict, again.inverse),
        (Verdict::Reversible, Inverse::Synthesised)
    );
    assert_eq!(versions(database, "b", &wider, "2").await, ["1.R2.cheap"]);
    rollback(database, &Caller::operator("c"), Goal::Release("1".into()))
        .await
        .unwrap();
    assert_eq!(fingerprint(database).await, before);
}

#[tokio::test]
async fn lints_only_what_is_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let database = database(&url, true);
    let drop = "DROP TABLE IF EXISTS older";
    let with = |view: &str| {
        let all = [
            ORDERS,
            ("B1__all.sql", ORDERS.1),
            ("V2__old.sql", drop),
            ("R__cheap.sql", view),
        ];
        all.map(|(name, content)| serde_json::json!({"name": name, "content": content}))
    };
    let (first, second) = (view("id"), view("total"));
    let files_of = |view: &str| {
        files(
            &[
                ORDERS,
                ("B1__all.sql", ORDERS.1),
                ("V2__old.sql", drop),
                ("R__cheap.sql", view),
            ],
            Dialect::Sqlite,
        )
    };
    let all = versions(&database, "a", &files_of(&first), "1").await;
    assert_eq!(all, ["1.baseline", "2", "2.R1.cheap"]);
    let bench = Workbench {
        databases: Arc::new(Databases::new([format!("shop={url}").parse().unwrap()])),
        workspace: Workspace::new(folder.path()),
        registries: OciRegistries::default(),
        metrics: Metrics::default(),
    };
    let lint = async |view: &str| {
        let input =
            serde_json::json!({"database": "shop", "prove": true, "source": {"files": with(view)}});
        let input = serde_json::from_value(input).unwrap();
        let context = Caller::operator("lint").context();
        LintMigration(bench.clone())
            .run(&context, input)
            .await
            .unwrap()
    };
    assert_eq!(lint(&first).await.files, 0);
    assert_eq!(lint(&second).await.files, 1);
}

#[tokio::test]
async fn starts_with_a_baseline_and_goes_on_from_its_version() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let database = &fixture.database;
        let all = [
            ORDERS,
            ("V2__note.sql", "ALTER TABLE orders ADD more TEXT"),
            (
                "B2__all.sql",
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, note TEXT, more TEXT)",
            ),
            ("V3__items.sql", "CREATE TABLE items (id INTEGER)"),
        ];
        let source = files(&all, dialect);
        assert_eq!(
            versions(database, "a", &source, "1").await,
            ["2.baseline", "3"]
        );
        let more = [
            &all[..],
            &[("V4__stock.sql", "CREATE TABLE stock (id INTEGER)")],
        ]
        .concat();
        assert_eq!(
            versions(database, "b", &files(&more, dialect), "2").await,
            ["4"]
        );
        let goal = Goal::Version(Version::zero());
        rollback(database, &Caller::operator("c"), goal)
            .await
            .unwrap();
        assert_eq!(
            status(database, &source).await.pending.len(),
            2,
            "from the start again"
        );
    }
}

/// Flyway's table with rows of version, description, type and checksum.
fn history(rows: &[(&str, &str, &str, &str)]) -> String {
    let rows = rows.iter().enumerate().map(|(at, (version, description, kind, checksum))| {
        format!("({at}, {version}, '{description}', '{kind}', 's.sql', {checksum}, 'me', now(), 3, true)")
    });
    format!(
        "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, \
         type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL); \
         INSERT INTO flyway_schema_history VALUES {}",
        rows.collect::<Vec<_>>().join(", ")
    )
}

async fn adopt(database: &Database, source: &[Migration]) -> engine::Adoption {
    let (context, metrics) = (Caller::operator("adopt").context(), Metrics::default());
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    let request = AdoptRequest {
        source,
        wanted: Wanted::Any,
        dirty: std::collections::BTreeMap::default(),
        plan_digest: None,
        release: Some("0"),
    };
    match engine::adopt(job, &request).await.unwrap() {
        engine::AdoptOutcome::Done(adoption) => adoption,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn takes_over_a_history_with_a_baseline_migration_and_repeatables() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let base = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)";
    let (cheap, total) = (view("id, ${price}"), view("id, total"));
    let all = [
        ("V1__old.sql", "CREATE TABLE older (x int)"),
        ("B2__base.sql", base),
        ("V3__items.sql", "CREATE TABLE items (id int)"),
        ("R__cheap_ones.sql", cheap.as_str()),
        ("V4__new.sql", "CREATE TABLE new (id int)"),
    ];
    let crc = |text: &str| crc32fast::hash(text.as_bytes()).cast_signed().to_string();
    let rows = [
        ("'2'", "base", "SQL_BASELINE", crc(base)),
        ("NULL", "cheap ones", "SQL", String::from("7")),
        ("'3'", "items", "SQL", crc(all[2].1)),
        // The last row counts, and its checksum is over the text with values.
        ("NULL", "cheap ones", "SQL", crc(&total)),
    ];
    let rows = rows.each_ref().map(|(v, d, k, c)| (*v, *d, *k, c.as_str()));
    execute(database, &format!("{base}; {}; {total}", all[2].1)).await;
    execute(database, &history(&rows)).await;
    let source = files(&all, Dialect::Postgres);
    let seen = adopt(database, &source).await;
    assert_eq!(seen.differences, Vec::<String>::new());
    let taken = seen.plan.migrations.iter().map(|m| m.version.as_str());
    assert_eq!(
        taken.collect::<Vec<_>>(),
        ["2.baseline", "3", "3.R1.cheap_ones"]
    );
    assert!(
        seen.entries
            .iter()
            .all(|entry| entry.checksum == ChecksumVerdict::Same && !entry.baseline)
    );
    assert_eq!(seen.pending, ["4"]);
    assert_eq!(versions(database, "up", &source, "1").await, ["4"]);
}

#[tokio::test]
async fn an_edited_repeatable_of_a_history_is_pending() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    execute(database, ORDERS.1).await;
    let crc = crc32fast::hash(ORDERS.1.as_bytes())
        .cast_signed()
        .to_string();
    let rows = [
        ("'1'", "orders", "SQL", crc.as_str()),
        ("NULL", "seed", "SQL", "7"),
    ];
    execute(database, &history(&rows)).await;
    let source = files(
        &[ORDERS, ("R__seed.sql", "UPDATE orders SET total = 1")],
        Dialect::Postgres,
    );
    let seen = adopt(database, &source).await;
    assert_eq!(
        (seen.plan.migrations.len(), seen.pending),
        (1, vec!["R.seed".to_owned()])
    );
    assert_eq!(status(database, &source).await.pending[0].0, "1.R1.seed");
}
