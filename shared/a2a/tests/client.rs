//! Plain calls of the client, against an agent that answers from a script.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod support;

use std::time::Duration;

use a2a::{
    IDEMPOTENT_SEND,
    client::{CallError, CallOptions, ClientOptions},
    types::{
        CancelTaskRequest, GetTaskRequest, ListPushConfigsRequest, ListTasksRequest, PushConfig,
        PushConfigRequest, SendMessageConfiguration, SendMessageResponse, TaskIdRequest, TaskState,
    },
};
use serde_json::{Value, json};
use support::{Agent, Answer, message, send, task};
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
async fn sends_what_the_protocol_asks_for() {
    let agent = Agent::start(
        |_| (),
        vec![Answer::Result(
            json!({"task": task("COMPLETED"), "later": 1}),
        )],
    )
    .await;
    let client = agent.client().await;
    let mut call = options();
    call.headers
        .insert("traceparent", "00-1-2-01".parse().unwrap());
    let answer = client.send_message(&message("hello"), &call).await.unwrap();
    let SendMessageResponse::Task(task) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(task.status.state, TaskState::Completed);

    let [request] = &agent.received()[..] else {
        panic!("one request")
    };
    assert_eq!(request.header("a2a-version"), Some("1.0"));
    assert_eq!(request.header("a2a-extensions"), Some(IDEMPOTENT_SEND));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("traceparent"), Some("00-1-2-01"));
    assert_eq!(request.body["jsonrpc"], "2.0");
    assert_eq!(request.method(), "SendMessage");
    assert_eq!(request.body["params"]["tenant"], "blue");
    assert_eq!(request.body["params"]["message"]["messageId"], "m-1");
}

#[tokio::test]
async fn calls_every_operation_on_messages_and_tasks() {
    let said = json!({"messageId": "a", "role": "ROLE_AGENT", "parts": [{"text": "hi"}]});
    let page = json!({"tasks": [], "nextPageToken": "", "pageSize": 50, "totalSize": 0});
    let answers = [
        json!({"message": said}),
        task("WORKING"),
        page,
        task("CANCELED"),
    ];
    let agent = Agent::start(|_| (), answers.map(Answer::Result).into()).await;
    let client = agent.client().await;
    let answer = send(&client).await.unwrap();
    assert!(matches!(answer, SendMessageResponse::Message(_)));
    assert_eq!(client.get_task(&get(), &options()).await.unwrap().id, "t-1");
    let request = ListTasksRequest::default();
    let page = client.list_tasks(&request, &options()).await.unwrap();
    assert_eq!(page.page_size, 50);
    let request = CancelTaskRequest {
        id: "t-1".into(),
        metadata: json!({"why": "late"}).as_object().cloned(),
    };
    let task = client.cancel_task(&request, &options()).await.unwrap();
    assert_eq!(task.status.state, TaskState::Canceled);

    let methods = ["SendMessage", "GetTask", "ListTasks", "CancelTask"];
    assert_eq!(agent.methods(), methods);
    let params: Vec<_> = agent
        .received()
        .iter()
        .map(|it| it.body["params"].clone())
        .collect();
    assert!(params.iter().all(|params| params["tenant"] == "blue"));
    assert_eq!(params[1]["historyLength"], 3);
    assert_eq!(params[3]["metadata"], json!({"why": "late"}));
}

#[tokio::test]
async fn calls_every_operation_on_push_configurations() {
    let config = json!({"id": "p-1", "taskId": "t-1", "url": "https://example.com/hook", "new": 1});
    let answers = [
        config.clone(),
        config.clone(),
        json!({"configs": [config]}),
        Value::Null,
        json!({}),
    ];
    let agent = Agent::start(|_| (), answers.map(Answer::Result).into()).await;
    let client = agent.client().await;
    let push = PushConfig {
        task_id: "t-1".into(),
        url: "https://example.com/hook".into(),
        ..PushConfig::default()
    };
    let made = client.create_push_config(&push, &options()).await.unwrap();
    assert_eq!(made.id, "p-1");
    let one = PushConfigRequest {
        task_id: "t-1".into(),
        id: "p-1".into(),
    };
    let read = client.get_push_config(&one, &options()).await.unwrap();
    assert_eq!(read, made);
    let all = ListPushConfigsRequest {
        task_id: "t-1".into(),
        page_size: None,
        page_token: None,
    };
    let list = client.list_push_configs(&all, &options()).await.unwrap();
    assert_eq!(list.configs, [made]);
    for _ in 0..2 {
        client.delete_push_config(&one, &options()).await.unwrap();
    }
    let methods = [
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
        "DeleteTaskPushNotificationConfig",
    ];
    assert_eq!(agent.methods(), methods);
}

