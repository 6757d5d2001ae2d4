//! What push notifications promise: a small agent in this process, over its real listeners, and webhooks on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

mod probe;
mod webhook;

use std::{fs, time::Duration};

use probe::{
    Ground,
    agent::{Agent, Caller},
};
use serde_json::{Value, json};
use store::testing::TemporaryPostgres;
use tokio_util::sync::CancellationToken;
use webhook::Webhook;

const LOOPBACK: &str = "--push-allow-loopback";
const CREATE: &str = "CreateTaskPushNotificationConfig";
const GET: &str = "GetTaskPushNotificationConfig";
const LIST: &str = "ListTaskPushNotificationConfigs";
const DELETE: &str = "DeleteTaskPushNotificationConfig";
const SECRETS: [&str; 3] = ["token-9f3b", "credentials-41c7", "key-in-the-url-8e2d"];

/// A webhook's configuration with secrets in all places.
fn config(webhook: &Webhook) -> Value {
    json!({
        "url": format!("{}?key={}", webhook.url, SECRETS[2]),
        "token": SECRETS[0],
        "authentication": {"scheme": "Bearer", "credentials": SECRETS[1]},
    })
}

fn with(mut params: Value, further: &Value) -> Value {
    let further = further.as_object().unwrap().clone();
    params.as_object_mut().unwrap().extend(further);
    params
}

/// A message that asks for a skill and configures a webhook.
fn message(id: &str, (skill, input): (&str, Value), config: &Value) -> Value {
    let data = json!({"skill": skill, "input": input});
    json!({
        "message": {"messageId": id, "role": "ROLE_USER", "parts": [{"data": data}]},
        "configuration": {"returnImmediately": true, "taskPushNotificationConfig": config},
    })
}

async fn send(caller: &Caller, params: Value) -> String {
    let sent = caller.call("SendMessage", params).await;
    let task = sent.body.pointer("/result/task/id");
    task.unwrap_or_else(|| panic!("{}", sent.body))
        .as_str()
        .unwrap()
        .to_owned()
}

/// Configures a webhook for a task; answers its id.
async fn create(caller: &Caller, task: &str, config: &Value) -> String {
    let params = with(json!({"taskId": task}), config);
    let created = caller.call(CREATE, params).await;
    let id = created.body.pointer("/result/id");
    id.unwrap_or_else(|| panic!("{}", created.body))
        .as_str()
        .unwrap()
        .to_owned()
}

async fn ids(caller: &Caller, params: Value) -> (Vec<String>, String) {
    let listed = caller.call(LIST, params).await.body["result"].clone();
    let ids = listed["configs"].as_array().unwrap().iter();
    let ids = ids.map(|config| config["id"].as_str().unwrap().to_owned());
    let next = listed["nextPageToken"].as_str().unwrap();
    (ids.collect(), next.to_owned())
}

#[tokio::test]
async fn a_webhook_that_comes_with_a_message_gets_all_that_follows() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let webhook = Webhook::start([]).await;
    let params = message("m1", ("echo", json!({"text": "hello"})), &config(&webhook));
    let task = send(&agent.caller, params).await;
    let received = webhook.gets(2).await;
    assert_eq!(webhook.numbers(), [2, 3]);
    let update = &received[0].body["artifactUpdate"];
    assert_eq!(update["taskId"], json!(task));
    assert_eq!(update["artifact"]["parts"][0]["data"]["text"], "hello");
    assert_eq!(received[1].state(), Some("TASK_STATE_COMPLETED"));
    for one in &received {
        assert_eq!(one.path, format!("/hook?key={}", SECRETS[2]));
        for (name, expected) in [
            ("content-type", "application/a2a+json"),
            ("authorization", "Bearer credentials-41c7"),
            ("x-a2a-notification-token", SECRETS[0]),
        ] {
            assert_eq!(one.header(name), Some(expected));
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn progress_is_pushed_while_the_task_runs() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let webhook = Webhook::start([]).await;
    let task = agent.caller.detached("steps", json!({"steps": 2})).await;
    agent.probe.has_started().await;
    create(&agent.caller, &task, &config(&webhook)).await;
    agent.probe.gate.add_permits(1);
    let first = webhook.gets(1).await;
    assert_eq!(agent.caller.state(&task).await, "TASK_STATE_WORKING");
    assert_eq!(first[0].state(), Some("TASK_STATE_WORKING"));
    agent.probe.gate.add_permits(1);
    agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    ends(&webhook, "TASK_STATE_COMPLETED").await;
    let numbers = webhook.numbers();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "in order, each once");
    let scraped = reqwest::get(format!("http://{}/metrics", agent.addresses.metrics)).await;
    let text = scraped.unwrap().text().await.unwrap();
    let line = "agent_push_deliveries_total{outcome=\"ok\"}";
    assert!(text.contains(line), "{text}");
    agent.stop().await;
}

