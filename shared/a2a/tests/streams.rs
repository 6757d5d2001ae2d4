//! Streams of the client, against an agent that answers from a script.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod support;

use std::time::Duration;

use a2a::{
    client::{CallError, CallOptions, Client, ClientOptions, Event, Events},
    types::{StreamResponse, TaskIdRequest, TaskState},
};
use futures::StreamExt;
use serde_json::{Value, json};
use support::{Agent, Answer, message, task, update};
use tokio::time::Instant;

async fn stream(client: &Client) -> Events {
    let call = CallOptions::default();
    client
        .send_streaming_message(&message("hello"), &call)
        .await
        .unwrap()
}

async fn all(agent: &Agent) -> Vec<Result<Event, CallError>> {
    stream(&agent.client().await).await.collect().await
}

fn ids(events: &[Result<Event, CallError>]) -> Vec<Option<&str>> {
    events
        .iter()
        .map(|event| event.as_ref().unwrap().0.as_deref())
        .collect()
}

fn chunk(text: &str) -> Value {
    json!({"artifactUpdate": {"taskId": "t-1", "contextId": "c-1", "append": true, "metadata": {"n": 1},
        "artifact": {"artifactId": "a", "parts": [{"text": text}]}}})
}

fn first() -> Value {
    json!({"task": task("WORKING")})
}

fn no_idempotency(card: &mut Value) {
    card["capabilities"]["extensions"] = json!([]);
}

#[tokio::test]
async fn yields_all_kinds_of_events_until_the_task_ends() {
    let agent = Agent::start(
        |_| (),
        vec![Answer::Events(vec![
            ("1", first()),
            ("2", chunk("x")),
            ("", json!({"invented": {}})),
            ("", update("WORKING")),
            ("4", update("COMPLETED")),
        ])],
    )
    .await;
    let events = all(&agent).await;
    assert_eq!(ids(&events), [Some("1"), Some("2"), None, Some("4")]);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| match &event.as_ref().unwrap().1 {
            StreamResponse::Task(_) => "task",
            StreamResponse::Message(_) => "message",
            StreamResponse::StatusUpdate(_) => "status",
            StreamResponse::ArtifactUpdate(update) => {
                assert!(update.append && update.metadata.is_some());
                "artifact"
            }
        })
        .collect();
    assert_eq!(kinds, ["task", "artifact", "status", "status"]);
    let request = &agent.received()[0];
    assert_eq!(request.method(), "SendStreamingMessage");
    assert_eq!(request.body["params"]["tenant"], "blue");
    assert_eq!(
        request.header("accept"),
        Some("text/event-stream, application/json")
    );
    assert_eq!(request.header("last-event-id"), None);
}

#[tokio::test]
async fn ends_with_a_message() {
    let message = json!({"message": {"messageId": "a", "role": "ROLE_AGENT", "parts": [{"text": "hi"}], "later": 1}, "later": 2});
    let agent = Agent::start(|_| (), vec![Answer::Events(vec![("", message)])]).await;
    let events = all(&agent).await;
    assert!(matches!(
        &events[..],
        [Ok((None, StreamResponse::Message(_)))]
    ));
}

#[tokio::test]
async fn takes_a_plain_answer() {
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Result(first()),
            Answer::Error(json!({"code": -32004, "message": "no"})),
        ],
    )
    .await;
    let client = agent.client().await;
    let events: Vec<_> = stream(&client).await.collect().await;
    assert!(matches!(&events[..], [Ok((None, StreamResponse::Task(_)))]));
    let refused = client
        .send_streaming_message(&message("x"), &CallOptions::default())
        .await;
    assert_eq!(refused.err().unwrap().code(), Some(-32004));
}

#[tokio::test]
async fn resumes_after_the_last_event_without_doubles() {
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Broken(vec![("1", first()), ("2", chunk("x"))]),
            Answer::Broken(vec![("2", chunk("x")), ("3", chunk("y"))]),
            // An agent that closes the stream in order before the task ended has lost it too.
            Answer::Events(vec![("4", chunk("z"))]),
            Answer::Events(vec![("3", chunk("y")), ("5", update("COMPLETED"))]),
        ],
    )
    .await;
    let events = all(&agent).await;
    assert_eq!(
        ids(&events),
        [Some("1"), Some("2"), Some("3"), Some("4"), Some("5")]
    );
    assert_eq!(
        agent.methods(),
        [
            "SendStreamingMessage",
            "SubscribeToTask",
            "SubscribeToTask",
            "SubscribeToTask"
        ]
    );
    let asked: Vec<_> = agent
        .received()
        .iter()
        .map(|it| it.header("last-event-id").map(str::to_owned))
        .collect();
    assert_eq!(
        asked,
        [None, Some("2".into()), Some("3".into()), Some("4".into())]
    );
    let params = &agent.received()[1].body["params"];
    assert_eq!(params, &json!({"id": "t-1", "tenant": "blue"}));
}

#[tokio::test]
async fn resumes_without_event_ids() {
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Broken(vec![("", first())]),
            Answer::Events(vec![("", first()), ("", update("FAILED"))]),
        ],
    )
    .await;
    let events = all(&agent).await;
    assert_eq!(ids(&events), [None, None, None]);
    assert_eq!(agent.received()[1].header("last-event-id"), None);
}

