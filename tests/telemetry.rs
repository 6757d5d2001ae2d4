//! Metrics that Prometheus's own linter accepts, and traces that a real OTLP receiver gets.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::{io::Write as _, process::Stdio, time::Duration};

use serde_json::{Value, json};
use shared::telemetry::{LogFormat, Traces};
use tests::{Mesh, Processes, otlp::Receiver, tools::program};

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_metrics_of_every_agent() {
    let mesh = Mesh::start().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (agent, ports) in &mesh.ground.ports {
        mesh.call(agent, "rpc.discover", &json!({})).await.unwrap();
        if let Some(skill) = mesh.ground.fleet.manifest(agent).unwrap().skills.first() {
            // Whatever it answers, it is a run or a refusal and shows in the metrics.
            mesh.call(agent, &skill.name, &json!({})).await.unwrap();
        }
        let text = client
            .get(format!("http://127.0.0.1:{}/metrics", ports.metrics))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            text.contains("agent_mesh_requests_total"),
            "{agent}: {text}"
        );
        let mut lint = std::process::Command::new(program("promtool"))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        lint.stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = lint.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.success() && said.trim().is_empty(),
            "{agent}: {said}"
        );
        let manifest = client
            .get(format!("http://127.0.0.1:{}/manifest", ports.metrics))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(manifest.contains(&format!("name: {agent}")));
        for (path, wanted) in [("livez", 200), ("readyz", 200)] {
            assert_eq!(
                client
                    .get(format!("http://127.0.0.1:{}/{path}", ports.health))
                    .send()
                    .await
                    .unwrap()
                    .status(),
                wanted
            );
        }
    }
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_is_one_trace_across_agents_at_a_real_receiver() {
    let receiver = Receiver::start().await;
    let mut mesh = Processes::start(
        &["compliance-auditor", "security-scanner", "config-validator"],
        Some(receiver.endpoint.clone()),
    )
    .await
    .unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let input = json!({"files": [{"path": "a.yaml", "content": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"}]});
    mesh.operator()
        .call(
            &mesh.target("config-validator"),
            "validate_manifests",
            &input,
            Some(&parent),
        )
        .await
        .unwrap()
        .ok()
        .unwrap();
    let log = mesh.log("config-validator");
    for agent in ["config-validator", "security-scanner", "compliance-auditor"] {
        mesh.terminate(agent).await.unwrap();
    }
    let spans = receiver
        .wait_for("spans of both agents", |text| {
            text.contains("config-validator") && text.contains("security-scanner")
        })
        .await;
    let of_trace = spans.to_lowercase().matches(trace).count();
    assert!(
        of_trace >= 5,
        "server, tool and client spans of both agents carry the caller's trace id, found {of_trace}"
    );
    for name in [
        "validate_manifests",
        "detect_secrets",
        "invoke_agent security-scanner",
        "execute_tool",
        "00f067aa0ba902b7",
    ] {
        assert!(
            spans.to_lowercase().contains(name),
            "no {name} in the spans"
        );
    }
    let line = log
        .lines()
        .find(|line| line.contains("task settled"))
        .expect("one line a task");
    let line: Value = serde_json::from_str(line).expect("log lines are JSON");
    assert!(
        line.to_string().contains(trace),
        "log lines carry the trace id: {line}"
    );
}

/// Traps that look like success: an exporter that shares the agent's only worker and deadlocks, and one
/// whose thread dies after some seconds. A one-worker runtime exports now, and again after six seconds.
#[test]
fn the_exporter_survives_a_one_worker_runtime_and_the_first_seconds() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let receiver = runtime.block_on(Receiver::start());
    let traces = Traces::new("trap", "test", Some(&receiver.endpoint), 1.0).unwrap();
    shared::telemetry::install(LogFormat::Text, &"warn".parse().unwrap(), &traces);
    runtime.block_on(async {
        tracing_span("early-span");
        receiver
            .wait_for("the early span", |text| text.contains("early-span"))
            .await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        tracing_span("late-span");
        receiver
            .wait_for("the late span", |text| text.contains("late-span"))
            .await;
    });
    traces.shutdown();
}

fn tracing_span(name: &'static str) {
    shared::telemetry::traces::mark(name);
}
