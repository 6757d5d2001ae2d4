//! The README's first command: a real release through eight real processes, in one trace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::process::Stdio;

use meshctl::processes::programs;
use serde_json::Value;
use tests::otlp::Receiver;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_refused_mended_migrated_deployed_rolled_back_priced_and_audited() {
    let receiver = Receiver::start().await;
    let folder = programs(&["meshctl", "cluster-model"]).await.unwrap();
    let output = Command::new(folder.join("meshctl"))
        .args(["demo", "--json", "--otlp-endpoint", &receiver.endpoint])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let story = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {story}"));
    assert!(
        output.status.success() && report["ok"] == true,
        "{story}\n{report:#}"
    );
    let steps = report["steps"].as_array().unwrap();
    for (skill, outcome) in [
        ("validate_manifests", "refused"),
        ("evaluate_policies", "refused"),
        ("plan_migration", "refused"),
        ("validate_manifests", "accepted"),
        ("apply_migration", "waits"),
        ("decide_approval", "approved"),
        ("apply_migration", "applied"),
        ("check_health", "healthy"),
        ("execute_rollback", "rolled_back"),
        ("recommend_rightsizing", "advice"),
        ("verify_audit_trail", "verified"),
        ("assess_compliance", "assessed"),
    ] {
        assert!(
            steps
                .iter()
                .any(|step| step["skill"] == skill && step["outcome"] == outcome),
            "no step {skill} {outcome}\n{story}"
        );
    }
    assert_eq!(report["audit"]["verified"], true);
    assert!(report["audit"]["records"].as_u64().unwrap() > 20);
    assert_eq!(
        report["audit"]["edges"].as_array().unwrap().len(),
        4,
        "the announcement's four edges in one trace"
    );

    let trace = report["trace_id"].as_str().unwrap();
    let agents = [
        "config-validator",
        "security-scanner",
        "db-migrator",
        "monitoring-agent",
        "rollback-coordinator",
        "cost-analyzer",
        "performance-optimizer",
        "compliance-auditor",
    ];
    let spans = receiver
        .wait_for("spans of all agents", |text| {
            agents.iter().all(|agent| text.contains(agent))
        })
        .await;
    assert!(
        spans.matches(trace).count() > 20,
        "the trace {trace} is at the receiver"
    );
}
