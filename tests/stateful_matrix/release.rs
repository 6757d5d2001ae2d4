//! How a release comes to the database: whole, half way, or with a backfill that stands still.

use anyhow::{Context as _, bail};
use serde_json::json;
use tests::waiting::until;
use tokio_postgres::Client;

use super::{
    play::source,
    scene::{Release, Scene},
    stage::{Stage, session},
};

/// Something that stays as it is until the scene is over.
pub struct Held(#[expect(dead_code, reason = "its transaction ends with it")] Option<Client>);

/// Brings the release of a scene to its database.
pub async fn release(stage: &Stage, scene: &Scene) -> anyhow::Result<Held> {
    let name = scene.name;
    let mut input = json!({
        "database": name, "dry_run": false, "idempotency_key": format!("{name}-2"), "release": "2",
        "source": source(scene.files),
    });
    if let Some(retain) = scene.retain {
        input["retain"] = retain.into();
    }
    match scene.release {
        Release::NotApplied => {}
        Release::Applied => stage.apply(&input).await?,
        Release::HalfWay => half_way(stage, name, &input).await?,
        Release::Filling => return Ok(Held(Some(filling(stage, name, &input).await?))),
        Release::Filled => {
            let holder = filling(stage, name, &input).await?;
            let task = stage
                .call("db-migrator", "apply_migration", &with_async(&input))
                .await?;
            let task = task.task_id.context("no task")?;
            stage
                .ask("db-migrator", "CancelTask", &json!({"id": task}))
                .await?;
            drop(holder);
        }
    }
    Ok(Held(None))
}

fn with_async(input: &serde_json::Value) -> serde_json::Value {
    let mut input = input.clone();
    input["_meta"] = json!({"async": true});
    input
}

/// Signs the plan of an apply and does not wait for its end.
async fn begin(stage: &Stage, input: &serde_json::Value) -> anyhow::Result<String> {
    let answer = stage.call("db-migrator", "apply_migration", input).await?;
    let task = answer.task_id.clone().context("no task")?;
    let Some(digest) = answer.metadata("plan_digest") else {
        bail!("it wants no approval: {answer:?}");
    };
    let decision = shared::approvals::Decision::Approve;
    stage
        .decide("db-migrator", (&task, digest), decision)
        .await?;
    Ok(task)
}

/// A transaction holds a row that the unique index cannot stand, until the script waits for it.
async fn half_way(stage: &Stage, name: &str, input: &serde_json::Value) -> anyhow::Result<()> {
    let holder = session(&stage.url(name)).await?;
    let watcher = session(&stage.url(name)).await?;
    holder
        .batch_execute("BEGIN; INSERT INTO coupons (name) VALUES ('summer')")
        .await?;
    let task = begin(stage, input).await?;
    let building = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    until("the index to be built", || async {
        let invalid: i64 = watcher.query_one(building, &[]).await?.get(0);
        Ok((invalid > 0).then_some(()))
    })
    .await?;
    holder.batch_execute("COMMIT").await?;
    let state = stage.settled("db-migrator", &task).await?;
    if state != "TASK_STATE_FAILED" {
        bail!("the script ended as {state}");
    }
    Ok(())
}

/// A transaction holds the last row of the backfill.
async fn filling(stage: &Stage, name: &str, input: &serde_json::Value) -> anyhow::Result<Client> {
    let holder = session(&stage.url(name)).await?;
    let watcher = session(&stage.url(name)).await?;
    let rows = "INSERT INTO carts (item) SELECT 'item ' || i FROM generate_series(1, 60) i";
    holder.batch_execute(rows).await?;
    let last = "BEGIN; SELECT id FROM carts ORDER BY id DESC LIMIT 1 FOR UPDATE";
    holder.batch_execute(last).await?;
    begin(stage, input).await?;
    let filled = "SELECT count(*) FROM carts WHERE kind IS NOT NULL";
    until("a part of the backfill", || async {
        let filled: i64 = watcher.query_one(filled, &[]).await?.get(0);
        Ok((filled > 0).then_some(()))
    })
    .await?;
    Ok(holder)
}