#[tokio::test]
async fn checks_capabilities_before_it_calls() {
    let agent = Agent::start(|card| card["capabilities"] = json!({}), vec![]).await;
    let client = agent.client().await;
    let refused = |error: Option<CallError>| {
        assert!(matches!(error, Some(CallError::NotOffered(_))), "{error:?}");
    };
    refused(
        client
            .send_streaming_message(&message("hi"), &options())
            .await
            .err(),
    );
    refused(
        client
            .subscribe_to_task(&TaskIdRequest { id: "t".into() }, &options())
            .await
            .err(),
    );
    refused(
        client
            .create_push_config(&PushConfig::default(), &options())
            .await
            .err(),
    );
    refused(client.get_extended_agent_card(&options()).await.err());
    let mut request = message("hi");
    request.configuration = Some(SendMessageConfiguration {
        task_push_notification_config: Some(PushConfig::default()),
        ..SendMessageConfiguration::default()
    });
    refused(client.send_message(&request, &options()).await.err());
    assert!(agent.received().is_empty());
}

#[tokio::test]
async fn calls_direct_methods_with_the_deadline() {
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Result(json!({"found": 2})),
            Answer::Result(json!(1)),
        ],
    )
    .await;
    let client = agent.client().await;
    let call = CallOptions {
        deadline: Some(Instant::now() + Duration::from_mins(1)),
        ..options()
    };
    let params = json!({"path": "x", "_meta": {"async": false}});
    let answer: Value = client.call("detect_secrets", &params, &call).await.unwrap();
    assert_eq!(answer, json!({"found": 2}));
    let params = &agent.received()[0].body["params"];
    assert_eq!(
        (&params["path"], &params["_meta"]["async"]),
        (&json!("x"), &json!(false))
    );
    let deadline = params["_meta"]["deadline"].as_str().unwrap();
    let deadline =
        time::OffsetDateTime::parse(deadline, &time::format_description::well_known::Rfc3339)
            .unwrap();
    assert!(deadline > time::OffsetDateTime::now_utc(), "{deadline}");
    assert!(params.get("tenant").is_none());

    let _: u32 = client
        .call("detect_secrets", &json!({}), &options())
        .await
        .unwrap();
    assert_eq!(agent.received()[1].body["params"], json!({}));
    let refused = client
        .call::<Value>("detect_secrets", &json!([1]), &options())
        .await;
    assert!(matches!(refused, Err(CallError::Request(_))));
}

#[tokio::test]
async fn maps_errors() {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TASK_NOT_FOUND",
        "domain": "a2a-protocol.org", "metadata": {"taskId": "t-1"}});
    let limited =
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32051, "message": "slower"}})
            .to_string();
    let agent = Agent::start(
        |_| (),
        vec![
            Answer::Error(json!({"code": -32001, "message": "no such task", "data": [info]})),
            Answer::Http(
                401,
                vec![("www-authenticate", "Bearer".into())],
                String::new(),
            ),
            Answer::Http(403, vec![], "<html>".into()),
            Answer::Http(413, vec![], String::new()),
            Answer::Http(429, vec![], limited),
            Answer::Http(500, vec![], String::new()),
            Answer::Http(200, vec![], "<html>".into()),
            Answer::Http(
                200,
                vec![],
                json!({"jsonrpc": "2.0", "id": 999, "result": {}}).to_string(),
            ),
            Answer::Http(200, vec![], json!({"jsonrpc": "2.0"}).to_string()),
            Answer::Result(json!({"id": 5})),
        ],
    )
    .await;
    let client = agent.client().await;
    let fail = async || client.get_task(&get(), &options()).await.unwrap_err();

    let CallError::Refused(error) = fail().await else {
        panic!("a JSON-RPC error")
    };
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (-32001, Some("TASK_NOT_FOUND"))
    );
    assert_eq!(error.metadata["taskId"], "t-1");
    let error = fail().await;
    assert_eq!(error.http().unwrap().challenge.as_deref(), Some("Bearer"));
    for status in [403, 413] {
        assert_eq!(fail().await.http().unwrap().status.as_u16(), status);
    }
    let error = fail().await;
    assert_eq!(
        (error.code(), error.http().unwrap().status.as_u16()),
        (Some(-32051), 429)
    );
    assert!(fail().await.to_string().ends_with("HTTP 500: unavailable"));
    for _ in 0..4 {
        let error = fail().await;
        assert!(matches!(error, CallError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn refuses_answers_that_are_too_large() {
    let large = json!({"task": task("WORKING"), "padding": "x".repeat(2000)});
    let text = json!({"jsonrpc": "2.0", "id": 1, "result": large}).to_string();
    let agent = Agent::start(
        no_idempotency,
        vec![
            Answer::Result(large),
            // Without a length, so that the client has to count.
            Answer::Raw(vec![text.clone(), text]),
        ],
    )
    .await;
    let options = ClientOptions {
        max_answer: 1000,
        ..ClientOptions::default()
    };
    let client = agent.client_with(options).await;
    for _ in 0..2 {
        let error = send(&client).await.unwrap_err();
        assert!(
            matches!(error, CallError::AnswerTooLarge { limit: 1000, .. }),
            "{error}"
        );
    }
}
