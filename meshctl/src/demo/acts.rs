//! The story: refused, mended, migrated, deployed, failing, rolled back with its database, priced, audited.

mod proof;
mod recovery;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use proof::audited;
use recovery::failing;

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
    let cue = Cue::new(
        "schema, pod security, secrets",
        ("config-validator", "validate_manifests"),
        "refused",
    );
    stage
        .call(cue, manifests(RELEASE), |v| {
            (text(v, "/verdict"), rules(v, "/findings", "rule"))
        })
        .await?;
    let cue = Cue::new(
        "Rego policies",
        ("config-validator", "evaluate_policies"),
        "refused",
    );
    stage
        .call(cue, manifests(RELEASE), |v| {
            (text(v, "/verdict"), rules(v, "/results", "message"))
        })
        .await?;
    let cue = Cue::new(
        "wildcard rights",
        ("security-scanner", "audit_rbac"),
        "findings",
    );
    stage
        .call(cue, manifests(RELEASE), |v| found(v, "rule"))
        .await?;
    let cue = Cue::new(
        "vulnerable dependency",
        ("security-scanner", "scan_vulnerabilities"),
        "findings",
    );
    stage
        .call(
            cue,
            json!({"paths": [format!("releases/{RELEASE}/sbom.cdx.json")]}),
            |v| found(v, "id"),
        )
        .await?;
    let cue = Cue::new(
        "destructive migration",
        ("db-migrator", "plan_migration"),
        "refused",
    );
    let source = format!("releases/{RELEASE}/migrations");
    let input = json!({"database": "shop", "source": {"path": source}, "retain": "none"});
    stage
        .call(cue, input, |v| {
            (text(v, "/decision"), text(v, "/refusals/0"))
        })
        .await?;
    Ok(())
}

async fn accepted(stage: &mut Stage, release: &str, title: &str) -> anyhow::Result<()> {
    stage.screen.act(title);
    let cue = Cue::new(
        "schema, pod security, secrets",
        ("config-validator", "validate_manifests"),
        "accepted",
    );
    stage
        .call(cue, manifests(release), |v| {
            (
                text(v, "/verdict"),
                format!("{} objects", v.get("objects").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue::new(
        "Rego policies",
        ("config-validator", "evaluate_policies"),
        "accepted",
    );
    stage
        .call(cue, manifests(release), |v| {
            (
                text(v, "/verdict"),
                format!("{} rules", v.get("rules").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue::new(
        "dependencies",
        ("security-scanner", "scan_vulnerabilities"),
        "clean",
    );
    let sbom = json!({"paths": [format!("releases/{release}/sbom.cdx.json")]});
    stage
        .call(cue, sbom, |v| {
            (
                found(v, "id").0,
                format!("{} components", v.get("components").unwrap_or(&Value::Null)),
            )
        })
        .await?;
    let cue = Cue::new(
        "up, down, up on a shadow",
        ("db-migrator", "plan_migration"),
        "accepted",
    );
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
    let cue = Cue::pipeline("applies the manifests", "applied");
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
    let cue = Cue::pipeline("all pods are ready", "ready");
    stage.tell(cue, "ready".into(), String::new(), (began, None));
    let cue = Cue::new(
        "the release is healthy",
        ("monitoring-agent", "check_health"),
        "healthy",
    );
    let input =
        json!({"namespace": NAMESPACE, "workload": {"kind": "Deployment", "name": DEPLOYMENT}});
    stage
        .call(cue, input, |v| (text(v, "/verdict"), String::new()))
        .await?;
    Ok(())
}

async fn priced(stage: &mut Stage) -> anyhow::Result<Value> {
    stage.screen.act("Act 4: what it costs");
    let cue = Cue::new(
        "idle for a week or more",
        ("cost-analyzer", "find_idle_resources"),
        "findings",
    );
    stage
        .call(cue, json!({"namespace": NAMESPACE}), |v| {
            found(v, "resource")
        })
        .await?;
    let cue = Cue::new(
        "checked by performance-optimizer",
        ("cost-analyzer", "recommend_rightsizing"),
        "advice",
    );
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
