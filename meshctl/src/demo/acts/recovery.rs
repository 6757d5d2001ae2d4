//! Act 3: a release fails, and nobody touches anything until the old one is back.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{ROLLOUT, deploy, healthy, text};
use crate::demo::{
    screen::Screen,
    stage::{Cue, Stage},
};

/// Deploys the bad release and watches the mesh mend it; answers the time from failing pod to recovery.
pub(super) async fn failing(stage: &mut Stage) -> anyhow::Result<Duration> {
    let good = stage.rollouts.image().await?;
    let schema = columns(&stage.database)?;
    let bad = deploy(stage, "1.1.0").await?;
    let began = Instant::now();
    let failed = stage.rollouts.await_failing(&bad, ROLLOUT).await?;
    let cue = Cue::pipeline("a pod of 1.1.0 is up but not ready", "failing");
    stage.tell(
        cue,
        "failing".into(),
        "nobody touches anything from here on".into(),
        (began, None),
    );
    stage.rollouts.await_complete(&good, ROLLOUT).await?;
    let recovery = failed.elapsed();
    let journal = journal(stage).await?;
    tell_rollback(stage, &journal, failed);
    let restored = columns(&stage.database)?;
    let reverted = journal
        .pointer("/plan/database")
        .is_some_and(|step| !step.is_null());
    let cue = Cue::pipeline("old release ready, schema back", "recovered");
    let outcome = if reverted && restored != schema {
        "recovered"
    } else {
        "unchanged"
    };
    stage.tell(
        cue,
        outcome.into(),
        format!(
            "{} after the failing pod; columns of orders: {restored}",
            Screen::human(recovery)
        ),
        (failed, None),
    );
    healthy(stage).await?;
    Ok(recovery)
}

/// The journal of the rollback that monitoring-agent asked for, once it has ended.
async fn journal(stage: &Stage) -> anyhow::Result<Value> {
    let until = Instant::now() + ROLLOUT;
    loop {
        let status = stage
            .ask("rollback-coordinator", "rollback_status", &json!({}))
            .await?
            .ok()?;
        match status.pointer("/rollbacks/0") {
            Some(journal) if text(journal, "/outcome") != "running" => return Ok(journal.clone()),
            _ if Instant::now() > until => bail!("no rollback ended: {status}"),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn tell_rollback(stage: &mut Stage, journal: &Value, failed: Instant) {
    let steps: Vec<String> = journal
        .pointer("/entries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|entry| {
            format!(
                "{} {} ms",
                text(entry, "/step").replace('_', " "),
                entry.get("took_ms").unwrap_or(&Value::Null)
            )
        })
        .collect();
    let cue = Cue::new(
        "asked for by monitoring-agent",
        ("rollback-coordinator", "execute_rollback"),
        "rolled_back",
    );
    stage.tell(
        cue,
        text(journal, "/outcome"),
        format!("{} (the database step by db-migrator)", steps.join(", ")),
        (failed, Some(text(journal, "/rollback_id"))),
    );
}

/// Columns of the table that 1.1.0 changes.
fn columns(database: &Path) -> anyhow::Result<String> {
    let connection = Connection::open(database).context("cannot open the shop's database")?;
    let mut statement =
        connection.prepare("SELECT name FROM pragma_table_info('orders') ORDER BY cid")?;
    let names: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(names.join(", "))
}
