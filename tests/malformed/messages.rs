//! Messages and operations of the protocol that are malformed.

use serde_json::{Value, json};

use super::{Case, SCANNER, call};

pub(super) fn messages() -> Vec<Case> {
    let send = |message: Value, code: i64, field: Option<&'static str>| {
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": message}),
            code,
            field,
        )
    };
    let part = json!([{"text": "x"}]);
    vec![
        call(SCANNER, "SendMessage", &json!({}), -32602, Some("message")),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": 1}),
            -32602,
            Some("message"),
        ),
        send(
            json!({"role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "", "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "m".repeat(300), "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": 1, "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "m", "parts": part}),
            -32602,
            Some("message.role"),
        ),
        send(
            json!({"messageId": "m", "role": "user", "parts": part}),
            -32602,
            Some("message.role"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER"}),
            -32602,
            Some("message.parts"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": []}),
            -32602,
            Some("message.parts"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{}]}),
            -32602,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a", "data": 1}]}),
            -32602,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a", "mediaType": "image/png"}]}),
            -32005,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"url": "file:///etc/passwd"}]}),
            -32005,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "taskId": "no-such-task"}),
            -32001,
            Some("id"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "taskId": ""}),
            -32602,
            Some("message.taskId"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "contextId": ""}),
            -32602,
            Some("message.contextId"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "no_such_skill"}}]}),
            -32601,
            Some("method"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "detect_secrets", "input": {"x": 1}}}]}),
            -32602,
            Some("x"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "detect_secrets", "_meta": 1}}]}),
            -32602,
            Some("_meta"),
        ),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": part}, "configuration": {"historyLength": -1}}),
            -32602,
            Some("historyLength"),
        ),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": part}, "configuration": {"taskPushNotificationConfig": {"url": "http://169.254.169.254/"}}}),
            -32602,
            Some("url"),
        ),
        call(SCANNER, "GetTask", &json!({}), -32602, Some("id")),
        call(SCANNER, "GetTask", &json!({"id": 1}), -32602, Some("id")),
        call(SCANNER, "GetTask", &json!({"id": ""}), -32602, Some("id")),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "x".repeat(5000)}),
            -32602,
            Some("id"),
        ),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "../../etc/passwd"}),
            -32001,
            Some("id"),
        ),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "x", "historyLength": -3}),
            -32602,
            Some("historyLength"),
        ),
        call(
            SCANNER,
            "CancelTask",
            &json!({"id": "x"}),
            -32001,
            Some("id"),
        ),
        call(SCANNER, "CancelTask", &json!({}), -32602, Some("id")),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": 0}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": 101}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": "many"}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageToken": "nonsense"}),
            -32602,
            Some("pageToken"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"status": "DONE"}),
            -32602,
            Some("status"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"statusTimestampAfter": "yesterday"}),
            -32602,
            Some("statusTimestampAfter"),
        ),
        call(
            SCANNER,
            "SubscribeToTask",
            &json!({"id": "x"}),
            -32001,
            Some("id"),
        ),
        call(SCANNER, "SubscribeToTask", &json!({}), -32602, Some("id")),
        call(
            SCANNER,
            "SendStreamingMessage",
            &json!({}),
            -32602,
            Some("message"),
        ),
        call(
            SCANNER,
            "CreateTaskPushNotificationConfig",
            &json!({}),
            -32602,
            Some("url"),
        ),
        call(
            SCANNER,
            "DeleteTaskPushNotificationConfig",
            &json!({}),
            -32602,
            Some("taskId"),
        ),
    ]
}
