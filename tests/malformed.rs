//! Bad input gets the documented error with the field named, and the agents stay up.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

#[path = "malformed/bodies.rs"]
mod bodies;
#[path = "malformed/envelopes.rs"]
mod envelopes;
#[path = "malformed/messages.rs"]
mod messages;
#[path = "malformed/skills.rs"]
mod skills;

use serde_json::{Value, json};
use tests::Mesh;

/// What is sent, and what has to come back.
struct Case {
    agent: &'static str,
    name: String,
    body: Vec<u8>,
    status: u16,
    code: i64,
    field: Option<&'static str>,
}

fn raw(
    agent: &'static str,
    name: &str,
    body: impl Into<Vec<u8>>,
    code: i64,
    field: Option<&'static str>,
) -> Case {
    Case {
        agent,
        name: name.into(),
        body: body.into(),
        status: 200,
        code,
        field,
    }
}

fn call(
    agent: &'static str,
    method: &str,
    params: &Value,
    code: i64,
    field: Option<&'static str>,
) -> Case {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut name = format!("{method} {params}");
    name.truncate(name.floor_char_boundary(160));
    Case {
        agent,
        name,
        body: body.into_bytes(),
        status: 200,
        code,
        field,
    }
}

const SCANNER: &str = "security-scanner";
const VALIDATOR: &str = "config-validator";
const MIGRATOR: &str = "db-migrator";
const COORDINATOR: &str = "rollback-coordinator";
const MONITOR: &str = "monitoring-agent";
const AUDITOR: &str = "compliance-auditor";
const OPTIMIZER: &str = "performance-optimizer";
const COST: &str = "cost-analyzer";

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_gets_its_documented_error_and_the_agents_stay_up() {
    let mesh = Mesh::start().await.unwrap();
    std::os::unix::fs::symlink("/etc", mesh.workspace.join("escape")).unwrap();
    std::os::unix::fs::symlink("loop", mesh.workspace.join("loop")).unwrap();
    let operator = mesh.caller("operator");
    let cases: Vec<Case> = [
        envelopes::envelopes(),
        messages::messages(),
        skills::skills(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let target = mesh.target(case.agent);
        let client = operator.connect(&target).unwrap();
        let sent = client
            .post(format!("{}/a2a", target.url))
            .header("content-type", "application/json")
            .header("a2a-version", "1.0")
            .body(case.body)
            .send()
            .await
            .unwrap();
        let status = sent.status().as_u16();
        let answer: Value = sent.json().await.unwrap();
        let info = &answer["error"]["data"][0];
        let field = case
            .field
            .is_none_or(|field| info["metadata"]["field"] == field);
        let structured = info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
            && info["reason"].is_string();
        if (status, answer["error"]["code"].as_i64()) != (case.status, Some(case.code))
            || !field
            || !structured
        {
            wrong.push(format!(
                "{} {}: wanted {} {} {:?}, got {status} {answer}",
                case.agent, case.name, case.status, case.code, case.field
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for agent in mesh.ground.fleet.mesh.agents.keys() {
        mesh.call(agent, "rpc.discover", &json!({}))
            .await
            .unwrap()
            .ok()
            .unwrap();
    }
    mesh.stop().await.unwrap();
}
