//! What streams, repeated messages and cancellation promise: a small agent in this process, over its real listeners.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::similar_names,
    clippy::too_many_lines,
    clippy::semicolon_if_nothing_returned,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

mod probe;

use futures::StreamExt as _;
use probe::{
    Ground,
    agent::{Agent, Event},
};
use serde_json::{Value, json};

/// A message that asks for a skill.
#[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
fn message(id: &str, skill: &str, input: Value) -> Value {
    let data = json!({"skill": skill, "input": input});
    json!({"message": {"messageId": id, "role": "ROLE_USER", "parts": [{"data": data}]}})
}

fn states(events: &[Event]) -> Vec<String> {
    let state = |event: &Event| {
        let result = &event.data["result"];
        let state = result
            .pointer("/task/status/state")
            .or_else(|| result.pointer("/statusUpdate/status/state"));
        match state {
            Some(state) => state
                .as_str()
                .unwrap()
                .trim_start_matches("TASK_STATE_")
                .to_owned(),
            None => "ARTIFACT".to_owned(),
        }
    };
    events.iter().map(state).collect()
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id.unwrap()).collect()
}

fn task_of(events: &[Event]) -> String {
    events[0].data["result"]["task"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_stream_tells_a_task_from_its_beginning_to_its_end() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let input = json!({"text": "hello"});
    let stream = agent
        .caller
        .stream("SendStreamingMessage", message("m1", "echo", input), None)
        .await;
    let events: Vec<Event> = stream.unwrap().collect().await;
    assert_eq!(states(&events), ["WORKING", "ARTIFACT", "COMPLETED"]);
    assert_eq!(numbers(&events), [1, 2, 3]);
    for event in &events {
        assert_eq!(event.data["jsonrpc"], "2.0");
        assert_eq!(event.data["id"], 1);
    }
    let update = &events[1].data["result"]["artifactUpdate"];
    assert_eq!(update["artifact"]["parts"][0]["data"]["text"], "hello");
    assert_eq!(update["lastChunk"], true);
    agent.stop().await;
}

#[tokio::test]
async fn progress_is_told_to_every_stream_in_the_same_words_and_numbers() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let send = message("m1", "steps", json!({"steps": 3}));
    let first = agent
        .caller
        .stream("SendStreamingMessage", send, None)
        .await
        .unwrap();
    let mut first = Box::pin(first);
    let begun = first.next().await.unwrap();
    let task = task_of(std::slice::from_ref(&begun));
    // The task can be subscribed to as soon as its first event was seen.
    let second = agent
        .caller
        .stream("SubscribeToTask", json!({"id": task}), None)
        .await
        .unwrap();
    agent.probe.gate.add_permits(3);
    let mut whole = vec![begun];
    whole.extend(first.collect::<Vec<_>>().await);
    let late: Vec<Event> = second.collect().await;
    assert_eq!(states(&whole).last().unwrap(), "COMPLETED");
    assert!(numbers(&whole).is_sorted());
    // Whatever the second stream was told after its first event, the first was told as well.
    for event in &late[1..] {
        let same = whole.iter().find(|other| other.id == event.id).unwrap();
        assert_eq!(same.data["result"], event.data["result"]);
    }
    assert_eq!(numbers(&late).last(), numbers(&whole).last());
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_that_was_cut_off_goes_on_where_it_was_even_after_the_end() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let send = message("m1", "steps", json!({"steps": 2}));
    let stream = agent
        .caller
        .stream("SendStreamingMessage", send, None)
        .await
        .unwrap();
    let mut stream = Box::pin(stream);
    let begun = stream.next().await.unwrap();
    let task = task_of(&[begun]);
    // The client goes away; the task does not.
    drop(stream);
    agent.probe.gate.add_permits(2);
    agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    let subscribe = |seen: Option<&'static str>| {
        let caller = agent.caller.clone();
        let id = json!({"id": task});
        async move { caller.stream("SubscribeToTask", id, seen).await }
    };
    let rest: Vec<Event> = subscribe(Some("1")).await.unwrap().collect().await;
    assert_eq!(states(&rest).last().unwrap(), "COMPLETED");
    let expected: Vec<u64> = (2..2 + rest.len() as u64).collect();
    assert_eq!(
        numbers(&rest),
        expected,
        "nothing is missing, nothing comes twice"
    );
    let newest = rest.last().unwrap().id.unwrap().to_string();
    let seen: &'static str = newest.leak();
    for (seen, code) in [(None, -32004), (Some(seen), -32004), (Some("x"), -32602)] {
        let answer = subscribe(seen).await.err().unwrap();
        assert_eq!(answer.code(), Some(code), "{seen:?}: {}", answer.body);
    }
    // A number that never was gets the task as it stands.
    let lost: Vec<Event> = subscribe(Some("999")).await.unwrap().collect().await;
    assert_eq!(states(&lost), ["COMPLETED"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_question_ends_the_turn_and_its_answer_goes_on_with_the_same_task() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let hello =
        json!({"message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}});
    let stream = agent
        .caller
        .stream("SendStreamingMessage", hello, None)
        .await
        .unwrap();
    let events: Vec<Event> = stream.collect().await;
    assert_eq!(states(&events), ["WORKING", "INPUT_REQUIRED"]);
    let task = task_of(&events);
    let mut next = message("m2", "echo", json!({"text": "again"}));
    next["message"]["taskId"] = json!(task);
    let answer = agent.caller.call("SendMessage", next).await;
    let answered = &answer.body["result"]["task"];
    assert_eq!(answered["id"], json!(task));
    assert_eq!(answered["status"]["state"], "TASK_STATE_COMPLETED");
    let said: Vec<&str> = answered["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| said["role"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["ROLE_USER", "ROLE_AGENT", "ROLE_USER"]);
    agent.stop().await;
}

#[tokio::test]
async fn the_same_message_gives_the_same_task_and_another_under_its_id_is_refused() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let send = message("m1", "slow", json!({}));
    // Sixteen senders of the same message at the same moment, before the first is through.
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (caller, send) = (agent.caller.clone(), send.clone());
            tokio::spawn(async move { caller.call("SendMessage", send).await })
        })
        .collect();
    agent.probe.has_started().await;
    agent.probe.gate.add_permits(1);
    let mut tasks = Vec::new();
    for call in calls {
        let answer = call.await.unwrap();
        let task = &answer.body["result"]["task"];
        assert_eq!(
            task["status"]["state"], "TASK_STATE_COMPLETED",
            "{}",
            answer.body
        );
        tasks.push(task["id"].clone());
    }
    tasks.dedup();
    assert_eq!(tasks.len(), 1, "one task for all");
    assert_eq!(
        agent.probe.started.available_permits(),
        0,
        "one run for all"
    );

    let other = agent
        .caller
        .call(
            "SendMessage",
            message("m1", "slow", json!({"stubborn": true})),
        )
        .await;
    assert_eq!(other.code(), Some(-32602), "{}", other.body);
    assert_eq!(other.metadata("field"), Some("message.messageId"));
    // As a stream, the repeated message tells of the same task.
    let again = agent
        .caller
        .stream("SendStreamingMessage", send.clone(), None)
        .await
        .unwrap();
    assert_eq!(json!(task_of(&again.collect::<Vec<_>>().await)), tasks[0]);
    // The id belongs to its principal only.
    let guest = agent.caller_named(&ground, "guest");
    let own = guest
        .call(
            "SendMessage",
            message("m1", "echo", json!({"text": "mine"})),
        )
        .await;
    assert_eq!(
        own.body["result"]["task"]["status"]["state"],
        "TASK_STATE_COMPLETED"
    );
    agent.stop().await;
}

#[tokio::test]
async fn what_is_not_yours_is_not_there_for_every_operation() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let sent = agent
        .caller
        .call("SendMessage", message("m1", "echo", json!({"text": "x"})))
        .await;
    let ended = sent.body["result"]["task"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let context = sent.body["result"]["task"]["contextId"].clone();
    let running = agent.caller.detached("slow", json!({})).await;
    let waiting = agent
        .caller
        .call(
            "SendMessage",
            json!({"message": {"messageId": "m2", "role": "ROLE_USER", "parts": [{"text": "?"}]}}),
        )
        .await;
    let waiting = waiting.body["result"]["task"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let guest = agent.caller_named(&ground, "guest");
    let requests = |task: &str| {
        let continued = |id: &str| {
            let mut send = message(id, "echo", json!({"text": "x"}));
            send["message"]["taskId"] = json!(task);
            send
        };
        vec![
            ("GetTask", json!({"id": task})),
            ("CancelTask", json!({"id": task})),
            ("SubscribeToTask", json!({"id": task})),
            ("SendMessage", continued("c1")),
            ("SendStreamingMessage", continued("c2")),
            (
                "CreateTaskPushNotificationConfig",
                json!({"taskId": task, "url": "https://example.com/hook"}),
            ),
            (
                "GetTaskPushNotificationConfig",
                json!({"taskId": task, "id": "x"}),
            ),
            ("ListTaskPushNotificationConfigs", json!({"taskId": task})),
            (
                "DeleteTaskPushNotificationConfig",
                json!({"taskId": task, "id": "x"}),
            ),
        ]
    };
    let missing = uuid_like();
    for task in [&ended, &running, &waiting] {
        for ((method, theirs), (_, nobodys)) in requests(task).into_iter().zip(requests(&missing)) {
            let (theirs, nobodys) = (
                guest.call(method, theirs).await,
                guest.call(method, nobodys).await,
            );
            assert_eq!(theirs.code(), Some(-32001), "{method}: {}", theirs.body);
            assert_eq!(
                theirs.anonymous(),
                nobodys.anonymous(),
                "{method} tells them apart"
            );
        }
    }
    for filter in [json!({}), json!({"contextId": context})] {
        let listed = guest.call("ListTasks", filter).await;
        assert_eq!(listed.body["result"]["totalSize"], 0, "{}", listed.body);
    }
    // The owner's tasks are as they were.
    assert_eq!(agent.caller.state(&running).await, "TASK_STATE_WORKING");
    assert_eq!(
        agent.caller.state(&waiting).await,
        "TASK_STATE_INPUT_REQUIRED"
    );
    agent.probe.gate.add_permits(1);
    agent.caller.reaches(&running, "TASK_STATE_COMPLETED").await;
    agent.stop().await;
}

fn uuid_like() -> String {
    "018f0000-0000-7000-8000-000000000000".to_owned()
}

#[tokio::test]
async fn a_cancel_and_an_end_at_the_same_time_have_one_winner() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    for round in 0..30 {
        let task = agent
            .caller
            .detached("slow", json!({"stubborn": round % 2 == 0}))
            .await;
        agent.probe.has_started().await;
        agent.probe.gate.add_permits(1);
        let cancel = || agent.caller.call("CancelTask", json!({"id": task}));
        let (one, two) = tokio::join!(cancel(), cancel());
        let state = agent.caller.state(&task).await;
        for answer in [one, two] {
            match state.as_str() {
                "TASK_STATE_CANCELED" => assert_eq!(answer.state(), Some("TASK_STATE_CANCELED")),
                "TASK_STATE_COMPLETED" => {
                    assert_eq!(answer.code(), Some(-32002), "{}", answer.body)
                }
                other => panic!("{other}"),
            }
        }
        // Whatever the gate still holds belongs to a run that was cancelled before it came there.
        let left = agent.probe.gate.available_permits();
        if left > 0 {
            agent
                .probe
                .gate
                .acquire_many(u32::try_from(left).unwrap())
                .await
                .unwrap()
                .forget();
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn open_streams_end_when_the_agent_stops() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &["--drain-seconds", "1"]).await;
    let task = agent
        .caller
        .detached("slow", json!({"stubborn": true}))
        .await;
    agent.probe.has_started().await;
    let stream = agent
        .caller
        .stream("SubscribeToTask", json!({"id": task}), None)
        .await
        .unwrap();
    let (events, ()) = tokio::join!(stream.collect::<Vec<_>>(), agent.stop());
    assert_eq!(states(&events), ["WORKING"]);
}

#[tokio::test]
async fn one_caller_cannot_hold_all_streams() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let task = agent.caller.detached("slow", json!({})).await;
    agent.probe.has_started().await;
    let mut open = Vec::new();
    let refused = loop {
        let subscribed = agent
            .caller
            .stream("SubscribeToTask", json!({"id": task}), None)
            .await;
        match subscribed {
            Ok(stream) => open.push(Box::pin(stream)),
            Err(answer) => break answer,
        }
        assert!(open.len() <= 128, "no limit");
    };
    assert_eq!(refused.code(), Some(-32052), "{}", refused.body);
    assert!(refused.retry_after.is_some());
    drop(open);
    let again = async {
        while agent
            .caller
            .stream("SubscribeToTask", json!({"id": task}), None)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), again)
        .await
        .expect("places are given back");
    agent.probe.gate.add_permits(1);
    agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
    agent.stop().await;
}
