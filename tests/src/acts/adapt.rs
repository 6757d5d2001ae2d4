//! Where the corpus' words differ from the wire. Every rule is mechanical: the protocol leaves no choice.
//!
//! - The corpus names the push operations after 0.3.
//! - `taskId` and `contextId` stand beside the message they belong to; a push configuration is nested.
//! - A message without id gets one, as ACTS 12.4 demands of runners.
//! - An expected error is spelled `expect_error.code`, `expect_error.error_type`, or `expect.error`; a body member may
//!   stand directly under `expect`.
//! - Parts are described abstractly as `file {name, mediaType}` and `fileUrl {url, name}`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The JSON-RPC method of an operation; none for what is plain HTTP.
pub fn method(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "send_message" => "SendMessage",
        "send_streaming_message" => "SendStreamingMessage",
        "get_task" => "GetTask",
        "list_tasks" => "ListTasks",
        "cancel_task" => "CancelTask",
        "subscribe_to_task" => "SubscribeToTask",
        "set_push_notification_config" => "CreateTaskPushNotificationConfig",
        "get_push_notification_config" => "GetTaskPushNotificationConfig",
        "list_push_notification_configs" => "ListTaskPushNotificationConfigs",
        "delete_push_notification_config" => "DeleteTaskPushNotificationConfig",
        _ => return None,
    })
}

/// The JSON-RPC code of an error (A2A 1.0, section 5.4).
pub fn error_code(name: &str) -> Option<i64> {
    Some(match name {
        "TaskNotFoundError" => -32001,
        "TaskNotCancelableError" => -32002,
        "PushNotificationNotSupportedError" => -32003,
        "UnsupportedOperationError" => -32004,
        "ContentTypeNotSupportedError" => -32005,
        "VersionNotSupportedError" => -32009,
        "InvalidParamsError" => -32602,
        "MethodNotFoundError" => -32601,
        "JSONParseError" => -32700,
        "InternalError" => -32603,
        _ => return None,
    })
}

/// Parameters as they go over the wire.
pub fn params(method: &str, mut params: Map<String, Value>) -> Value {
    match method {
        "SendMessage" | "SendStreamingMessage" => fold_into_message(&mut params),
        "CreateTaskPushNotificationConfig" => {
            if let Some(Value::Object(nested)) = params.remove("pushNotificationConfig") {
                params.extend(nested);
            }
        }
        _ => (),
    }
    Value::Object(params)
}

fn fold_into_message(params: &mut Map<String, Value>) {
    let beside: Vec<_> = ["taskId", "contextId"]
        .into_iter()
        .filter_map(|name| Some((name, params.remove(name)?)))
        .collect();
    let Some(Value::Object(message)) = params.get_mut("message") else {
        return;
    };
    for (name, value) in beside {
        message.entry(name).or_insert(value);
    }
    message
        .entry("messageId")
        .or_insert_with(|| json!(Uuid::new_v4().to_string()));
}

/// A raw JSON-RPC body, its message completed like that of an operation.
pub fn raw_body(mut body: Value) -> Value {
    let method = body
        .get("method")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let (Some(method), Some(given)) = (method, body.get_mut("params"))
        && let Some(members) = given.as_object_mut()
    {
        *given = params(&method, std::mem::take(members));
    }
    body
}

/// What a step expects, in one form.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A result, or any HTTP answer of a raw step.
    Answer {
        /// Of the HTTP status.
        status: Option<Value>,
        /// Of the result, or of a raw step's body.
        body: Option<Value>,
    },
    /// An error of the protocol.
    Error(Map<String, Value>),
}

/// Brings the spellings of `expect` and `expect_error` together.
pub fn expected(
    expect: Option<Map<String, Value>>,
    error: Option<Map<String, Value>>,
) -> Option<Expected> {
    if let Some(mut error) = error {
        if let Some(name) = error.remove("error_type") {
            error.insert("code".into(), name);
        }
        return Some(Expected::Error(error));
    }
    let mut expect = expect?;
    if expect.remove("error").is_some() {
        return Some(Expected::Error(Map::new()));
    }
    let status = expect.remove("status");
    let body = expect
        .remove("body")
        .or_else(|| (!expect.is_empty()).then_some(Value::Object(expect)));
    Some(Expected::Answer { status, body })
}

/// An answer with the abstract names of its file parts beside those of the wire.
pub fn with_abstract_parts(mut value: Value) -> Value {
    name_parts(&mut value);
    value
}

fn name_parts(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(name_parts),
        Value::Object(members) => {
            if let Some(Value::Array(parts)) = members.get_mut("parts") {
                for part in parts.iter_mut().filter_map(Value::as_object_mut) {
                    name_file(part);
                }
            }
            members.values_mut().for_each(name_parts);
        }
        _ => (),
    }
}

fn name_file(part: &mut Map<String, Value>) {
    let name = part.get("filename").cloned();
    let media_type = part.get("mediaType").cloned();
    for (content, abstract_name) in [("raw", "file"), ("url", "fileUrl")] {
        if let Some(given) = part.get(content).cloned() {
            let mut file = Map::from_iter([(content.to_owned(), given)]);
            file.extend(name.clone().map(|name| ("name".to_owned(), name)));
            file.extend(
                media_type
                    .clone()
                    .map(|kind| ("mediaType".to_owned(), kind)),
            );
            part.insert(abstract_name.into(), Value::Object(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn folds_task_and_context_into_the_message_and_gives_it_an_id() {
        let sent = params(
            "SendMessage",
            object(&json!({"taskId": "t", "contextId": "c", "message": {"taskId": "inner"}})),
        );
        assert_eq!(sent["message"]["taskId"], "inner");
        assert_eq!(sent["message"]["contextId"], "c");
        assert!(sent["message"]["messageId"].is_string());
        assert!(sent.get("taskId").is_none());
    }

    #[test]
    fn flattens_a_push_configuration() {
        let sent = params(
            "CreateTaskPushNotificationConfig",
            object(&json!({"taskId": "t", "pushNotificationConfig": {"url": "u"}})),
        );
        assert_eq!(sent, json!({"taskId": "t", "url": "u"}));
    }

    #[test]
    fn three_spellings_of_an_error_are_one() {
        let named = Some(Expected::Error(object(&json!({"code": "X"}))));
        assert_eq!(
            expected(None, Some(object(&json!({"error_type": "X"})))),
            named
        );
        assert_eq!(expected(None, Some(object(&json!({"code": "X"})))), named);
        assert_eq!(
            expected(
                Some(object(
                    &json!({"status": "error", "error": {"exists": true}})
                )),
                None
            ),
            Some(Expected::Error(Map::new()))
        );
    }

    #[test]
    fn members_beside_status_are_the_body() {
        assert_eq!(
            expected(Some(object(&json!({"task": {"id": "x"}}))), None),
            Some(Expected::Answer {
                status: None,
                body: Some(json!({"task": {"id": "x"}}))
            })
        );
    }

    #[test]
    fn file_parts_have_their_abstract_names_too() {
        let seen = with_abstract_parts(json!({"task": {"artifacts": [{"parts": [
            {"raw": "dGNr", "filename": "a", "mediaType": "text/plain"},
            {"url": "http://x", "filename": "b"}
        ]}]}}));
        let parts = &seen["task"]["artifacts"][0]["parts"];
        assert_eq!(parts[0]["file"]["name"], "a");
        assert_eq!(parts[1]["fileUrl"]["url"], "http://x");
    }
}
