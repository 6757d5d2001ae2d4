//! The story: refused, mended, migrated, deployed, failing, rolled back with its database, priced, audited.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    rollout::{DEPLOYMENT, NAMESPACE},
    screen::Screen,
    stage::{Cue, Stage},
};

/// Longest rollout in the story.
const ROLLOUT: Duration = Duration::from_secs(30);

/// Plays all acts; answers summary and audit.
pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<(Value, Value)> {
    let began = Instant::now();
    refused(stage).await?;
    accepted(
        stage,
        "1.0.0",
        "Act 2: release 1.0.0 is mended, migrated and deployed",
    )
    .await?;
    deploy(stage, "1.0.0").await?;
    healthy(stage).await?;
    accepted(
        stage,
        "1.1.0",
        "Act 3: release 1.1.0 passes every check, and still fails",
    )
    .await?;
    let recovery = failing(stage).await?;
    let savings = priced(stage).await?;
    let audit = audited(stage).await?;
    let summary = json!({
        "failing_pod_to_old_release_ready": Screen::human(recovery),
        "savings_usd_a_month": savings,
        "audit_records": audit.get("records"),
        "audit_chains_verified": audit.get("verified"),
        "calls_between_agents_in_the_trace": audit.get("edges"),
        "whole_story": Screen::human(began.elapsed()),
    });
    Ok((summary, audit))
}

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn length(value: &Value, pointer: &str) -> usize {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// The distinct rules of findings, for one line.
fn rules(value: &Value, list: &str, key: &str) -> String {
    let mut names: Vec<&str> = value
        .pointer(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|f| f.get(key)?.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(10);
    let shown = names
        .iter()
        .take(10)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

fn manifests(release: &str) -> Value {
    json!({"paths": [format!("releases/{release}/manifests")]})
}

fn found(value: &Value, key: &str) -> (String, String) {
    let count = length(value, "/findings");
    (
        if count == 0 { "clean" } else { "findings" }.into(),
        format!("{count}: {}", rules(value, "/findings", key)),
    )
}

async fn refused(stage: &mut Stage) -> anyhow::Result<()> {
    const RELEASE: &str = "1.0.0-rc.1";
    stage
        .screen
        .act("Act 1: release 1.0.0-rc.1 deserves refusal");
    let cue = Cue {
        name: "schema, pod security, and secrets by security-scanner",
        agent: "config-validator",
        skill: "validate_manifests",
        expect: "refused",
    };
    stage
        .call(cue, manifests(RELEASE), |v| {
            (text(v, "/verdict"), rules(v, "/findings", "rule"))
        })
        .await?;
    let cue = Cue {
        name: "Rego policies",
        agent: "config-validator",
        skill: "evaluate_policies",
        expect: "refused",
    };
    stage
        .call(cue, manifests(RELEASE), |v| {
            (text(v, "/verdict"), rules(v, "/results", "message"))
        })
        .await?;
    let cue = Cue {
        name: "wildcard rights",
        agent: "security-scanner",
        skill: "audit_rbac",
        expect: "findings",
    };
    stage
        .call(cue, manifests(RELEASE), |v| found(v, "rule"))
        .await?;
    let cue = Cue {
        name: "vulnerable dependency",
        agent: "security-scanner",
        skill: "scan_vulnerabilities",
        expect: "findings",
    };
    stage
        .call(
            cue,
            json!({"paths": [format!("releases/{RELEASE}/sbom.cdx.json")]}),
            |v| found(v, "id"),
        )
        .await?;
    let cue = Cue {
        name: "destructive migration",
        agent: "db-migrator",
        skill: "plan_migration",
        expect: "refused",
    };
    let input =
        json!({"database": "shop", "source": {"path": format!("releases/{RELEASE}/migrations")}});
    stage
        .call(cue, input, |v| {
            (text(v, "/decision"), text(v, "/refusals/0"))
        })
        .await?;
    Ok(())
}

async fn accepted(stage: &mut Stage, release: &str, title: &str) -> anyhow::Result<()> {
    stage.screen.act(title);
    let cue = Cue {
        name: "schema, pod security and secrets",
        agent: "config-validator",
        skill: "validate_manifests",
        expect: "accepted",
    };
    stage
        .call(cue, manifests(release), |v| {
            (
                text(v, "/verdict"),
                format!("{} objects", v.get("objects").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue {
        name: "Rego policies",
        agent: "config-validator",
        skill: "evaluate_policies",
        expect: "accepted",
    };
    stage
        .call(cue, manifests(release), |v| {
            (
                text(v, "/verdict"),
                format!("{} rules", v.get("rules").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue {
        name: "dependencies",
        agent: "security-scanner",
        skill: "scan_vulnerabilities",
        expect: "clean",
    };
    let sbom = json!({"paths": [format!("releases/{release}/sbom.cdx.json")]});
    stage
        .call(cue, sbom, |v| {
            (
                found(v, "id").0,
                format!("{} components", v.get("components").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue {
        name: "up, down, up on a shadow",
        agent: "db-migrator",
        skill: "plan_migration",
        expect: "accepted",
    };
    let input =
        json!({"database": "shop", "source": {"path": format!("releases/{release}/migrations")}});
    stage
        .call(cue, input, |v| {
            (text(v, "/decision"), rules(v, "/migrations", "verdict"))
        })
        .await?;
    stage.migrate(release).await
}

async fn deploy(stage: &mut Stage, release: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let folder = stage
        .example
        .join("releases")
        .join(release)
        .join("manifests");
    let count = stage.rollouts.apply(&folder, &stage.traceparent()).await?;
    let image = stage.rollouts.image().await?;
    let cue = Cue {
        name: "applies the manifests",
        agent: "",
        skill: "",
        expect: "applied",
    };
    stage.tell(
        cue,
        "applied".into(),
        format!("{count} objects, image {image}"),
        (began, None),
    );
    Ok(image)
}

async fn healthy(stage: &mut Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    let image = stage.rollouts.image().await?;
    stage.rollouts.await_complete(&image, ROLLOUT).await?;
    let cue = Cue {
        name: "all pods are ready",
        agent: "",
        skill: "",
        expect: "ready",
    };
    stage.tell(cue, "ready".into(), String::new(), (began, None));
    let cue = Cue {
        name: "the release is healthy",
        agent: "monitoring-agent",
        skill: "check_health",
        expect: "healthy",
    };
    let input =
        json!({"namespace": NAMESPACE, "workload": {"kind": "Deployment", "name": DEPLOYMENT}});
    stage
        .call(cue, input, |v| (text(v, "/verdict"), String::new()))
        .await?;
    Ok(())
}

/// Deploys the bad release and watches the mesh mend it; answers the time from failing pod to recovery.
async fn failing(stage: &mut Stage) -> anyhow::Result<Duration> {
    let good = stage.rollouts.image().await?;
    let schema = columns(&stage.database)?;
    let bad = deploy(stage, "1.1.0").await?;
    let began = Instant::now();
    let failed = stage.rollouts.await_failing(&bad, ROLLOUT).await?;
    let cue = Cue {
        name: "a pod of 1.1.0 runs and is not ready",
        agent: "",
        skill: "",
        expect: "failing",
    };
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
    let cue = Cue {
        name: "the old release is ready with its schema back",
        agent: "",
        skill: "",
        expect: "recovered",
    };
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
    let cue = Cue {
        name: "asked for by monitoring-agent, database step by db-migrator",
        agent: "rollback-coordinator",
        skill: "execute_rollback",
        expect: "rolled_back",
    };
    stage.tell(
        cue,
        text(journal, "/outcome"),
        steps.join(", "),
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

async fn priced(stage: &mut Stage) -> anyhow::Result<Value> {
    stage.screen.act("Act 4: what it costs");
    let cue = Cue {
        name: "idle for a week or more",
        agent: "cost-analyzer",
        skill: "find_idle_resources",
        expect: "findings",
    };
    stage
        .call(cue, json!({"namespace": NAMESPACE}), |v| {
            found(v, "resource")
        })
        .await?;
    let cue = Cue {
        name: "each checked by performance-optimizer",
        agent: "cost-analyzer",
        skill: "recommend_rightsizing",
        expect: "advice",
    };
    let priced = stage
        .call(cue, json!({"namespace": NAMESPACE}), |v| {
            let advice = length(v, "/recommendations");
            (
                if advice > 0 { "advice" } else { "nothing" }.into(),
                format!(
                    "{advice} to resize, {} withheld: {}",
                    length(v, "/withheld"),
                    rules(v, "/recommendations", "workload")
                ),
            )
        })
        .await?;
    Ok(priced
        .get("potential_savings_usd")
        .cloned()
        .unwrap_or_default())
}

async fn audited(stage: &mut Stage) -> anyhow::Result<Value> {
    stage.screen.act("Act 5: what can be proven");
    let edges = edges(stage).await?;
    let cue = Cue {
        name: "every signature and every chain",
        agent: "compliance-auditor",
        skill: "verify_audit_trail",
        expect: "verified",
    };
    let verified = stage
        .call(cue, json!({}), |v| {
            (
                if v.get("intact") == Some(&Value::Bool(true)) {
                    "verified"
                } else {
                    "broken"
                }
                .into(),
                format!("{} records", v.get("verified").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue {
        name: "SOC 2, HIPAA and GDPR from the trail",
        agent: "compliance-auditor",
        skill: "assess_compliance",
        expect: "assessed",
    };
    stage
        .call(cue, json!({"frameworks": ["SOC2", "HIPAA", "GDPR"]}), |v| {
            let frameworks = v.pointer("/frameworks").and_then(Value::as_array);
            let scores: Vec<String> = frameworks
                .into_iter()
                .flatten()
                .map(|f| {
                    format!(
                        "{} {}",
                        text(f, "/framework"),
                        f.get("score").unwrap_or(&Value::Null)
                    )
                })
                .collect();
            (
                if scores.len() == 3 {
                    "assessed"
                } else {
                    "incomplete"
                }
                .into(),
                scores.join(", "),
            )
        })
        .await?;
    Ok(
        json!({"records": verified.get("verified"), "verified": verified.get("intact"), "edges": edges}),
    )
}

/// The four edges of the announcement, as far as the audit trail has them in this one trace.
async fn edges(stage: &mut Stage) -> anyhow::Result<Vec<String>> {
    const WANTED: [(&str, &str); 4] = [
        ("config-validator", "security-scanner/detect_secrets"),
        ("monitoring-agent", "rollback-coordinator/execute_rollback"),
        ("rollback-coordinator", "db-migrator/rollback_migration"),
        ("cost-analyzer", "performance-optimizer/assess_resize"),
    ];
    let began = Instant::now();
    let mut seen = Vec::new();
    // Records are delivered a moment after their answer.
    while seen.len() < WANTED.len() && began.elapsed() < Duration::from_secs(5) {
        seen.clear();
        for (agent, resource) in WANTED {
            let input = json!({"agent": agent, "action": "a2a.call", "resource": resource, "trace_id": stage.trace_id, "limit": 1});
            let answer = stage
                .ask("compliance-auditor", "query_audit_trail", &input)
                .await?
                .ok()?;
            if length(&answer, "/records") > 0 {
                seen.push(format!("{agent} -> {resource}"));
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    let cue = Cue {
        name: "the announcement's four edges, in one trace",
        agent: "compliance-auditor",
        skill: "query_audit_trail",
        expect: "4 of 4",
    };
    stage.tell(
        cue,
        format!("{} of 4", seen.len()),
        seen.join("; "),
        (began, None),
    );
    Ok(seen)
}
