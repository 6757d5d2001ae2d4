//! A whole incident, from the failing signal to the deployment and the note that GitLab gets, is one trace at a real
//! OTLP receiver and one chain of audit records.

#![expect(
    clippy::print_stdout,
    clippy::large_futures,
    clippy::indexing_slicing,
    reason = "a test fails loudly, and its figures are for people"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use meshctl::agents::Resources;
use serde_json::{Value, json};
use shared::telemetry::{LogFormat, Traces};
use tests::{
    e2e::{Delivery, Fault, Scene, Source},
    otlp::Receiver,
};
use tokio::time::{sleep, timeout};

/// Longest wait for anything: 2 minutes, for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(200);

#[test]
fn a_whole_incident_is_one_trace_and_one_audit_chain() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let receiver = runtime.block_on(Receiver::start());
    let traces = Traces::new("mesh", "test", Some(&receiver.endpoint), 1.0)?;
    shared::telemetry::install(LogFormat::Text, &"info".parse()?, &traces);
    let trace_id = runtime.block_on(story())?;
    // A span is sent once it ends, and those around others end last.
    let spans = runtime.block_on(receiver.wait_for("every span of the incident", |text| {
        let names = spans(text);
        let has = |wanted: &&str| names.iter().any(|(name, _)| name.starts_with(wanted));
        OF_THE_INCIDENT.iter().all(|wanted| has(wanted))
    }));
    traces.shutdown();
    check_spans(&spans, &trace_id)
}

/// Lets a release fail; answers the trace id of the incident once everything about it has happened.
async fn story() -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let delivery = Delivery::start().await?;
    let database = format!("dev=sqlite:{},dev", folder.path().join("dev.db").display());
    let scene = Scene::start_on(Resources {
        databases: vec![database],
        ..delivery.resources()
    })
    .await?;
    migrate(&scene, 1).await?;
    delivery.deploys(&scene, 1).await?;
    let source = Source {
        database: Some("dev".into()),
        ..delivery.source.clone()
    };
    let app = scene.deploy_from("web", 3, Some(source)).await?;
    migrate(&scene, 2).await?;
    delivery.deploys(&scene, 2).await?;
    scene.release(&app, Some(Fault::CrashLoop)).await?;

    let told = async {
        loop {
            let incident = scene.incident(&app).await?;
            let over = incident.filter(|one| one["status"] == "resolved");
            // The note is the last that GitLab hears of a state of the incident.
            let told = delivery.notes().iter().any(|one| {
                let text = one["body"].as_str().unwrap_or_default();
                text.contains("rollback done") && text.contains("| over |")
            });
            match over {
                Some(incident) if told && !delivery.recorded().is_empty() => {
                    return anyhow::Ok(incident);
                }
                _ => sleep(LOOK).await,
            }
        }
    };
    let Ok(incident) = timeout(PATIENCE, told).await else {
        bail!(
            "the incident never ended: {:#?}\n{:#?}\n{:#?}",
            scene.incident(&app).await?,
            delivery.gitlab.requests(),
            scene
                .ask("rollback-coordinator", "rollback_status", &json!({}))
                .await?
        );
    };
    let id = json!({"id": incident?["id"]});
    let incident = scene.ask("monitoring-agent", "get_incident", &id).await?;
    check_gitlab(&delivery, &incident)?;
    let trace_id = trace_of(&incident)?;
    check_audit(&scene, &trace_id).await?;
    scene.mesh.stop().await?;
    Ok(trace_id)
}

/// Brings the schema of a version into force, as its pipeline does.
async fn migrate(scene: &Scene, version: usize) -> anyhow::Result<()> {
    let scripts = [
        (
            "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
            "DROP TABLE items",
        ),
        (
            "ALTER TABLE items RENAME COLUMN name TO title",
            "ALTER TABLE items RENAME COLUMN title TO name",
        ),
    ];
    let mut files = Vec::new();
    for (number, (up, down)) in (1..).zip(scripts).take(version) {
        files.push(json!({"name": format!("000{number}_items.up.sql"), "content": up}));
        files.push(json!({"name": format!("000{number}_items.down.sql"), "content": down}));
    }
    let input = json!({"database": "dev", "source": {"files": files}, "dry_run": false,
        "idempotency_key": format!("release-{version}"), "release": version.to_string()});
    let applied = scene.ask("db-migrator", "apply_migration", &input).await?;
    ensure!(applied["executed"] != false, "{applied:#}");
    Ok(())
}

fn trace_of(incident: &Value) -> anyhow::Result<String> {
    let parent = incident["traceparent"].as_str().context("no trace")?;
    let id = parent.split('-').nth(1).context("no trace id")?;
    Ok(id.to_owned())
}

