//! Two replicas of an agent on one PostgreSQL database serve each other's tasks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

mod probe;

use futures::StreamExt as _;
use probe::{
    Ground,
    agent::{Agent, Event},
};
use serde_json::json;
use store::testing::TemporaryPostgres;

async fn replicas(ground: &Ground, server: &TemporaryPostgres) -> (Agent, Agent) {
    let url = server.url("postgres");
    let one = Agent::start(ground, &["--store", &url]).await;
    let two = Agent::start(ground, &["--store", &url]).await;
    (one, two)
}

#[tokio::test]
async fn a_replica_shows_lists_and_streams_what_another_runs() {
    let (ground, server) = (Ground::new(), TemporaryPostgres::start().unwrap());
    let (one, two) = replicas(&ground, &server).await;
    let task = one.caller.detached("steps", json!({"steps": 3})).await;
    one.probe.has_started().await;
    assert_eq!(two.caller.state(&task).await, "TASK_STATE_WORKING");
    let listed = two.caller.call("ListTasks", json!({})).await;
    assert_eq!(listed.body["result"]["tasks"][0]["id"], json!(task));
    let subscribe = |seen| {
        two.caller
            .stream("SubscribeToTask", json!({"id": task}), seen)
    };
    let here = subscribe(None).await.unwrap();
    let mut here = Box::pin(here);
    let begun = here.next().await.unwrap();
    assert_eq!(begun.data["result"]["task"]["id"], json!(task));
    one.probe.gate.add_permits(3);
    let rest: Vec<Event> = here.collect().await;
    let last = &rest.last().unwrap().data["result"]["statusUpdate"]["status"];
    assert_eq!(last["state"], "TASK_STATE_COMPLETED");
    // Both replicas tell the same events under the same numbers.
    let there = one
        .caller
        .stream("SubscribeToTask", json!({"id": task}), Some("1"))
        .await;
    let there: Vec<Event> = there.unwrap().collect().await;
    let after = |events: &[Event]| {
        let seen = begun.id.unwrap();
        let later = events.iter().filter(|event| event.id.unwrap() > seen);
        later
            .map(|event| (event.id, event.data["result"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(after(&rest), after(&there));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_replica_cancels_what_another_runs_and_a_repeated_message_meets_its_task() {
    let (ground, server) = (Ground::new(), TemporaryPostgres::start().unwrap());
    let (one, two) = replicas(&ground, &server).await;
    let data = json!({"skill": "slow", "input": {}});
    let send = json!({
        "message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"data": data}]},
        "configuration": {"returnImmediately": true},
    });
    let first = one.caller.call("SendMessage", send.clone()).await;
    one.probe.has_started().await;
    let again = two.caller.call("SendMessage", send).await;
    let task = first.body["result"]["task"]["id"].as_str().unwrap();
    assert_eq!(again.body["result"]["task"]["id"], json!(task));
    assert_eq!(two.probe.started.available_permits(), 0, "it runs once");
    let canceled = two.caller.call("CancelTask", json!({"id": task})).await;
    assert_eq!(
        canceled.state(),
        Some("TASK_STATE_CANCELED"),
        "{}",
        canceled.body
    );
    assert_eq!(one.caller.state(task).await, "TASK_STATE_CANCELED");
    let twice = one.caller.call("CancelTask", json!({"id": task})).await;
    assert_eq!(twice.state(), Some("TASK_STATE_CANCELED"));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_task_of_a_replica_that_fell_silent_is_run_by_another_and_the_former_is_fenced() {
    let (ground, server) = (Ground::new(), TemporaryPostgres::start().unwrap());
    let (one, two) = replicas(&ground, &server).await;
    let task = one.caller.detached("slow", json!({"stubborn": true})).await;
    one.probe.has_started().await;
    // As if the first replica had not been heard of for long: it goes on running, but says nothing.
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    let taken = async {
        loop {
            client
                .execute("UPDATE entry SET sort = '2000-01-01T00:00:00.000Z' WHERE collection = 'replicas'", &[])
                .await
                .unwrap();
            if two.probe.started.try_acquire().is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), taken)
        .await
        .expect("it is taken over");
    // The former holder comes to its end first: its word does not count.
    one.probe.gate.add_permits(1);
    while one.probe.gate.available_permits() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(two.caller.state(&task).await, "TASK_STATE_WORKING");
    assert_eq!(one.caller.state(&task).await, "TASK_STATE_WORKING");
    two.probe.gate.add_permits(1);
    two.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    one.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    one.stop().await;
    two.stop().await;
}
