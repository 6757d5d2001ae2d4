//! `meshctl demo`: a release of `examples/shop` through all eight agents, on a mesh of its own.

mod acts;
mod rollout;
mod screen;
mod stage;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::{
    agents::Resources,
    ground::{Ground, free_ports},
    interrupt::Interrupt,
    program, state_flag,
    up::{Mesh, start_unless},
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
    links: Vec<Link>,
}

/// What to look at next: a place, or a command.
#[derive(Debug, Serialize)]
struct Link {
    name: &'static str,
    target: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let or_source = |given: &Option<PathBuf>, own: &str| {
        std::path::absolute(given.clone().unwrap_or_else(|| source.join(own)))
    };
    let example = or_source(&args.example, "examples/shop")?;
    let manifests = or_source(&args.manifests, "manifests")?;
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
    let resources = resources(&example, &database, args.otlp_endpoint.clone());
    let mesh = start_unless(&mut interrupt, &ground, resources, args.keep).await?;
    screen.note(&format!(
        "eight agents and an embedded cluster, ready after {} ms",
        mesh.started_in.as_millis()
    ));
    screen.note("(the cluster is a model, for the first five minutes)");
    let played = tokio::select! {
        played = play(&ground, &mesh, screen, (&example, &database)) => played,
        () = interrupt.received() => Err(anyhow::anyhow!("stopped")),
    };
    finish(args.keep && played.is_ok(), mesh, folder).await;
    let mut report = played?;
    report.links = links(args.keep, &ground, &report.trace_id, source);
    screen.end(&report);
    if args.json {
        crate::say(format_args!("{}", serde_json::to_string(&report)?));
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where to look, and what to try on a mesh that keeps running.
fn links(keep: bool, ground: &Ground, trace_id: &str, source: &Path) -> Vec<Link> {
    let here = std::env::current_dir().unwrap_or_default();
    let place = |path: &str| {
        let path = source.join(path);
        path.strip_prefix(&here)
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    let link = |name, target| Link { name, target };
    let meshctl = program();
    let mut links = vec![
        link("example", place("examples/shop/README.md")),
        link("dashboards", place("deploy/grafana/")),
    ];
    if !keep {
        links.push(link(
            "again",
            format!("{meshctl} demo --keep  (leaves the mesh running, to look into it)"),
        ));
        return links;
    }
    let state = state_flag(&ground.root);
    let trail =
        format!("compliance-auditor query_audit_trail --input '{{\"trace_id\": \"{trace_id}\"}}'");
    let metrics = ground
        .ports
        .get("monitoring-agent")
        .map_or(0, |ports| ports.metrics);
    links.extend([
        link("logs", ground.root.join("logs").display().to_string()),
        link(
            "metrics",
            format!("http://127.0.0.1:{metrics}/metrics  (monitoring-agent)"),
        ),
        link("agents", format!("{meshctl} status{state}")),
        link(
            "incident",
            format!("{meshctl} call{state} monitoring-agent list_incidents"),
        ),
        link(
            "rollback",
            format!("{meshctl} call{state} rollback-coordinator rollback_status"),
        ),
        link("audit", format!("{meshctl} call{state} {trail}")),
        link("stop", format!("{meshctl} down{state}")),
    ]);
    links
}

fn resources(example: &Path, database: &Path, otlp: Option<String>) -> Resources {
    Resources {
        workspace: example.to_path_buf(),
        kubeconfig: None,
        own_kubeconfigs: BTreeMap::new(),
        advisories: Some(example.join("advisories")),
        policies: Some(example.join("policies")),
        databases: vec![format!("shop=sqlite:{}", database.display())],
        metrics: Some(example.join("metrics")),
        prometheus: None,
        objectives: None,
        otlp,
        gitlab: None,
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
    Ok(Report {
        ok,
        trace_id: stage.trace_id,
        steps: stage.steps,
        summary,
        audit,
        links: Vec::new(),
    })
}

async fn finish(keep: bool, mesh: Mesh, folder: tempfile::TempDir) {
    if keep {
        let _stays = folder.keep();
        mesh.detach();
    } else {
        mesh.stop().await;
    }
}