/// What GitLab holds afterwards.
fn check_gitlab(delivery: &Delivery, incident: &Value) -> anyhow::Result<()> {
    let [good, bad] = &delivery.source.commits;
    let recorded = delivery.recorded();
    ensure!(recorded.len() == 1, "{recorded:#?}");
    ensure!(recorded[0]["sha"] == *good && recorded[0]["status"] == "success");
    ensure!(recorded[0]["environment"]["name"] == "production/eu");
    ensure!(delivery.freezes().is_empty(), "the freeze has ended");
    let frozen = "POST projects/30/freeze_periods".to_owned();
    ensure!(delivery.gitlab.changes().contains(&frozen));
    let notes = delivery.notes();
    ensure!(notes.len() == 1, "{notes:#?}");
    let text = notes[0]["body"].as_str().unwrap_or_default();
    let id = incident["id"].as_str().unwrap_or_default();
    ensure!(text.contains(id) && text.contains(bad), "{text}");
    ensure!(text.contains("rollback done"), "{text}");
    let issues = delivery.issues();
    ensure!(
        issues.len() == 1 && issues[0]["state"] == "closed",
        "{issues:#?}"
    );
    let refused: Vec<_> = delivery
        .gitlab
        .requests()
        .into_iter()
        .filter(|request| request.status >= 400)
        .collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// The agents and what they did in the trace, once their records have arrived; all records of all agents are one chain.
async fn check_audit(scene: &Scene, trace_id: &str) -> anyhow::Result<()> {
    let wanted = [
        ("monitoring-agent", "gitlab.put_incident"),
        ("monitoring-agent", "gitlab.put_note"),
        ("monitoring-agent", "a2a.call"),
        ("monitoring-agent", "check_health"),
        ("rollback-coordinator", "plan_rollback"),
        ("rollback-coordinator", "execute_rollback"),
        ("rollback-coordinator", "kubernetes.patch"),
        ("rollback-coordinator", "gitlab.create_freeze_period"),
        ("rollback-coordinator", "gitlab.delete_freeze_period"),
        ("rollback-coordinator", "gitlab.create_deployment"),
        ("db-migrator", "assess_rollback"),
        ("db-migrator", "rollback_migration"),
    ];
    let complete = async {
        loop {
            let found = records(scene, trace_id).await?;
            let missing: Vec<_> = wanted
                .iter()
                .filter(|(agent, action)| !found.contains(&(agent.to_string(), action.to_string())))
                .collect();
            if missing.is_empty() {
                return anyhow::Ok(found.len());
            }
            println!("not yet in the trail: {missing:?}");
            sleep(LOOK * 5).await;
        }
    };
    let kinds = timeout(PATIENCE, complete)
        .await
        .context("the trace is not complete in the audit trail")??;
    let verified = scene
        .ask("compliance-auditor", "verify_audit_trail", &json!({}))
        .await?;
    ensure!(verified["intact"] == true, "{verified:#}");
    println!(
        "{kinds} kinds of acts in the trace, {} records verified",
        verified["verified"]
    );
    Ok(())
}

/// Agent and action of every record of a trace.
async fn records(scene: &Scene, trace_id: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    let mut cursor = Value::Null;
    loop {
        let mut input = json!({"trace_id": trace_id, "limit": 200});
        if !cursor.is_null() {
            input["cursor"] = cursor;
        }
        let page = scene
            .ask("compliance-auditor", "query_audit_trail", &input)
            .await?;
        for one in page["records"].as_array().into_iter().flatten() {
            let text = |name: &str| one["record"][name].as_str().unwrap_or_default();
            let agent = text("agent").rsplit('/').next().unwrap_or_default();
            found.insert((agent.to_owned(), text("action").to_owned()));
        }
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return Ok(found);
        }
    }
}

/// Spans that only the incident has: each of them stands in its trace.
const OF_THE_INCIDENT: [&str; 12] = [
    "detect shop/",
    "incident shop/",
    "notice shop/",
    "plan_rollback",
    "execute_rollback",
    "rollback_migration",
    "check_health",
    "gitlab.put_incident",
    "gitlab.put_note",
    "gitlab.create_freeze_period",
    "gitlab.delete_freeze_period",
    "gitlab.create_deployment",
];

fn check_spans(printed: &str, trace_id: &str) -> anyhow::Result<()> {
    let spans = spans(printed);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, trace) in &spans {
        for wanted in OF_THE_INCIDENT {
            if name.starts_with(wanted) {
                ensure!(
                    trace == trace_id,
                    "{name} is in trace {trace}, not {trace_id}"
                );
                *seen.entry(wanted).or_default() += 1;
            }
        }
    }
    for wanted in OF_THE_INCIDENT {
        ensure!(
            seen.contains_key(wanted),
            "no span {wanted} among {}",
            spans.len()
        );
    }
    let all = spans.iter().filter(|(_, trace)| trace == trace_id).count();
    println!("{all} spans in the trace of the incident: {seen:?}");
    Ok(())
}

/// Name and trace id of every span that the receiver printed.
fn spans(printed: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut trace = String::new();
    for line in printed.lines() {
        let value = |name: &str| {
            Some(
                line.trim()
                    .strip_prefix(name)?
                    .trim_start_matches([' ', ':'])
                    .to_owned(),
            )
        };
        if let Some(id) = value("Trace ID") {
            trace = id.to_lowercase();
        } else if let Some(name) = value("Name") {
            found.push((name, trace.clone()));
        }
    }
    found
}