#[tokio::test]
async fn fetches_the_last_state_of_a_task_that_ended_meanwhile() {
    for code in [-32001, -32004] {
        let agent = Agent::start(
            |_| (),
            vec![
                Answer::Broken(vec![("1", first())]),
                Answer::Error(json!({"code": code, "message": "over"})),
                Answer::Result(task("COMPLETED")),
            ],
        )
        .await;
        let events = all(&agent).await;
        let [Ok(_), Ok((None, StreamResponse::Task(task)))] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(task.status.state, TaskState::Completed);
        assert_eq!(
            agent.methods(),
            ["SendStreamingMessage", "SubscribeToTask", "GetTask"]
        );
    }
}

#[tokio::test]
async fn comes_back_to_an_agent_that_restarts() {
    let draining = || Answer::Error(json!({"code": -32052, "message": "draining"}));
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Events(vec![
                ("1", first()),
                (
                    "2",
                    json!({"error": {"code": -32052, "message": "draining"}}),
                ),
            ]),
            draining(),
            Answer::Http(502, vec![], String::new()),
            Answer::Events(vec![("2", update("COMPLETED"))]),
        ],
    )
    .await;
    assert_eq!(ids(&all(&agent).await), [Some("1"), Some("2")]);
    assert_eq!(agent.received().len(), 4);
}

#[tokio::test]
async fn gives_up_after_too_many_connections_without_news() {
    let again = || Answer::Broken(vec![("", first())]);
    let agent = Agent::start(|_| (), vec![again(), again(), again(), again(), again()]).await;
    let events = all(&agent).await;
    assert!(
        matches!(events.last(), Some(Err(CallError::Lost { .. }))),
        "{events:?}"
    );
    assert_eq!(agent.received().len(), 4);
}

#[tokio::test]
async fn sends_the_message_again_only_when_the_agent_recognises_it() {
    let script = || {
        vec![
            Answer::Broken(vec![]),
            Answer::Events(vec![("1", json!({"task": task("COMPLETED")}))]),
        ]
    };
    let agent = Agent::start(|_| (), script()).await;
    assert_eq!(ids(&all(&agent).await), [Some("1")]);
    assert_eq!(
        agent.methods(),
        ["SendStreamingMessage", "SendStreamingMessage"]
    );
    assert_eq!(
        agent.received()[0].body["params"],
        agent.received()[1].body["params"]
    );

    let agent = Agent::start(no_idempotency, script()).await;
    let events = all(&agent).await;
    assert!(
        matches!(&events[..], [Err(CallError::Lost { .. })]),
        "{events:?}"
    );
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test]
async fn ends_when_the_task_waits_and_the_agent_closes() {
    let agent = Agent::start(
        |_| (),
        vec![Answer::Events(vec![
            ("1", first()),
            ("2", update("INPUT_REQUIRED")),
        ])],
    )
    .await;
    assert_eq!(ids(&all(&agent).await), [Some("1"), Some("2")]);
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test]
async fn takes_silence_for_a_lost_connection() {
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::SilentStream,
            Answer::Events(vec![("1", json!({"task": task("COMPLETED")}))]),
        ],
    )
    .await;
    let options = ClientOptions {
        stream_silence: Duration::from_secs(1),
        ..ClientOptions::default()
    };
    let events: Vec<_> = stream(&agent.client_with(options).await)
        .await
        .collect()
        .await;
    assert_eq!(ids(&events), [Some("1")]);
}

#[tokio::test]
async fn stops_at_the_deadline() {
    let agent = Agent::start(|_| (), vec![Answer::SilentStream]).await;
    let call = CallOptions {
        deadline: Some(Instant::now() + Duration::from_millis(200)),
        ..CallOptions::default()
    };
    let client = agent.client().await;
    let request = TaskIdRequest { id: "t-1".into() };
    let events: Vec<_> = client
        .subscribe_to_task(&request, &call)
        .await
        .unwrap()
        .collect()
        .await;
    assert!(
        matches!(&events[..], [Err(CallError::Deadline { .. })]),
        "{events:?}"
    );
    assert_eq!(agent.methods(), ["SubscribeToTask"]);
}

#[tokio::test]
async fn refuses_an_event_that_is_too_large() {
    let endless: Vec<String> = std::iter::once("data: ".to_owned())
        .chain(std::iter::repeat_n("x".repeat(400), 100))
        .collect();
    let agent = Agent::start(|_| (), vec![Answer::Raw(endless)]).await;
    let options = ClientOptions {
        max_event: 2000,
        ..ClientOptions::default()
    };
    let events: Vec<_> = stream(&agent.client_with(options).await)
        .await
        .collect()
        .await;
    assert!(
        matches!(
            &events[..],
            [Err(CallError::EventTooLarge { limit: 2000, .. })]
        ),
        "{events:?}"
    );
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test]
async fn refuses_events_that_break_the_protocol() {
    let foreign = json!({"jsonrpc": "2.0", "id": 999, "result": first()});
    for data in [
        "{",
        "{}",
        "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {\"task\": {}}}",
        &foreign.to_string(),
    ] {
        let agent =
            Agent::start(|_| (), vec![Answer::Raw(vec![format!("data: {data}\n\n")])]).await;
        let events = all(&agent).await;
        assert!(
            matches!(&events[..], [Err(CallError::Malformed { .. })]),
            "{data}: {events:?}"
        );
    }
    let agent = Agent::start(
        |_| (),
        vec![Answer::Raw(vec![format!(
            "id: {}\ndata: 1\n\n",
            "x".repeat(300)
        )])],
    )
    .await;
    assert!(matches!(
        &all(&agent).await[..],
        [Err(CallError::Malformed { .. })]
    ));
}