/// Waits until the last of what a webhook got is this state.
async fn ends(webhook: &Webhook, state: &str) {
    let mut count = 1;
    loop {
        let received = webhook.gets(count).await;
        if received.last().unwrap().state() == Some(state) {
            return;
        }
        count = received.len() + 1;
    }
}

#[tokio::test]
async fn configurations_are_made_shown_listed_and_deleted() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let caller = &agent.caller;
    let webhook = Webhook::start([]).await;
    let task = caller.detached("slow", json!({})).await;
    let params = with(json!({"taskId": task, "id": "b"}), &config(&webhook));
    let created = caller.call(CREATE, params.clone()).await;
    let mut shown = params.clone();
    shown["token"] = json!("***");
    shown["authentication"]["credentials"] = json!("***");
    assert_eq!(created.body["result"], shown, "{}", created.body);
    let named = json!({"taskId": task, "id": "b"});
    let got = caller.call(GET, named.clone()).await;
    assert_eq!(got.body["result"], shown);
    // The same id once more is the same configuration; no id is another one.
    create(caller, &task, &params).await;
    let other = create(caller, &task, &config(&webhook)).await;
    let (all, next) = ids(caller, json!({"taskId": task})).await;
    assert_eq!((all.len(), next.as_str()), (2, ""));
    assert!(all.contains(&other) && all.contains(&"b".to_owned()));
    let (first, next) = ids(caller, json!({"taskId": task, "pageSize": 1})).await;
    let (second, end) = ids(
        caller,
        json!({"taskId": task, "pageSize": 1, "pageToken": next}),
    )
    .await;
    assert_eq!(([first, second].concat(), end.as_str()), (all, ""));
    for _ in 0..2 {
        let deleted = caller.call(DELETE, named.clone()).await;
        assert_eq!(
            deleted.body.get("result"),
            Some(&Value::Null),
            "{}",
            deleted.body
        );
    }
    let got = caller.call(GET, named).await;
    assert_eq!(got.code(), Some(-32001), "{}", got.body);
    agent.probe.gate.add_permits(1);
    ends(&webhook, "TASK_STATE_COMPLETED").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_task_that_has_ended_takes_a_webhook_and_tells_it_nothing() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let webhook = Webhook::start([]).await;
    let ended = agent.caller.echo().await.task.unwrap();
    let id = create(&agent.caller, &ended, &config(&webhook)).await;
    let (listed, _) = ids(&agent.caller, json!({"taskId": ended})).await;
    assert_eq!(listed, [id]);
    // What a later task tells arrives, and nothing before it.
    let params = message("m1", ("echo", json!({"text": "x"})), &config(&webhook));
    let later = send(&agent.caller, params).await;
    let received = webhook.gets(2).await;
    assert_eq!(received[0].body["artifactUpdate"]["taskId"], json!(later));
    agent.stop().await;
}

#[tokio::test]
async fn bad_configurations_are_refused_by_field_and_too_many_as_well() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let caller = &agent.caller;
    let task = caller.detached("slow", json!({})).await;
    let fine = json!({"taskId": task, "url": "https://example.com/hook"});
    let scheme =
        |credentials| json!({"authentication": {"scheme": "Bearer", "credentials": credentials}});
    for (wrong, field) in [
        (json!({"url": "http://127.0.0.1:1/hook"}), "url"),
        (json!({"url": "http://example.com/hook"}), "url"),
        (json!({"url": "https://169.254.169.254/latest"}), "url"),
        (json!({"url": "https://user:password@example.com/"}), "url"),
        (json!({"token": "a\r\nHost: evil"}), "token"),
        (json!({"id": "a".repeat(257)}), "id"),
        (scheme("a\nb"), "authentication.credentials"),
    ] {
        let answer = caller.call(CREATE, with(fine.clone(), &wrong)).await;
        assert_eq!(answer.code(), Some(-32602), "{}", answer.body);
        assert_eq!(answer.metadata("field"), Some(field), "{}", answer.body);
        assert!(!answer.body.to_string().contains("password"));
        // The same with a message, which then starts nothing.
        let wrong = with(fine.clone(), &wrong);
        let sent = message("m1", ("echo", json!({"text": "x"})), &wrong);
        let answer = caller.call("SendMessage", sent).await;
        assert_eq!(answer.metadata("field"), Some(field), "{}", answer.body);
    }
    for _ in 0..10 {
        create(caller, &task, &fine).await;
    }
    let answer = caller.call(CREATE, fine.clone()).await;
    assert_eq!(answer.code(), Some(-32602), "{}", answer.body);
    assert_eq!(answer.metadata("field"), Some("taskId"));
    let listed = caller.call("ListTasks", json!({})).await;
    assert_eq!(listed.body["result"]["totalSize"], 1, "{}", listed.body);
    agent.probe.gate.add_permits(1);
    agent.stop().await;
}

