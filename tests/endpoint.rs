//! The A2A endpoint of a real agent: card, tasks, idempotency, approvals, `rpc.discover`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tests::{Mesh, call_error, post};

const AGENT: &str = "security-scanner";

/// A message under an id of its own: the same id would stand for the same task.
fn message(skill: &str, input: &Value, more: &Value) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = format!("m-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut message = json!({"messageId": id, "role": "ROLE_USER", "parts": [{"data": {"skill": skill, "input": input}}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        message[key] = value.clone();
    }
    json!({"message": message})
}

fn scan() -> Value {
    json!({"content": [{"name": "a.txt", "content": "nothing here"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_names_every_skill_of_every_agent_and_the_direct_methods_agree() {
    let mesh = Mesh::start().await.unwrap();
    for (agent, manifest) in mesh
        .ground
        .fleet
        .mesh
        .agents
        .keys()
        .map(|agent| (agent, mesh.ground.fleet.manifest(agent).unwrap()))
    {
        let client = mesh
            .caller("operator")
            .connect(&mesh.target(agent))
            .unwrap();
        let card: Value = client
            .get(format!(
                "{}/.well-known/agent-card.json",
                mesh.ground.url(agent)
            ))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let mut in_card: Vec<&str> = card["skills"]
            .as_array()
            .unwrap()
            .iter()
            .map(|skill| skill["id"].as_str().unwrap())
            .collect();
        let mut declared: Vec<&str> = manifest
            .skills
            .iter()
            .map(|skill| skill.name.as_str())
            .collect();
        in_card.sort_unstable();
        declared.sort_unstable();
        assert_eq!(in_card, declared);
        assert_eq!(card["supportedInterfaces"][0]["protocolBinding"], "JSONRPC");
        let answer = mesh
            .call(agent, "rpc.discover", &json!({}))
            .await
            .unwrap()
            .ok()
            .unwrap();
        let mut methods: Vec<&str> = answer["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| method["name"].as_str().unwrap())
            .collect();
        methods.sort_unstable();
        assert_eq!(methods, declared);
        assert!(
            answer["methods"]
                .as_array()
                .unwrap()
                .iter()
                .all(|method| method["result"]["schema"].is_object())
        );
    }
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_task_that_can_be_read_listed_and_not_cancelled_afterwards() {
    let mesh = Mesh::start().await.unwrap();
    let answer = mesh
        .call(
            AGENT,
            "SendMessage",
            &message("detect_secrets", &scan(), &json!({"contextId": "c-1"})),
        )
        .await
        .unwrap()
        .ok()
        .unwrap();
    let task = &answer["task"];
    assert_eq!(
        (task["status"]["state"].as_str(), task["contextId"].as_str()),
        (Some("TASK_STATE_COMPLETED"), Some("c-1"))
    );
    assert_eq!(
        task["artifacts"][0]["parts"][0]["data"]["findings"],
        json!([])
    );
    assert!(
        !task.to_string().contains("nothing here"),
        "an input that may hold secrets does not stay in the task"
    );
    let id = task["id"].as_str().unwrap();
    let read = mesh
        .call(AGENT, "GetTask", &json!({"id": id, "historyLength": 0}))
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!((read["id"].as_str(), read.get("history")), (Some(id), None));
    let listed = mesh
        .call(AGENT, "ListTasks", &json!({"contextId": "c-1"}))
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(
        (
            listed["totalSize"].as_u64(),
            listed["pageSize"].as_u64(),
            listed["nextPageToken"].as_str()
        ),
        (Some(1), Some(50), Some(""))
    );
    assert!(listed["tasks"][0].get("artifacts").is_none());
    assert_eq!(
        call_error(
            &mesh
                .call(AGENT, "CancelTask", &json!({"id": id}))
                .await
                .unwrap()
        )
        .0,
        -32002
    );
    let again = message("detect_secrets", &scan(), &json!({"taskId": id}));
    assert_eq!(
        call_error(&mesh.call(AGENT, "SendMessage", &again).await.unwrap()).0,
        -32004
    );
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_somebody_else_is_not_there() {
    let mesh = Mesh::start().await.unwrap();
    let answer = mesh.call(AGENT, "detect_secrets", &scan()).await.unwrap();
    let id = answer
        .task_id
        .clone()
        .expect("a direct call names its task");
    answer.ok().unwrap();
    let client = mesh.client_of("config-validator", AGENT).unwrap();
    for method in ["GetTask", "CancelTask"] {
        let (_, theirs) = post(&client, &mesh.ground.url(AGENT), method, &json!({"id": id}))
            .await
            .unwrap();
        let (_, nobodys) = post(
            &client,
            &mesh.ground.url(AGENT),
            method,
            &json!({"id": "no-such-task"}),
        )
        .await
        .unwrap();
        let without_trace = |answer: &Value| {
            (
                answer["error"]["code"].clone(),
                answer["error"]["message"].clone(),
                answer["error"]["data"][0]["reason"].clone(),
            )
        };
        assert_eq!(without_trace(&theirs), without_trace(&nobodys), "{method}");
        assert_eq!(theirs["error"]["code"], -32001);
    }
    let (_, listed) = post(&client, &mesh.ground.url(AGENT), "ListTasks", &json!({}))
        .await
        .unwrap();
    assert_eq!(listed["result"]["totalSize"], 0);
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_all_tasks_once_newest_first() {
    let mesh = Mesh::start().await.unwrap();
    for _ in 0..7 {
        mesh.call(AGENT, "detect_secrets", &scan())
            .await
            .unwrap()
            .ok()
            .unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = mesh
            .call(
                AGENT,
                "ListTasks",
                &json!({"pageSize": 3, "pageToken": token}),
            )
            .await
            .unwrap()
            .ok()
            .unwrap();
        assert_eq!(page["totalSize"], 7);
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| {
            (
                task["status"]["timestamp"].as_str().unwrap().to_owned(),
                task["id"].as_str().unwrap().to_owned(),
            )
        }));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert!(
        seen.len() == 7 && seen.windows(2).all(|pair| pair[0] > pair[1]),
        "{seen:?}"
    );
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_names_no_skill_asks_for_input_and_the_same_task_goes_on() {
    let mesh = Mesh::start().await.unwrap();
    let hello = json!({"message": {"messageId": "m-hello", "role": "ROLE_USER", "parts": [{"text": "hello"}]}});
    let asked = mesh
        .call(AGENT, "SendMessage", &hello)
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(
        asked["task"]["status"]["state"],
        "TASK_STATE_INPUT_REQUIRED"
    );
    assert!(
        asked.to_string().contains("detect_secrets"),
        "the answer lists the skills"
    );
    let id = asked["task"]["id"].as_str().unwrap();
    let wrong = message(
        "detect_secrets",
        &scan(),
        &json!({"taskId": id, "contextId": "another"}),
    );
    assert_eq!(
        call_error(&mesh.call(AGENT, "SendMessage", &wrong).await.unwrap()).0,
        -32602
    );
    let done = mesh
        .call(
            AGENT,
            "SendMessage",
            &message("detect_secrets", &scan(), &json!({"taskId": id})),
        )
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(
        (
            done["task"]["id"].as_str(),
            done["task"]["status"]["state"].as_str()
        ),
        (Some(id), Some("TASK_STATE_COMPLETED"))
    );
    let other =
        json!({"message": {"messageId": "m-hi", "role": "ROLE_USER", "parts": [{"text": "hi"}]}});
    let waiting = mesh
        .call(AGENT, "SendMessage", &other)
        .await
        .unwrap()
        .ok()
        .unwrap();
    let canceled = mesh
        .call(AGENT, "CancelTask", &json!({"id": waiting["task"]["id"]}))
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(canceled["status"]["state"], "TASK_STATE_CANCELED");
    mesh.stop().await.unwrap();
}

fn migration(key: &str, sql: &str) -> Value {
    json!({
        "database": "shop", "dry_run": false, "idempotency_key": key,
        "source": {"files": [{"name": "0001_t.up.sql", "content": sql}, {"name": "0001_t.down.sql", "content": "DROP TABLE t;"}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutating_call_waits_for_a_signed_approval_and_happens_once() {
    let mesh = Mesh::start().await.unwrap();
    let input = migration("k-1", "CREATE TABLE t (id INTEGER PRIMARY KEY);");
    let waits = mesh
        .call("db-migrator", "apply_migration", &input)
        .await
        .unwrap();
    let (code, reason, _) = call_error(&waits);
    assert_eq!((code, reason.as_str()), (-32056, "TASK_AUTH_REQUIRED"));
    let (task, digest) = (
        waits.task_id.clone().unwrap(),
        waits.metadata("plan_digest").unwrap().to_owned(),
    );
    let listed = mesh
        .call("db-migrator", "list_approvals", &json!({}))
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(listed["approvals"][0]["task_id"], task.as_str());

    let expires_at = "2099-01-01T00:00:00Z".to_owned();
    let statement = shared::approvals::Statement {
        task_id: task.clone(),
        plan_digest: digest,
        decision: shared::approvals::Decision::Approve,
        expires_at,
    };
    let sign = |key: &identity::SigningKey| {
        let mut params = json!(statement);
        params["signature"] = base64(&key.sign(&statement.bytes())).into();
        params
    };
    let stranger = sign(&identity::SigningKey::generate());
    let refused = mesh
        .call("db-migrator", "decide_approval", &stranger)
        .await
        .unwrap();
    assert_eq!(call_error(&refused).0, -32050, "a stranger's signature");
    let key =
        identity::SigningKey::load(&mesh.ground.root.join("approvers/local-approver.pem")).unwrap();
    let mut changed = sign(&key);
    changed["plan_digest"] = "0".repeat(64).into();
    assert_eq!(
        call_error(
            &mesh
                .call("db-migrator", "decide_approval", &changed)
                .await
                .unwrap()
        )
        .0,
        -32602,
        "another plan"
    );
    mesh.call("db-migrator", "decide_approval", &sign(&key))
        .await
        .unwrap()
        .ok()
        .unwrap();
    let done = until_settled(&mesh, &task).await;
    assert_eq!(done["status"]["state"], "TASK_STATE_COMPLETED", "{done}");
    assert_eq!(
        call_error(
            &mesh
                .call("db-migrator", "decide_approval", &sign(&key))
                .await
                .unwrap()
        )
        .0,
        -32001,
        "decided once"
    );

    let again = mesh
        .call("db-migrator", "apply_migration", &input)
        .await
        .unwrap();
    assert_eq!(
        again.task_id.as_deref(),
        Some(task.as_str()),
        "the same key is the same task"
    );
    again.ok().unwrap();
    let other = migration("k-1", "CREATE TABLE u (id INTEGER PRIMARY KEY);");
    let (code, _, field) = call_error(
        &mesh
            .call("db-migrator", "apply_migration", &other)
            .await
            .unwrap(),
    );
    assert_eq!(
        (code, field.as_str()),
        (-32055, "idempotency_key"),
        "another body under the same key"
    );
    mesh.stop().await.unwrap();
}

async fn until_settled(mesh: &Mesh, task: &str) -> Value {
    loop {
        let state = mesh
            .call("db-migrator", "GetTask", &json!({"id": task}))
            .await
            .unwrap()
            .ok()
            .unwrap();
        if state["artifacts"].is_array() || state["status"]["state"] == "TASK_STATE_FAILED" {
            return state;
        }
        tokio::task::yield_now().await;
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .fold(0_u32, |n, byte| n << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_call_answers_the_task_at_once() {
    let mesh = Mesh::start().await.unwrap();
    let mut input = scan();
    input["_meta"] = json!({"async": true});
    let task = mesh
        .call(AGENT, "detect_secrets", &input)
        .await
        .unwrap()
        .ok()
        .unwrap();
    let id = task["id"].as_str().expect("the bare task").to_owned();
    let mut state = Value::Null;
    while state["status"]["state"] != "TASK_STATE_COMPLETED" {
        state = mesh
            .call(AGENT, "GetTask", &json!({"id": id}))
            .await
            .unwrap()
            .ok()
            .unwrap();
    }
    mesh.stop().await.unwrap();
}
