//! Default deny: of all ordered pairs of agents and all skills, exactly the declared ones answer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::time::Duration;

use manifest::Caller;
use serde_json::{Value, json};
use tests::{Mesh, post};

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_declared_edges_answer_and_all_others_are_refused_and_audited() {
    let mesh = Mesh::start().await.unwrap();
    let fleet = &mesh.ground.fleet;
    let (mut pairs, mut open, mut refused) = (0, 0, 0);
    for caller in fleet.mesh.agents.keys() {
        for callee in fleet.mesh.agents.keys().filter(|callee| *callee != caller) {
            pairs += 1;
            open += usize::from(fleet.edges().connects(&Caller::agent(caller), callee));
            let client = mesh.client_of(caller, callee).unwrap();
            for skill in &fleet.manifest(callee).unwrap().skills {
                let declared = fleet
                    .edges()
                    .allows(&Caller::agent(caller), callee, &skill.name);
                // A parameter that no skill has: a call that gets through the edge is refused for that.
                let (status, answer) = post(
                    &client,
                    &mesh.ground.url(callee),
                    &skill.name,
                    &json!({"no_such_field": 1}),
                )
                .await
                .unwrap();
                let code = answer.pointer("/error/code").and_then(Value::as_i64);
                let expected = if declared {
                    (200, Some(-32602))
                } else {
                    (403, Some(-32050))
                };
                assert_eq!(
                    (status, code),
                    expected,
                    "{caller} -> {callee}/{}: {answer}",
                    skill.name
                );
                refused += usize::from(!declared);
            }
        }
    }
    // How many they are to be stands in `shared/manifest/tests/ours.rs`.
    assert!(0 < open && open < pairs, "{open} of {pairs}");
    let recorded = denied(&mesh, refused).await;
    assert_eq!(recorded, refused, "every refusal is in the audit trail");
    mesh.stop().await.unwrap();
}

/// Denied records in the trail, once they are as many as expected or do not grow any more.
async fn denied(mesh: &Mesh, expected: usize) -> usize {
    let mut count = 0;
    for _ in 0..100 {
        count = 0;
        let mut cursor = Value::Null;
        loop {
            let mut input = json!({"decision": "denied", "limit": 200});
            if !cursor.is_null() {
                input["cursor"] = cursor;
            }
            let page = mesh
                .call("compliance-auditor", "query_audit_trail", &input)
                .await
                .unwrap()
                .ok()
                .unwrap();
            count += page["records"].as_array().unwrap().len();
            cursor = page.get("next_cursor").cloned().unwrap_or_default();
            if cursor.is_null() {
                break;
            }
        }
        if count >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn external_callers_get_what_mesh_yaml_grants_and_strangers_get_nothing() {
    let mesh = Mesh::start().await.unwrap();
    let fleet = &mesh.ground.fleet;
    for caller in fleet.mesh.callers.keys() {
        for callee in fleet.mesh.agents.keys() {
            for skill in &fleet.manifest(callee).unwrap().skills {
                let granted = fleet
                    .edges()
                    .allows(&Caller::external(caller), callee, &skill.name);
                let answer = mesh
                    .caller(caller)
                    .call(
                        &mesh.target(callee),
                        &skill.name,
                        &json!({"no_such_field": 1}),
                        None,
                    )
                    .await
                    .unwrap();
                let code = answer.result.unwrap_err()["code"].as_i64();
                assert_eq!(
                    code,
                    Some(if granted { -32602 } else { -32050 }),
                    "{caller} -> {callee}/{}",
                    skill.name
                );
            }
        }
    }
    let stranger = identity::SpiffeId::external(&fleet.mesh.trust_domain, "stranger").unwrap();
    let client = mesh.client_as(&stranger, "security-scanner").unwrap();
    let (status, answer) = post(
        &client,
        &mesh.ground.url("security-scanner"),
        "detect_secrets",
        &json!({}),
    )
    .await
    .unwrap();
    assert_eq!(
        (status, answer["error"]["data"][0]["reason"].as_str()),
        (401, Some("UNAUTHENTICATED"))
    );
    mesh.stop().await.unwrap();
}
