//! The skill on real databases: sizes, rows, the ledger and proofs.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Value, json};
use shared::{Skill as _, SkillError};

use super::support::*;
use crate::{
    Metrics,
    clients::{DatabaseSpec, Databases, Workspace},
    domain::{Dialect, lint::Severity},
    skills::{LintMigration, LintMigrationOutput, Workbench},
};

fn skill(url: &str) -> LintMigration {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let spec: DatabaseSpec = format!("shop={url}").parse().unwrap();
    LintMigration(Workbench {
        databases: Arc::new(Databases::new([spec])),
        workspace: Workspace::new(root),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    })
}

async fn lint(url: &str, request: Value) -> Result<LintMigrationOutput, SkillError> {
    println!("{request}");
    let input = serde_json::from_value(request).unwrap();
    let answer = skill(url)
        .run(&Caller::operator("lint").context(), input)
        .await;
    if let Ok(output) = &answer {
        println!("{}", serde_json::to_string_pretty(output).unwrap());
    }
    answer
}

fn one(sql: &str) -> Value {
    json!({"files": [{"name": "9_new.up.sql", "content": sql}]})
}

fn told(output: &LintMigrationOutput) -> Vec<(&str, &str)> {
    let findings = output.findings.iter();
    findings
        .map(|finding| (finding.file.as_str(), finding.rule.as_str()))
        .collect()
}

async fn with_release(dialect: Dialect) -> Fixture {
    let fixture = fixture(dialect, true);
    let caller = Caller::operator("apply");
    apply(
        &fixture.database,
        &caller,
        &shop("1.0.0", dialect),
        Some("1.0.0"),
    )
    .await
    .unwrap();
    fixture
}

#[tokio::test]
async fn reports_what_is_pending_with_what_a_shadow_proves() {
    for dialect in BOTH {
        let fixture = with_release(dialect).await;
        let path = json!({"path": "examples/shop/releases/1.0.0-rc.1/migrations"});
        let output = lint(
            &fixture.url,
            json!({"database": "shop", "source": path, "prove": true}),
        )
        .await
        .unwrap();
        let mut expected = BTreeSet::from([
            ("0004_drop_order_note.down.sql", "down-loses-data"),
            ("0004_drop_order_note.up.sql", "ban-drop-column"),
            ("0004_drop_order_note.up.sql", "breaks-previous-release"),
            ("0005_index_order_status.down.sql", "down-does-not-restore"),
        ]);
        if dialect == Dialect::Postgres {
            // It drops an index that nobody made, of a table that nobody knows.
            expected.insert((
                "0005_index_order_status.down.sql",
                "require-concurrent-index-deletion",
            ));
        }
        let folder = "examples/shop/releases/1.0.0-rc.1/migrations/";
        let told = told(&output)
            .into_iter()
            .map(|(file, rule)| (file.strip_prefix(folder).unwrap(), rule));
        assert_eq!(told.collect::<BTreeSet<_>>(), expected);
        assert_eq!((output.files, output.dialect), (2, dialect));
        let release = "release 1.0.0 is in force and has orders.note";
        assert!(
            output
                .findings
                .iter()
                .any(|finding| finding.message == release)
        );
    }
}

#[tokio::test]
async fn asks_the_rows_whether_it_would_fail() {
    for dialect in BOTH {
        let fixture = with_release(dialect).await;
        let unique = one(
            "create unique index a on orders (customer_id);\ncreate unique index b on orders (placed_at);\n",
        );
        let output = lint(&fixture.url, json!({"database": "shop", "source": unique}))
            .await
            .unwrap();
        assert_eq!(told(&output), [("9_new.up.sql", "unique-on-existing-rows")]);
        let finding = &output.findings[0];
        assert_eq!(
            (finding.severity, finding.statement),
            (Severity::Blocker, 1)
        );
        assert_eq!(finding.message, "rows of orders have the same customer_id");
    }
    let fixture = with_release(Dialect::Postgres).await;
    let nulls = one(
        "alter table orders alter column note set not null;\nalter table orders alter column later set not null;\n",
    );
    let output = lint(&fixture.url, json!({"database": "shop", "source": nulls}))
        .await
        .unwrap();
    assert_eq!(
        told(&output),
        [
            ("9_new.up.sql", "not-null-on-existing-rows"),
            ("9_new.up.sql", "mergeable-alters")
        ][..1]
    );
    assert_eq!(
        count(&fixture.database, "SELECT count(*) FROM orders").await,
        4
    );
}

