//! `complete_migration` as callers see it: a column is replaced by another one, in parts.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{Skill, SkillError};

use super::support::{Caller, count};
use crate::{
    Metrics,
    clients::{Databases, Workspace},
    domain::{Dialect, Verdict},
    skills::{
        ApplyMigration, CompleteMigration, CompleteMigrationOutput, MigrationStatus, PlanMigration,
        RollbackMigration, Workbench,
    },
};

fn files() -> Value {
    let file = |name: &str, content: &str| json!({ "name": name, "content": content });
    json!([
        file(
            "0001_orders.up.sql",
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)"
        ),
        file("0001_orders.down.sql", "DROP TABLE orders"),
        file(
            "0002_rows.up.sql",
            "INSERT INTO orders VALUES (1, 5), (2, 6), (3, NULL)"
        ),
        file("0002_rows.down.sql", "DELETE FROM orders"),
        file(
            "0003_cents.up.sql",
            "ALTER TABLE orders ADD COLUMN cents INTEGER"
        ),
        file(
            "0003_cents.down.sql",
            "ALTER TABLE orders DROP COLUMN cents"
        ),
        file(
            "0003_cents.backfill.sql",
            "UPDATE orders SET cents = total * 100 WHERE cents IS NULL"
        ),
        file(
            "0003_cents.contract.sql",
            "ALTER TABLE orders DROP COLUMN total"
        ),
    ])
}

/// Runs a skill and shows request and answer with `--nocapture`.
async fn run<S: Skill>(skill: &S, caller: &Caller, request: Value) -> Result<S::Output, SkillError>
where
    S::Output: serde::Serialize,
{
    println!("{} {request}", S::ID);
    let input = serde_json::from_value(request).unwrap();
    let answer = skill.run(&caller.context(), input).await?;
    println!("{}", serde_json::to_string_pretty(&answer).unwrap());
    Ok(answer)
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn story(dialect: Dialect) {
    let fixture = super::support::fixture(dialect, false);
    let bench = Workbench {
        databases: Arc::new(Databases::new([format!(
            "shop={},superuser=allow",
            fixture.url
        )
        .parse()
        .unwrap()])),
        workspace: Workspace::new("."),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    };
    let (apply, complete, status) = (
        ApplyMigration(bench.clone()),
        CompleteMigration(bench.clone()),
        MigrationStatus(bench.clone()),
    );
    let apply_request = json!({ "database": "shop", "source": { "files": files() }, "dry_run": false, "idempotency_key": "k" });
    let plan = run(
        &PlanMigration(bench.clone()),
        &Caller::operator("p"),
        json!({ "database": "shop", "source": { "files": files() } }),
    )
    .await
    .unwrap();
    assert!(plan.migrations[2].has_contract && plan.migrations[2].backfills.len() == 1);
    run(
        &apply,
        &Caller::operator("a").approved(&plan.plan_digest),
        apply_request,
    )
    .await
    .unwrap();
    let expanded = run(
        &status,
        &Caller::operator("s"),
        json!({ "database": "shop" }),
    )
    .await
    .unwrap();
    let expansion = expanded.applied[2].expansion.as_ref().unwrap();
    assert_eq!(
        (
            expansion.state.as_str(),
            expansion.backfill.as_str(),
            expansion.rows_done
        ),
        ("expanded", "done", 3)
    );

    let dry = run(
        &complete,
        &Caller::operator("c0"),
        json!({ "database": "shop" }),
    )
    .await
    .unwrap();
    assert!(dry.dry_run && dry.completed.is_empty());
    let contract = &dry.plan.as_ref().unwrap().migrations[0];
    assert_eq!(
        (contract.version.as_str(), contract.verdict),
        ("0003.contract", Verdict::Reversible),
        "{contract:?}"
    );
    let request = json!({ "database": "shop", "dry_run": false, "idempotency_key": "c", "plan_digest": dry.plan_digest });
    let waits = run(&complete, &Caller::operator("c"), request.clone())
        .await
        .unwrap_err();
    assert!(
        matches!(waits, SkillError::ApprovalRequired { plan_digest, .. } if plan_digest == dry.plan_digest)
    );
    let done: CompleteMigrationOutput = run(
        &complete,
        &Caller::operator("c").approved(&dry.plan_digest),
        request,
    )
    .await
    .unwrap();
    assert_eq!(
        (done.completed.as_slice(), done.head.as_deref()),
        (
            ["0003.contract".to_owned()].as_slice(),
            Some("0003.contract")
        )
    );
    let completed = run(
        &status,
        &Caller::operator("s"),
        json!({ "database": "shop" }),
    )
    .await
    .unwrap();
    assert_eq!(
        completed.applied[2].expansion.as_ref().unwrap().state,
        "completed"
    );

    let back = json!({ "database": "shop", "to_version": "0002", "dry_run": false, "idempotency_key": "r" });
    let reverted = run(&RollbackMigration(bench), &Caller::coordinator("r"), back)
        .await
        .unwrap();
    assert_eq!(reverted.reverted, ["0003.contract", "0003"]);
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM orders WHERE total IN (5, 6) OR id = 3"
        )
        .await,
        3
    );
}

#[tokio::test]
pub(super) async fn expands_backfills_contracts_and_goes_all_the_way_back() {
    Box::pin(story(Dialect::Sqlite)).await;
    Box::pin(story(Dialect::Postgres)).await;
}

#[tokio::test]
async fn refuses_a_window_that_is_none() {
    let fixture = super::support::fixture(Dialect::Sqlite, true);
    let bench = Workbench {
        databases: Arc::new(Databases::new([format!(
            "shop={},superuser=allow",
            fixture.url
        )
        .parse()
        .unwrap()])),
        workspace: Workspace::new("."),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    };
    let request = json!({ "database": "shop", "retain": "a week" });
    let refused = run(&CompleteMigration(bench), &Caller::operator("c"), request)
        .await
        .unwrap_err();
    assert!(matches!(refused, SkillError::Rejected { field, .. } if field == "retain"));
}
