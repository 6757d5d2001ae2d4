//! Our objects and those of the official Rust SDK (`a2a-lf`) have the same JSON: ours, decoded and written by theirs,
//! is ours again. Every object of the protocol once with all members and once with the required ones, then at random.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod strategies;

use std::fmt::Debug;

use a2a::{card, types};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use strategies::{any_card, any_event, any_push, any_request, any_task, schemes};

/// Ours to theirs and back: the same JSON, and the same value.
fn check<Ours, Theirs>(ours: &Ours)
where
    Ours: Serialize + DeserializeOwned + PartialEq + Debug,
    Theirs: Serialize + DeserializeOwned,
{
    let json = serde_json::to_value(ours).unwrap();
    let theirs: Theirs =
        serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let back = serde_json::to_value(theirs).unwrap();
    assert_eq!(back, json);
    assert_eq!(&serde_json::from_value::<Ours>(back).unwrap(), ours);
}

/// The same from JSON, which must be complete: no member may be lost on the way through our types.
fn golden<Ours, Theirs>(documents: &[Value])
where
    Ours: Serialize + DeserializeOwned + PartialEq + Debug,
    Theirs: Serialize + DeserializeOwned,
{
    for document in documents {
        let ours: Ours = serde_json::from_value(document.clone())
            .unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(&serde_json::to_value(&ours).unwrap(), document);
        check::<Ours, Theirs>(&ours);
    }
}

fn parts() -> Value {
    json!([
        {"text": "hello", "mediaType": "text/plain", "filename": "a.txt", "metadata": {"n": 1}},
        {"raw": "AAEC/w==", "mediaType": "application/octet-stream"},
        {"url": "https://example.com/a.png"},
        {"data": {"deep": [1, null, {"x": true}]}},
        {"data": "text"}, {"data": []}, {"data": 1.5},
    ])
}

fn message() -> Value {
    json!({"messageId": "m", "role": "ROLE_AGENT", "parts": parts(), "contextId": "c", "taskId": "t",
        "metadata": {"k": {"v": [1, 2]}}, "extensions": ["https://example.com/ext"], "referenceTaskIds": ["t-0"]})
}

fn short_message() -> Value {
    json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": ""}]})
}

fn artifact() -> Value {
    json!({"artifactId": "a", "parts": parts(), "name": "report", "description": "a report", "metadata": {"k": "v"},
        "extensions": ["https://example.com/ext"]})
}

fn status() -> Value {
    json!({"state": "TASK_STATE_WORKING", "message": message(), "timestamp": "2026-01-02T03:04:05.678Z"})
}

fn task() -> Value {
    json!({"id": "t", "contextId": "c", "status": status(), "artifacts": [artifact()], "history": [message(), short_message()],
        "metadata": {"k": "v"}})
}

fn short_task() -> Value {
    json!({"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}})
}

fn push() -> Value {
    json!({"id": "p", "taskId": "t", "url": "https://example.com/hook", "token": "abc",
        "authentication": {"scheme": "Bearer", "credentials": "xyz"}})
}

fn short_push() -> Value {
    json!({"url": "https://example.com/hook", "authentication": {"scheme": "Basic"}})
}

#[test]
fn content_agrees() {
    golden::<types::Part, lf::Part>(parts().as_array().unwrap());
    golden::<types::Message, lf::Message>(&[message(), short_message()]);
    let short = json!({"artifactId": "a", "parts": [{"text": "x"}]});
    golden::<types::Artifact, lf::Artifact>(&[artifact(), short]);
}

#[test]
fn tasks_agree() {
    for state in [
        "SUBMITTED",
        "WORKING",
        "COMPLETED",
        "FAILED",
        "CANCELED",
        "INPUT_REQUIRED",
        "REJECTED",
        "AUTH_REQUIRED",
    ] {
        let state = json!({"state": format!("TASK_STATE_{state}")});
        golden::<types::TaskStatus, lf::TaskStatus>(&[state]);
    }
    golden::<types::TaskStatus, lf::TaskStatus>(&[status()]);
    golden::<types::Task, lf::Task>(&[task(), short_task()]);
}

#[test]
fn answers_agree() {
    golden::<types::SendMessageResponse, lf::SendMessageResponse>(&[
        json!({"task": task()}),
        json!({"message": message()}),
    ]);
    golden::<types::StreamResponse, lf::StreamResponse>(&[
        json!({"task": short_task()}),
        json!({"message": short_message()}),
        json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": status(), "metadata": {"k": "v"}}}),
        json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_FAILED"}}}),
        json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact(), "append": true,
            "lastChunk": false, "metadata": {"k": "v"}}}),
    ]);
    golden::<types::ListTasksResponse, lf::ListTasksResponse>(&[
        json!({"tasks": [task(), short_task()], "nextPageToken": "n", "pageSize": 2, "totalSize": 9}),
        json!({"tasks": [], "nextPageToken": "", "pageSize": 0, "totalSize": 0}),
    ]);
}

