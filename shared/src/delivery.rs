//! Delivers the audit outbox to compliance-auditor, at least once and in order.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{context::Work, engine::Engine, registry::DELIVERY_SKILL, telemetry::Chain};

/// The agent that keeps the trail.
pub(crate) const AUDITOR: &str = "compliance-auditor";
/// Records of one delivery.
const BATCH: usize = 200;
/// Time for records to gather before a delivery.
const GATHER: Duration = Duration::from_millis(20);
/// First pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Time for one delivery.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for the last deliveries at shutdown.
const FAREWELL: Duration = Duration::from_secs(3);

/// Delivers until `stop`, then what is left, as far as the time goes.
pub(crate) async fn run(engine: Arc<Engine>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let next = match deliver(&engine).await {
            Ok(true) => continue,
            Ok(false) => {
                pause = FIRST_PAUSE;
                // A record that is appended may be on its way to the disk still.
                if engine.trail.depth() > 0 {
                    Some(GATHER)
                } else {
                    stop.run_until_cancelled(engine.trail.appended())
                        .await
                        .map(|()| GATHER)
                }
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot deliver audit records");
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(pause)
            }
        };
        if let Some(wait) = next {
            stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }
    let rest = async {
        while deliver(&engine).await? {}
        anyhow::Ok(())
    };
    if !matches!(timeout(FAREWELL, rest).await, Ok(Ok(()))) {
        tracing::info!("audit records stay in the outbox until the next start");
    }
    Ok(())
}

/// One batch; false when there is nothing to deliver.
async fn deliver(engine: &Arc<Engine>) -> anyhow::Result<bool> {
    let records = engine
        .trail
        .pending(BATCH)
        .await
        .context("cannot read the outbox")?;
    let Some(last) = records.last().map(|(counter, _)| *counter) else {
        return Ok(false);
    };
    let envelopes: Vec<Value> = records.into_iter().map(|(_, envelope)| envelope).collect();
    let input = json!({"records": envelopes});
    let own = engine
        .access
        .own()
        .context("mesh.yaml does not know this agent")?;
    let answer = if engine.name == AUDITOR {
        let Value::Object(params) = input else {
            return Ok(false);
        };
        engine
            .deliver(&own, params)
            .await
            .map_err(|fault| anyhow::anyhow!("{}", fault.message()))
    } else {
        let work = Work {
            task_id: "loop:audit-delivery".into(),
            skill: DELIVERY_SKILL.into(),
            caller: own,
            on_behalf_of: None,
            deadline: Instant::now() + PATIENCE,
            tool_calls: Arc::default(),
            input_digest: String::new(),
        };
        engine
            .plane
            .peers
            .call(&work, AUDITOR, DELIVERY_SKILL, input)
            .await
            .map_err(|error| anyhow::anyhow!("{}", Chain(&error)))
    };
    answer?;
    engine
        .trail
        .delivered(last)
        .await
        .context("cannot empty the outbox")?;
    Ok(true)
}
