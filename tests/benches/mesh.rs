//! What does the mesh cost at rest, and how fast is it there?
//!
//! Starts all eight agents three times with embedded stores and prints, for the median start: time to the
//! last readiness beside one bare process start in the same run, resident memory of each idle agent, and
//! the size of each program. Run with `cargo bench -p tests --bench mesh` (release programs).

#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::{path::Path, time::Duration};

use meshctl::{
    agents::Resources,
    ground::{Ground, free_ports},
    processes::programs,
    up::start,
};
use tests::tools::root;
use tokio::time::Instant;

/// Limits of the first release, in MiB and seconds.
const MEMORY_LIMIT: f64 = 30.0;
const SIZE_LIMIT: f64 = 40.0;
const START_LIMIT: f64 = 3.0;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let fleet = manifest::load_dir(&root().join("manifests"))?;
    let mut starts = Vec::new();
    for round in 0..3 {
        let folder = tempfile::tempdir()?;
        let ground = Ground::prepare(
            folder.path(),
            &root().join("manifests"),
            free_ports(&fleet)?,
        )?;
        let resources = Resources {
            workspace: folder.path().into(),
            ..Resources::default()
        };
        let mesh = start(&ground, resources, false).await?;
        starts.push(mesh.started_in);
        if round == 2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            report(
                &mesh
                    .children
                    .iter()
                    .map(|(process, _)| (process.name.clone(), process.pid))
                    .collect::<Vec<_>>(),
            )
            .await?;
        }
        mesh.stop().await;
    }
    starts.sort();
    let median = starts.get(1).copied().unwrap_or_default();
    let bare = bare().await?;
    println!(
        "start of eight agents and a cluster: {:.2} s (limit {START_LIMIT} s), {:.0}x one start of `true`",
        median.as_secs_f64(),
        median.as_secs_f64() / bare.as_secs_f64()
    );
    Ok(())
}

/// Starting and ending the smallest process, as a measure of the machine.
async fn bare() -> anyhow::Result<Duration> {
    let began = Instant::now();
    for _ in 0..20 {
        tokio::process::Command::new("true").status().await?;
    }
    Ok(began.elapsed() / 20)
}

async fn report(agents: &[(String, i32)]) -> anyhow::Result<()> {
    let names: Vec<&str> = agents.iter().map(|(name, _)| name.as_str()).collect();
    let folder = programs(&names).await?;
    println!(
        "{:<24} {:>16} {:>16}",
        "agent", "idle memory MiB", "program MiB"
    );
    for (name, pid) in agents {
        let (memory, size) = (
            resident(*pid)?,
            megabytes(std::fs::metadata(folder.join(name))?.len()),
        );
        println!("{name:<24} {memory:>16.1} {size:>16.1}");
    }
    println!("limits: {MEMORY_LIMIT} MiB and {SIZE_LIMIT} MiB (release programs)");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Resident memory of a process, from `/proc`.
fn resident(pid: i32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    Ok(megabytes(kilobytes.unwrap_or_default() * 1024))
}