#[test]
fn requests_agree() {
    let configuration = json!({"acceptedOutputModes": ["text/plain"], "historyLength": 0, "returnImmediately": true,
        "taskPushNotificationConfig": short_push()});
    golden::<types::SendMessageRequest, lf::SendMessageRequest>(&[
        json!({"message": message(), "configuration": configuration, "metadata": {"k": "v"}}),
        json!({"message": short_message(), "configuration": {"returnImmediately": false}}),
        json!({"message": short_message()}),
    ]);
    golden::<types::GetTaskRequest, lf::GetTaskRequest>(&[
        json!({"id": "t", "historyLength": 5}),
        json!({"id": "t"}),
    ]);
    golden::<types::CancelTaskRequest, lf::CancelTaskRequest>(&[
        json!({"id": "t", "metadata": {"k": 1}}),
        json!({"id": "t"}),
    ]);
    golden::<types::TaskIdRequest, lf::SubscribeToTaskRequest>(&[json!({"id": "t"})]);
    golden::<types::ListTasksRequest, lf::ListTasksRequest>(&[
        json!({"contextId": "c", "status": "TASK_STATE_WORKING", "pageSize": 10, "pageToken": "p", "historyLength": 0,
            "statusTimestampAfter": "2026-01-02T03:04:05.678Z", "includeArtifacts": true}),
        json!({"includeArtifacts": false}),
    ]);
}

#[test]
fn push_configurations_agree() {
    golden::<types::PushConfig, lf::TaskPushNotificationConfig>(&[push(), short_push()]);
    let one = json!({"taskId": "t", "id": "p"});
    golden::<types::PushConfigRequest, lf::GetTaskPushNotificationConfigRequest>(
        std::slice::from_ref(&one),
    );
    golden::<types::PushConfigRequest, lf::DeleteTaskPushNotificationConfigRequest>(&[one]);
    golden::<types::ListPushConfigsRequest, lf::ListTaskPushNotificationConfigsRequest>(&[
        json!({"taskId": "t", "pageSize": 3, "pageToken": "p"}),
        json!({"taskId": "t"}),
    ]);
    golden::<types::ListPushConfigsResponse, lf::ListTaskPushNotificationConfigsResponse>(&[
        json!({"configs": [push(), short_push()], "nextPageToken": "n"}),
    ]);
    // The official types leave out an empty list; read back it is the same.
    let empty = types::ListPushConfigsResponse {
        configs: Vec::new(),
        next_page_token: String::new(),
    };
    let theirs: lf::ListTaskPushNotificationConfigsResponse =
        serde_json::from_value(json!(empty)).unwrap();
    let back: types::ListPushConfigsResponse = serde_json::from_value(json!(theirs)).unwrap();
    assert_eq!(back, empty);
}

fn skill() -> Value {
    json!({"id": "s", "name": "S", "description": "d", "tags": ["t"], "examples": ["e"], "inputModes": ["text/plain"],
        "outputModes": ["application/json"], "securityRequirements": [{"schemes": {"mtls": {"list": ["call"]}}}]})
}

