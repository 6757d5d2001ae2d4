//! How long from the first sign of a failing release to the old revision, beside Helm?
//!
//! A real control plane, pods that are ready one second after they are bound, four replicas, twelve kinds of fault. `sign`
//! is the first object of the API that shows the fault, `trigger` the incident, `patched` the old template in force,
//! `recovered` all pods of the old revision ready. Beside it, in the same run, `helm upgrade --rollback-on-failure` of
//! the same app with a crash loop and Helm's default timeout of five minutes.
//!
//! Found (optimised build without link-time optimisation, 2 virtual CPUs, 240 failed releases): see the README of
//! rollback-coordinator; the crash loop is over after 2.5 s, with Helm after 301.7 s.
//!
//! Run: `cargo bench -p tests --bench rollback -- [ROUNDS [AT_ONCE]]`, 20 rounds of 3 faults at once by default.

#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future::try_join, stream};
use tests::e2e::{Fault, Scene, Told, tell};
use tokio::time::Instant;

/// Namespace of Helm's app, which the mesh does not watch.
const TWIN: &str = "twin";

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let (rounds, at_once) = (numbers.next().unwrap_or(20), numbers.next().unwrap_or(3));
    tokio::runtime::Runtime::new()?.block_on(Box::pin(run(rounds, at_once)))
}

async fn run(rounds: usize, at_once: usize) -> anyhow::Result<()> {
    let scene = Box::pin(Scene::start()).await?;
    let runs = (0..rounds).flat_map(|round| Fault::ALL.map(|fault| (round, fault)));
    let told = stream::iter(runs)
        .map(|(round, fault)| tell(&scene, fault, round))
        .buffer_unordered(at_once)
        .try_collect::<Vec<Told>>();
    let (told, helm) = try_join(told, helm(&scene)).await?;
    println!("{} runs, {at_once} at once; seconds", told.len());
    println!("{:<28}{:>8}{:>8}{:>8}", "", "median", "p95", "worst");
    let all = |of: fn(&Told) -> Duration| told.iter().map(of).collect();
    row("sign to trigger", all(|told| told.sign_to_trigger));
    row("trigger to patched", all(|told| told.trigger_to_patched));
    row("sign to recovered", all(|told| told.sign_to_recovered));
    row(
        "release to recovered",
        all(|told| told.release_to_recovered),
    );
    for fault in Fault::ALL {
        let own = told.iter().filter(|told| told.fault == fault);
        row(
            fault.name(),
            own.map(|told| told.sign_to_recovered).collect(),
        );
    }
    let ours = told.iter().filter(|told| told.fault == Fault::CrashLoop);
    let mut ours: Vec<Duration> = ours.map(|told| told.release_to_recovered).collect();
    ours.sort();
    let ours = percentile(&ours, 50);
    println!(
        "crash loop, release to recovered: {:.1} s, Helm {:.1} s, ratio {:.0}",
        ours.as_secs_f64(),
        helm.as_secs_f64(),
        helm.as_secs_f64() / ours.as_secs_f64()
    );
    scene.mesh.stop().await
}

/// What Helm's own rollback takes.
async fn helm(scene: &Scene) -> anyhow::Result<Duration> {
    scene.plane.namespace(TWIN).await?;
    let folder = tempfile::tempdir()?;
    let chart = |version: &str, fault: Option<Fault>| -> anyhow::Result<String> {
        let chart = folder.path().join(version);
        std::fs::create_dir_all(chart.join("templates"))?;
        let about = "{apiVersion: v2, name: web, version: 1.0.0}";
        std::fs::write(chart.join("Chart.yaml"), about)?;
        let app = tests::e2e::App {
            namespace: TWIN.into(),
            name: "web".into(),
            replicas: 4,
            source: None,
        };
        let manifest = app.manifest(version, fault);
        std::fs::write(chart.join("templates/web.yaml"), manifest)?;
        Ok(chart.display().to_string())
    };
    let good = chart("1", None)?;
    let bad = chart("2", Some(Fault::CrashLoop))?;
    let helm = scene.plane.helm();
    let install = ["install", "web", &good, "-n", TWIN, "--wait"];
    let (succeeded, printed) = helm.run(&install).await?;
    anyhow::ensure!(succeeded, "{printed}");
    let since = Instant::now();
    let upgrade = ["upgrade", "web", &bad, "-n", TWIN, "--rollback-on-failure"];
    let (succeeded, printed) = helm.run(&upgrade).await?;
    anyhow::ensure!(!succeeded, "Helm saw no failure: {printed}");
    Ok(since.elapsed())
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent| percentile(&times, percent).as_secs_f64();
    println!("{name:<28}{:>8.2}{:>8.2}{:>8.2}", at(50), at(95), at(100));
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
