//! When the client tries again, when it gives up, and when it leaves an agent alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod support;

use std::time::Duration;

use a2a::{
    client::{CallError, CallOptions, OPEN_FOR},
    types::{CancelTaskRequest, GetTaskRequest},
};
use serde_json::{Value, json};
use support::{Agent, Answer, send, task};
use tokio::time::Instant;

fn options() -> CallOptions {
    CallOptions::default()
}

fn get() -> GetTaskRequest {
    GetTaskRequest {
        id: "t-1".into(),
        history_length: Some(3),
    }
}

fn no_idempotency(card: &mut Value) {
    card["capabilities"]["extensions"] = json!([]);
}

#[tokio::test]
async fn tries_again_when_the_agent_did_nothing() {
    let overloaded = || Answer::Error(json!({"code": -32052, "message": "draining"}));
    let busy = |status| Answer::Http(status, vec![("retry-after", "0".into())], String::new());
    let good = Answer::Result(json!({"task": task("WORKING")}));
    let agent = Agent::start(
        no_idempotency,
        vec![overloaded(), busy(503), busy(429), good],
    )
    .await;
    send(&agent.client().await).await.unwrap();
    assert_eq!(agent.received().len(), 4);
}

#[tokio::test]
async fn gives_up_when_the_deadline_is_near() {
    let busy = Answer::Http(429, vec![("retry-after", "1000".into())], String::new());
    let agent = Agent::start(|_| (), vec![busy]).await;
    let client = agent.client().await;
    let call = CallOptions {
        deadline: Some(Instant::now() + Duration::from_mins(15)),
        ..options()
    };
    let error = client.get_task(&get(), &call).await.unwrap_err();
    assert_eq!(
        error.http().unwrap().retry_after,
        Some(Duration::from_secs(1000))
    );
}

#[tokio::test]
async fn stops_waiting_at_the_deadline() {
    let agent = Agent::start(|_| (), vec![Answer::Silence]).await;
    let client = agent.client().await;
    let deadline = Instant::now() + Duration::from_secs(1);
    let call = CallOptions {
        deadline: Some(deadline),
        ..options()
    };
    let error = client.get_task(&get(), &call).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error}");
    assert!(Instant::now() >= deadline);
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test]
async fn repeats_after_a_lost_answer_only_where_that_is_safe() {
    let script = || {
        vec![
            Answer::Lost,
            Answer::Result(json!({"task": task("WORKING")})),
        ]
    };
    let agent = Agent::start(no_idempotency, script()).await;
    assert!(matches!(
        send(&agent.client().await).await,
        Err(CallError::Exchange { .. })
    ));
    assert_eq!(agent.received().len(), 1);

    let agent = Agent::start(|_| (), script()).await;
    send(&agent.client().await).await.unwrap();
    let sent: Vec<_> = agent
        .received()
        .iter()
        .map(|it| it.body["params"]["message"]["messageId"].clone())
        .collect();
    assert_eq!(sent, ["m-1", "m-1"]);

    let agent = Agent::start(
        no_idempotency,
        vec![Answer::Lost, Answer::Result(task("WORKING"))],
    )
    .await;
    agent
        .client()
        .await
        .get_task(&get(), &options())
        .await
        .unwrap();

    let agent = Agent::start(
        no_idempotency,
        vec![Answer::Lost, Answer::Result(task("CANCELED"))],
    )
    .await;
    let request = CancelTaskRequest {
        id: "t-1".into(),
        metadata: None,
    };
    agent
        .client()
        .await
        .cancel_task(&request, &options())
        .await
        .unwrap();

    for (repeatable, requests) in [(false, 1), (true, 2)] {
        let agent = Agent::start(|_| (), vec![Answer::Lost, Answer::Result(json!(1))]).await;
        let call = CallOptions {
            repeatable,
            ..options()
        };
        let answer = agent
            .client()
            .await
            .call::<u32>("detect_secrets", &json!({}), &call)
            .await;
        assert_eq!(answer.is_ok(), repeatable);
        assert_eq!(agent.received().len(), requests);
    }
}

#[tokio::test]
async fn leaves_a_failing_agent_alone_for_a_while() {
    let failures = vec![Answer::Http(500, vec![], String::new()); 5];
    let good = vec![Answer::Result(task("WORKING")); 2];
    let agent = Agent::start(|_| (), [failures, good].concat()).await;
    let client = agent.client().await;
    let ask = async || client.get_task(&get(), &options()).await;
    for _ in 0..5 {
        assert!(client.is_healthy());
        ask().await.unwrap_err();
    }
    let error = client
        .clone()
        .get_task(&get(), &options())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Suspended { .. }), "{error}");
    assert_eq!(agent.received().len(), 5);
    tokio::time::pause();
    tokio::time::advance(OPEN_FOR).await;
    tokio::time::resume();
    ask().await.unwrap();
    assert!(client.is_healthy());
    ask().await.unwrap();
}

#[tokio::test]
async fn says_that_an_agent_cannot_be_reached() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a2a", closed.local_addr().unwrap());
    drop(closed);
    let agent = Agent::start(
        |card| card["supportedInterfaces"][2]["url"] = json!(url),
        vec![],
    )
    .await;
    let error = send(&agent.client().await).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Connect { url: at, .. } if *at == url),
        "{error}"
    );
}