#[test]
fn cards_agree() {
    let full = json!({
        "name": "n", "description": "d", "version": "1",
        "supportedInterfaces": [{"url": "https://example.com/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "blue"}],
        "provider": {"url": "https://example.com", "organization": "o"},
        "documentationUrl": "https://example.com/d", "iconUrl": "https://example.com/i",
        "capabilities": {"streaming": true, "pushNotifications": false, "extendedAgentCard": true, "extensions": [
            {"uri": "https://example.com/ext", "description": "d", "required": true, "params": {"k": 1}}, {"uri": "https://example.com/bare"},
        ]},
        "securitySchemes": schemes(), "securityRequirements": [{"schemes": {"oauth": {"list": ["call"]}}}],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [skill(), {"id": "s", "name": "S", "description": "", "tags": []}],
        "signatures": [{"protected": "e30", "signature": "AA", "header": {"k": 1}}, {"protected": "e30", "signature": "AA"}],
    });
    let short = json!({"name": "n", "description": "", "version": "1", "supportedInterfaces": [], "capabilities": {},
        "defaultInputModes": [], "defaultOutputModes": [], "skills": []});
    golden::<card::AgentCard, lf::AgentCard>(&[full, short]);
    // The official types write an empty list of scopes, which ProtoJSON leaves out; read back it is the same.
    let bare: card::SecurityRequirement =
        serde_json::from_value(json!({"schemes": {"mtls": {"list": []}}})).unwrap();
    assert_eq!(json!(bare), json!({"schemes": {"mtls": {}}}));
}

#[test]
fn takes_nulls_and_unknown_members() {
    let task = json!({"id": "t", "contextId": null, "status": {"state": "TASK_STATE_WORKING", "timestamp": null, "later": 1},
        "artifacts": null, "history": null, "metadata": null, "kind": "task"});
    let task: types::Task = serde_json::from_value(task).unwrap();
    assert_eq!(task.context_id, "");
    for both in [
        json!({"task": short_task(), "message": short_message()}),
        json!({}),
        json!({"tasks": 1}),
    ] {
        assert!(
            serde_json::from_value::<types::StreamResponse>(both.clone()).is_err(),
            "{both}"
        );
        assert!(serde_json::from_value::<types::SendMessageResponse>(both).is_err());
    }
    let event = json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": status(), "final": true}, "later": {}});
    assert!(serde_json::from_value::<types::StreamResponse>(event).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_task_agrees(task in any_task()) {
        check::<types::Task, lf::Task>(&task);
    }

    #[test]
    fn any_event_agrees(event in any_event()) {
        check::<types::StreamResponse, lf::StreamResponse>(&event);
    }

    #[test]
    fn any_request_agrees(request in any_request()) {
        check::<types::SendMessageRequest, lf::SendMessageRequest>(&request);
    }

    #[test]
    fn any_push_configuration_agrees(config in any_push()) {
        check::<types::PushConfig, lf::TaskPushNotificationConfig>(&config);
    }

    #[test]
    fn any_card_agrees(card in any_card()) {
        check::<card::AgentCard, lf::AgentCard>(&card);
    }

    /// Whatever the card, its signature holds, and the form of the specification loses nothing that our types hold.
    #[test]
    fn any_signed_card_verifies(card in any_card()) {
        let key = identity::SigningKey::generate();
        let mut keys = a2a::signature::TrustStore::default();
        keys.trust(key.public());
        let mut signed = card.clone();
        signed.signatures = vec![a2a::signature::sign(&card, &key)];
        let verified = a2a::signature::verify(&serde_json::to_value(&signed).unwrap(), &keys).unwrap();
        let read: card::AgentCard = serde_json::from_value(verified.card).unwrap();
        prop_assert_eq!(read, card::AgentCard { signatures: Vec::new(), ..card });
    }
}
