//! `meshctl demo`: a release of `examples/shop` through all eight agents, on a mesh of its own.

mod acts;
mod rollout;
mod screen;
mod stage;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::{
    agents::Resources,
    ground::{Ground, free_ports},
    up::{Mesh, start},
};
use screen::Screen;
use stage::Stage;

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object on stdout; the story goes to stderr.
    #[arg(long)]
    json: bool,
    /// Leave the mesh running afterwards.
    #[arg(long)]
    keep: bool,
    /// Folder with the eight manifests and mesh.yaml.
    #[arg(long)]
    manifests: Option<PathBuf>,
    /// Folder of the example.
    #[arg(long)]
    example: Option<PathBuf>,
    /// OTLP/gRPC endpoint that gets the traces.
    #[arg(long)]
    otlp_endpoint: Option<String>,
}

/// One step of the story.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    name: String,
    agent: Option<String>,
    skill: Option<String>,
    outcome: String,
    detail: String,
    duration_ms: u128,
    task_id: Option<String>,
}

/// The whole story.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    trace_id: String,
    steps: Vec<Step>,
    summary: Value,
    audit: Value,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let example = args
        .example
        .clone()
        .unwrap_or_else(|| source.join("examples/shop"));
    let manifests = args
        .manifests
        .clone()
        .unwrap_or_else(|| source.join("manifests"));
    ensure!(
        example.join("releases").exists(),
        "{} is not the example (--example)",
        example.display()
    );
    let folder = tempfile::Builder::new()
        .prefix("mesh-demo-")
        .tempdir()
        .context("no temporary folder")?;
    let screen = Screen::new(args.json);
    screen.title("A release of examples/shop through the agent mesh");
    let fleet = manifest::load_dir(&manifests)?;
    let ground = Ground::prepare(folder.path(), &manifests, free_ports(&fleet)?)?;
    let database = folder.path().join("shop.db");
    let mesh = start(
        &ground,
        resources(&example, &database, args.otlp_endpoint.clone()),
        args.keep,
    )
    .await?;
    screen.note(&format!("eight agents and an embedded cluster are ready after {} ms (the cluster is a model for the first five minutes)", mesh.started_in.as_millis()));
    let result = tokio::select! {
        result = play(&ground, &mesh, screen, (&example, &database)) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    finish(args.keep, mesh, folder).await;
    let report = result?;
    let code = if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(code)
}

fn resources(example: &Path, database: &Path, otlp: Option<String>) -> Resources {
    Resources {
        workspace: example.to_path_buf(),
        kubeconfig: None,
        advisories: Some(example.join("advisories")),
        policies: Some(example.join("policies")),
        databases: vec![format!("shop=sqlite:{}", database.display())],
        metrics: Some(example.join("metrics")),
        prometheus: None,
        otlp,
    }
}

async fn play(
    ground: &Ground,
    mesh: &Mesh,
    screen: Screen,
    paths: (&Path, &Path),
) -> anyhow::Result<Report> {
    let mut stage = Stage::new(ground, mesh, screen, paths).await?;
    let told = acts::play(&mut stage).await;
    let (ok, summary, audit) = match told {
        Ok((summary, audit)) => (stage.as_told(), summary, audit),
        Err(error) => {
            stage.screen.failure(&format!("{error:#}"));
            (
                false,
                serde_json::json!({"error": format!("{error:#}")}),
                Value::Null,
            )
        }
    };
    stage.screen.end(ok, &stage.trace_id, &summary);
    Ok(Report {
        ok,
        trace_id: stage.trace_id,
        steps: stage.steps,
        summary,
        audit,
    })
}

async fn finish(keep: bool, mesh: Mesh, folder: tempfile::TempDir) {
    if keep {
        let root = folder.keep();
        eprintln!(
            "the mesh keeps running; stop it with: meshctl down --state {}",
            root.display()
        );
        mesh.detach();
    } else {
        mesh.stop().await;
    }
}
