//! What an agent does for its tasks besides running them: eviction, and taking over what others left behind.

use std::{sync::Arc, time::Duration};

use audit::record::timestamp;
use store::StoreError;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{
    engine::Engine,
    tasks::{BEAT, LISTEN, Record, Retention},
};

/// How often ended tasks past their retention are removed.
const EVICTION: Duration = Duration::from_mins(1);
/// Keys of calls outlive their tasks by this, so that a late retry does not run again.
const KEY_GRACE: time::Duration = time::Duration::days(1);

/// What of ended tasks is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) age: time::Duration,
    pub(crate) tasks: u64,
}

/// Removes ended tasks until `stop`: regularly, and when many tasks are made.
pub(crate) async fn evict(
    engine: Arc<Engine>,
    keep: Keep,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let next = || async {
        tokio::select! {
            () = tokio::time::sleep(EVICTION) => {}
            () = engine.tasks.crowded() => {}
        }
    };
    while stop.run_until_cancelled(next()).await.is_some() {
        let oldest = OffsetDateTime::now_utc() - keep.age;
        let retention = Retention {
            tasks_before: timestamp(oldest),
            keys_before: timestamp(oldest - KEY_GRACE),
            max_tasks: keep.tasks,
        };
        if let Err(error) = engine.tasks.evict(&retention).await {
            tracing::warn!(%error, "cannot remove old tasks");
        }
    }
    Ok(())
}

/// Does until `stop` what replicas on one store owe each other.
pub(crate) async fn replicate(engine: Arc<Engine>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut beats = tokio::time::interval(BEAT);
    let mut cancels = tokio::time::interval(LISTEN);
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => break,
            _ = beats.tick() => beat(&engine).await,
            _ = cancels.tick() => engine.tasks.heed_cancels().await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "cannot reach the other replicas");
        }
    }
    if let Err(error) = engine.tasks.leave().await {
        tracing::debug!(%error, "the other replicas will notice by themselves");
    }
    Ok(())
}

async fn beat(engine: &Arc<Engine>) -> Result<(), StoreError> {
    engine.tasks.beat().await?;
    let left = engine.tasks.left_behind().await?;
    take_up(engine, left).await
}

/// Runs again what a crash left unfinished. Whoever called has gone, and with them their deadline: half of a change is
/// worse than a late one.
pub(crate) async fn take_up(engine: &Arc<Engine>, left: Vec<Record>) -> Result<(), StoreError> {
    for mut record in left {
        record.deadline = record.deadline.filter(|_| !record.mutates);
        if engine.tasks.claim(&mut record).await? {
            tracing::info!(
                task_id = record.task.id,
                skill = record.skill.as_deref(),
                "taking up a task that was left behind"
            );
            engine.resume(record);
        }
    }
    Ok(())
}
