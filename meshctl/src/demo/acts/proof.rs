//! Act 5: what the audit trail proves.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{length, text};
use crate::demo::stage::{Cue, Stage};

pub(super) async fn audited(stage: &mut Stage) -> anyhow::Result<Value> {
    stage.screen.act("Act 5: what can be proven");
    let edges = edges(stage).await?;
    let cue = Cue::new(
        "every signature and every chain",
        ("compliance-auditor", "verify_audit_trail"),
        "verified",
    );
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
    let cue = Cue::new(
        "SOC 2, HIPAA, GDPR from the trail",
        ("compliance-auditor", "assess_compliance"),
        "assessed",
    );
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
    let cue = Cue::new(
        "calls between agents, in one trace",
        ("compliance-auditor", "query_audit_trail"),
        "4 of 4",
    );
    stage.tell(
        cue,
        format!("{} of 4", seen.len()),
        seen.join(", "),
        (began, None),
    );
    Ok(seen)
}
