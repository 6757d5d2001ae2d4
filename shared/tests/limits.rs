//! Where the runtime stops: messages that are too large, conversations that are too long, a store that refuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

mod probe;

use probe::{Ground, agent::Agent};
use serde_json::{Value, json};

fn say(id: &str, parts: &[Value], task: Option<&Value>) -> Value {
    let mut message = json!({"messageId": id, "role": "ROLE_USER", "parts": parts});
    if let Some(task) = task {
        message["taskId"] = task.clone();
    }
    json!({"message": message})
}

#[tokio::test]
async fn a_message_has_1_to_100_parts() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    for (count, accepted) in [(0, false), (1, true), (100, true), (101, false)] {
        let parts = vec![json!({"text": "?"}); count];
        let params = say(&format!("m{count}"), &parts, None);
        let answer = agent.caller.call("SendMessage", params).await;
        if accepted {
            let state = &answer.body["result"]["task"]["status"]["state"];
            assert_eq!(state, "TASK_STATE_INPUT_REQUIRED", "{}", answer.body);
        } else {
            assert_eq!(answer.code(), Some(-32602), "{}", answer.body);
            assert_eq!(answer.metadata("field"), Some("message.parts"));
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_conversation_ends_after_200_messages() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let ask = [json!({"text": "?"})];
    let mut task = None;
    // Each turn is a message and the question that it is answered with.
    for turn in 0..100 {
        let params = say(&format!("m{turn}"), &ask, task.as_ref());
        let answer = agent.caller.call("SendMessage", params).await;
        let shown = &answer.body["result"]["task"];
        let state = &shown["status"]["state"];
        assert_eq!(state, "TASK_STATE_INPUT_REQUIRED", "turn {turn}");
        task = Some(shown["id"].clone());
    }
    let params = say("last", &ask, task.as_ref());
    let answer = agent.caller.call("SendMessage", params).await;
    assert_eq!(answer.code(), Some(-32602));
    assert_eq!(answer.metadata("field"), Some("message.taskId"));
    agent.stop().await;
}

#[tokio::test]
async fn a_call_whose_outcome_could_not_be_stored_can_be_repeated() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let store = rusqlite::Connection::open(ground.path("store.db")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON entry WHEN NEW.collection = 'tasks' \
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    let data = json!({"skill": "echo", "input": {"text": "hello"}});
    let params = say("m1", &[json!({"data": data})], None);
    store.execute_batch(refuse).unwrap();
    let answer = agent.caller.call("SendMessage", params.clone()).await;
    let state = &answer.body["result"]["task"]["status"]["state"];
    assert_eq!(state, "TASK_STATE_FAILED", "{}", answer.body);
    assert!(!answer.body.to_string().contains("disk"), "{}", answer.body);
    store.execute_batch("DROP TRIGGER refuse").unwrap();
    let answer = agent.caller.call("SendMessage", params).await;
    let state = &answer.body["result"]["task"]["status"]["state"];
    assert_eq!(state, "TASK_STATE_COMPLETED", "{}", answer.body);
    agent.stop().await;
}
