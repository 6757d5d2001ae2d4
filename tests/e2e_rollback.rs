//! A failing release on a real control plane is taken back, whatever is wrong with it; the agents have the rights that
//! are rendered for them and no others.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test stops at what it does not expect, and its figures are for people"
)]

use futures::future::join_all;
use serde_json::Value;
use tests::e2e::{Fault, Scene, Timeline, observe};
use time::OffsetDateTime;

#[tokio::test(flavor = "multi_thread")]
async fn takes_back_whatever_fails() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    println!("control plane ready after {:?}", scene.plane.took());
    let mut failed = Vec::new();
    let rounds = std::env::var("E2E_ROUNDS").map_or(Ok(1), |text| text.parse())?;
    println!(
        "{:<16}{:>10}{:>10}{:>10}{:>10}",
        "fault", "sign", "trigger", "patched", "recovered"
    );
    for round in 0..rounds {
        let faults = chosen_faults();
        let told = join_all(faults.map(|fault| one(&scene, fault, round))).await;
        for (fault, told) in chosen_faults().zip(told) {
            match told {
                Ok((incident, times)) => report(fault, &incident, &times)?,
                Err(error) => {
                    println!("{:<16}{error:#}", fault.name());
                    failed.push(fault);
                }
            }
        }
    }
    assert!(failed.is_empty(), "not taken back: {failed:?}");
    scene.mesh.stop().await
}

/// The fault that `E2E_FAULT` names, or all.
fn chosen_faults() -> impl Iterator<Item = Fault> {
    let wanted = std::env::var("E2E_FAULT").ok();
    let fits = move |fault: &Fault| wanted.as_deref().is_none_or(|name| name == fault.name());
    Fault::ALL.into_iter().filter(fits)
}

async fn one(scene: &Scene, fault: Fault, round: usize) -> anyhow::Result<(Value, Timeline)> {
    let app = scene
        .deploy(&format!("{}-{round}", fault.name()), 4)
        .await?;
    let client = scene.client().await?;
    let seen = observe(client, &app, fault);
    let act = async {
        // The watch first, so that nothing is missed.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        scene.release(&app, Some(fault)).await
    };
    let both = async { futures::future::try_join(seen, act).await };
    let times = match tokio::time::timeout(std::time::Duration::from_secs(90), both).await {
        Ok(seen) => seen?.0,
        Err(_) => anyhow::bail!(
            "{} was not taken back: {:#?}",
            app.name,
            scene.incident(&app).await?
        ),
    };
    let incident = scene.incident(&app).await?;
    let incident = incident.unwrap_or_default();
    anyhow::ensure!(
        incident["attribution"] == "release",
        "wrong attribution: {incident:#}"
    );
    Ok((incident, times))
}

fn report(fault: Fault, incident: &Value, times: &Timeline) -> anyhow::Result<()> {
    let detected = incident["detected_at"].as_str().unwrap_or_default();
    let detected = OffsetDateTime::parse(detected, &time::format_description::well_known::Rfc3339)?;
    let since =
        |from: OffsetDateTime, to: OffsetDateTime| format!("{:.2} s", (to - from).as_seconds_f64());
    println!(
        "{:<16}{:>10}{:>10}{:>10}{:>10}",
        fault.name(),
        since(times.released, times.sign),
        since(times.sign, detected),
        since(detected, times.patched),
        since(times.sign, times.recovered),
    );
    Ok(())
}