#[tokio::test]
async fn a_large_table_matters_and_a_small_one_does_not() {
    let fixture = fixture(Dialect::Postgres, true);
    execute(
        &fixture.database,
        "CREATE TABLE big AS SELECT g AS a, repeat('x', 100) AS b FROM generate_series(1, 20000) g; \
         CREATE TABLE small (a bigint); \
         CREATE TABLE parted (a bigint, b text) PARTITION BY RANGE (a); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (1000000); \
         INSERT INTO parted SELECT * FROM big; ANALYZE",
    )
    .await;
    let sql =
        "create index i on big (a);\ncreate index j on small (a);\ncreate index k on parted (a);\n";
    let output = lint(
        &fixture.url,
        json!({"database": "shop", "source": one(sql)}),
    )
    .await
    .unwrap();
    let statements = output.findings.iter().map(|finding| finding.statement);
    assert_eq!(
        statements.collect::<Vec<_>>(),
        [1, 3],
        "{:?}",
        output.findings
    );
    assert_eq!(
        (output.quiet.small_table, output.server_version),
        (1, Some(15))
    );
}

#[tokio::test]
async fn a_source_that_does_not_continue_the_ledger_is_a_blocker() {
    let fixture = with_release(Dialect::Sqlite).await;
    let late = json!({"files": [{"name": "0001_create_customers.up.sql", "content": "select 1;"}]});
    let output = lint(&fixture.url, json!({"database": "shop", "source": late}))
        .await
        .unwrap();
    assert_eq!(
        told(&output),
        [("0001_create_customers.up.sql", "changed-after-apply")]
    );
    let late = json!({"files": [{"name": "0000_first.up.sql", "content": "select 1;"}]});
    let output = lint(&fixture.url, json!({"database": "shop", "source": late}))
        .await
        .unwrap();
    assert_eq!(told(&output), [("0000_first.up.sql", "non-linear")]);
}

#[tokio::test]
async fn tells_in_every_format_and_names_what_is_wrong_with_a_request() {
    let source = || one("delete from t;\n");
    let of = |more: Value| async move {
        let mut request = json!({"source": source()});
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        lint("sqlite:unused.db", request).await
    };
    let plain = of(json!({"server_version": 17})).await.unwrap();
    assert_eq!(
        (plain.server_version, plain.report.is_none()),
        (Some(17), true)
    );
    let gitlab = of(json!({"format": "codequality"})).await.unwrap();
    assert_eq!(gitlab.report.unwrap()[0]["check_name"], "deletes-data");
    assert_eq!(gitlab.counts[&Severity::Critical], 1);
    let sarif = of(json!({"format": "sarif", "dialect": "sqlite"}))
        .await
        .unwrap();
    assert_eq!(sarif.report.unwrap()["version"], "2.1.0");
    let table = of(json!({"format": "table"})).await.unwrap();
    assert!(table.report.unwrap().as_str().unwrap().contains("1:1"));
    for (request, field) in [
        (json!({"server_version": 9}), "server_version"),
        (json!({"database": "other"}), "database"),
        (
            json!({"database": "shop", "dialect": "sqlite"}),
            "server_version",
        ),
        (json!({"prove": true}), "prove"),
        (
            json!({"rules": {"disable": ["no-such-rule"]}}),
            "rules.disable",
        ),
        (json!({"source": {"files": []}}), "source"),
    ] {
        let error = of(request).await.unwrap_err();
        assert!(matches!(&error, SkillError::Rejected { .. }), "{error:?}");
        assert!(error.to_string().contains(field), "{error}");
    }
    let layout = of(json!({"source": {"files": [{"name": "seed.sql", "content": "select 1;"}]}}))
        .await
        .unwrap();
    assert_eq!(told(&layout), [("seed.sql", "source-layout")]);
}
