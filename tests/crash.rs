//! kill -9 in the middle of load: no acknowledged task or record is lost, none is stored twice.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tests::Processes;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

const SCANNER: &str = "security-scanner";
const AUDITOR: &str = "compliance-auditor";

/// Calls until stopped; what was acknowledged is written down.
fn load(
    mesh: &Processes,
    stop: CancellationToken,
    acknowledged: Arc<Mutex<Vec<String>>>,
) -> tokio::task::JoinHandle<()> {
    let (caller, target) = (mesh.operator(), mesh.target(SCANNER));
    tokio::spawn(async move {
        let client = caller.connect(&target).unwrap();
        while !stop.is_cancelled() {
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": "detect_secrets", "params": {"content": [{"name": "a", "content": "x"}]}});
            let sent = client
                .post(format!("{}/a2a", target.url))
                .json(&request)
                .timeout(Duration::from_secs(10))
                .send()
                .await;
            // While the agent is down calls fail: they were not acknowledged.
            let Ok(response) = sent else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let task = response
                .headers()
                .get("a2a-task-id")
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned);
            let answer = response.json::<Value>().await.unwrap_or_default();
            if answer.get("result").is_some() {
                acknowledged.lock().await.extend(task);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_an_agent_or_the_auditor_under_load_loses_and_doubles_nothing() {
    let mut mesh = Processes::start(&[AUDITOR, SCANNER], None).await.unwrap();
    let (stop, acknowledged) = (CancellationToken::new(), Arc::default());
    let work = [
        load(&mesh, stop.clone(), Arc::clone(&acknowledged)),
        load(&mesh, stop.clone(), Arc::clone(&acknowledged)),
    ];
    for round in 0..6_u64 {
        // Moments that differ from run to run of the loop but not from run to run of the test.
        tokio::time::sleep(Duration::from_millis(150 + (round * 97) % 200)).await;
        mesh.kill_and_restart(if round % 2 == 0 { SCANNER } else { AUDITOR })
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    for worker in work {
        worker.await.unwrap();
    }
    let acknowledged = Arc::try_unwrap(acknowledged).unwrap().into_inner();
    assert!(
        acknowledged.len() > 50,
        "only {} calls got through",
        acknowledged.len()
    );

    let outcomes = outcomes(&mesh, &acknowledged).await;
    for task in &acknowledged {
        let state = mesh
            .operator()
            .call(&mesh.target(SCANNER), "GetTask", &json!({"id": task}), None)
            .await
            .unwrap()
            .ok()
            .unwrap();
        assert_eq!(state["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
        assert_eq!(outcomes.get(task), Some(&1), "outcome records of {task}");
    }
    let verified = mesh
        .operator()
        .call(
            &mesh.target(AUDITOR),
            "verify_audit_trail",
            &json!({}),
            None,
        )
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(verified["intact"], true, "{verified}");
}

/// Outcome records a task, once the trail has all of them.
async fn outcomes(mesh: &Processes, tasks: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        counts.clear();
        let mut cursor = Value::Null;
        loop {
            let mut input = json!({"agent": SCANNER, "action": "detect_secrets", "limit": 200});
            if !cursor.is_null() {
                input["cursor"] = cursor;
            }
            let page = mesh
                .operator()
                .call(&mesh.target(AUDITOR), "query_audit_trail", &input, None)
                .await
                .unwrap()
                .ok()
                .unwrap();
            for found in page["records"].as_array().unwrap() {
                if let Some(task) = found["record"]["task_id"].as_str() {
                    *counts.entry(task.to_owned()).or_default() += 1;
                }
            }
            cursor = page.get("next_cursor").cloned().unwrap_or_default();
            if cursor.is_null() {
                break;
            }
        }
        if tasks.iter().all(|task| counts.contains_key(task)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_exits_with_zero() {
    let mut mesh = Processes::start(&[AUDITOR, SCANNER], None).await.unwrap();
    mesh.operator()
        .call(&mesh.target(SCANNER), "detect_secrets", &json!({}), None)
        .await
        .unwrap();
    assert!(mesh.terminate(SCANNER).await.unwrap().success());
    assert!(mesh.terminate(AUDITOR).await.unwrap().success());
}