#[tokio::test]
async fn somebody_elses_configurations_are_not_there() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let webhook = Webhook::start([]).await;
    let task = agent.caller.detached("slow", json!({})).await;
    let id = create(&agent.caller, &task, &config(&webhook)).await;
    let guest = agent.caller_named(&ground, "guest");
    let missing = "0198d9a2-0000-7000-8000-000000000000";
    let requests = |task: &str| {
        [
            (CREATE, with(json!({"taskId": task}), &config(&webhook))),
            (GET, json!({"taskId": task, "id": id})),
            (LIST, json!({"taskId": task})),
            (DELETE, json!({"taskId": task, "id": id})),
        ]
    };
    for ((method, theirs), (_, nobodys)) in requests(&task).into_iter().zip(requests(missing)) {
        let theirs = guest.call(method, theirs).await;
        let nobodys = guest.call(method, nobodys).await;
        assert_eq!(theirs.code(), Some(-32001), "{method}: {}", theirs.body);
        assert_eq!(theirs.anonymous(), nobodys.anonymous(), "{method}");
    }
    let (listed, _) = ids(&agent.caller, json!({"taskId": task})).await;
    assert_eq!(listed, [id]);
    agent.probe.gate.add_permits(1);
    ends(&webhook, "TASK_STATE_COMPLETED").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_restarted_agent_delivers_what_was_left_and_keeps_secrets_sealed() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let mut webhook = Webhook::start([]).await;
    // The webhook is down when its task ends, and until the agent is started again.
    webhook.closes().await;
    let params = message("m1", ("echo", json!({"text": "hello"})), &config(&webhook));
    let task = send(&agent.caller, params).await;
    agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    agent.stop().await;
    let files = fs::read_dir(ground.path("")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let kept: Vec<u8> = paths
        .filter(|path| path.is_file())
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let holds = |text: &str| {
        let mut windows = kept.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    };
    assert!(holds("push_configs") && holds(&task));
    for secret in SECRETS {
        assert!(!holds(secret), "{secret}");
    }
    let address = webhook
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/hook");
    let webhook = Webhook::start_on(address.parse().unwrap(), []).await;
    let agent = Agent::start(&ground, &[LOOPBACK]).await;
    let received = webhook.gets(2).await;
    assert_eq!(webhook.numbers(), [2, 3]);
    assert_eq!(
        received[1].header("authorization"),
        Some("Bearer credentials-41c7")
    );
    agent.stop().await;
}

/// An agent on this store.
async fn start_on(ground: &Ground, store: &str) -> Agent {
    let probe = ground.probe();
    let mut cli = ground.cli(&probe, &[LOOPBACK]);
    store.clone_into(&mut cli.shared.store);
    let bound = shared::bind(cli).await.unwrap();
    let addresses = bound.addresses();
    let shutdown = CancellationToken::new();
    Agent {
        addresses,
        probe,
        serving: tokio::spawn(bound.serve(shutdown.clone())),
        shutdown,
        caller: Caller {
            client: ground.client("operator"),
            url: format!("https://{}/a2a", addresses.a2a),
        },
    }
}

#[tokio::test]
async fn replicas_on_one_database_deliver_each_event_once_and_stand_in_for_each_other() {
    let (ground, server) = (Ground::new(), TemporaryPostgres::start().unwrap());
    let url = server.url("postgres");
    let one = start_on(&ground, &url).await;
    let two = start_on(&ground, &url).await;
    let webhook = Webhook::start([]).await;
    let task = one.caller.detached("steps", json!({"steps": 2})).await;
    one.probe.has_started().await;
    // Configured at the replica that does not run it, before anything happened.
    create(&two.caller, &task, &config(&webhook)).await;
    one.probe.gate.add_permits(2);
    ends(&webhook, "TASK_STATE_COMPLETED").await;
    let numbers = webhook.numbers();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "in order, each once");
    // The replica that owes a webhook its event goes away; the other one delivers.
    let mut down = Webhook::start([]).await;
    down.closes().await;
    let params = message("m1", ("echo", json!({"text": "hello"})), &config(&down));
    let task = send(&one.caller, params).await;
    one.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    one.serving.abort();
    let address = down
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/hook");
    let up = Webhook::start_on(address.parse().unwrap(), []).await;
    tokio::time::timeout(Duration::from_mins(1), up.gets(2))
        .await
        .unwrap();
    assert!(up.numbers().starts_with(&[2]) && up.numbers().ends_with(&[3]));
    two.stop().await;
}
