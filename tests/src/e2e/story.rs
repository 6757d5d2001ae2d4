//! One release that fails, from its deployment to its end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{sleep, timeout};

use super::{Fault, Scene, observe};

/// Longest time from a release to its end.
const PATIENCE: Duration = Duration::from_mins(3);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time that the watches of an observer need to stand.
const HEAD_START: Duration = Duration::from_millis(300);

/// What an observer saw of a release that was taken back.
#[derive(Debug, Clone)]
pub struct Told {
    /// What was wrong.
    pub fault: Fault,
    /// The incident.
    pub incident: Value,
    /// From the release to the first sign.
    pub release_to_sign: Duration,
    /// From the first sign to the incident.
    pub sign_to_trigger: Duration,
    /// From the incident to the old template.
    pub trigger_to_patched: Duration,
    /// From the first sign to all pods of the old revision.
    pub sign_to_recovered: Duration,
    /// From the release to all pods of the old revision.
    pub release_to_recovered: Duration,
}

/// Deploys an app, releases a version that fails so, and waits until the old one is back and the incident over. Takes the app
/// away at the end.
///
/// # Errors
/// When it does not come back, or something else than the release is blamed.
pub async fn tell(scene: &Scene, fault: Fault, round: usize) -> anyhow::Result<Told> {
    let app = scene
        .deploy(&format!("{}-{round}", fault.name()), 4)
        .await?;
    let release = async {
        // The watches first, so that nothing is missed.
        sleep(HEAD_START).await;
        scene.release(&app, Some(fault)).await
    };
    let both = Box::pin(try_join(
        observe(scene.client().await?, &app, fault),
        release,
    ));
    let Ok(seen) = timeout(PATIENCE, both).await else {
        bail!(
            "{} was not taken back: {:#}",
            app.name,
            scene.picture(&app).await?
        );
    };
    let (times, ()) = seen?;
    let ended = async {
        loop {
            let incident = scene.incident(&app).await?.context("no incident")?;
            if !incident["resolved_at"].is_null() {
                return anyhow::Ok(incident);
            }
            sleep(LOOK).await;
        }
    };
    let Ok(incident) = timeout(PATIENCE, ended).await else {
        bail!("{} never ended: {:#}", app.name, scene.picture(&app).await?);
    };
    let incident = incident?;
    scene.remove(&app).await?;
    ensure!(
        incident["attribution"] == "release",
        "wrong attribution: {incident:#}"
    );
    let detected = incident["detected_at"].as_str().unwrap_or_default();
    let detected = OffsetDateTime::parse(detected, &Rfc3339)?;
    // The incident's time is in whole milliseconds.
    let between = |from: OffsetDateTime, to: OffsetDateTime| {
        Duration::try_from(to - from).unwrap_or_default()
    };
    Ok(Told {
        fault,
        incident,
        release_to_sign: between(times.released, times.sign),
        sign_to_trigger: between(times.sign, detected),
        trigger_to_patched: between(detected, times.patched),
        sign_to_recovered: between(times.sign, times.recovered),
        release_to_recovered: between(times.released, times.recovered),
    })
}
