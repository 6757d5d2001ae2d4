//! Whatever bytes come: the codec never panics, refuses with the codes of JSON-RPC, and loses nothing of what it reads.
//! The laws are those of the fuzzer (`shared/fuzz`); here the input is random from a fixed seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

#[path = "../fuzz/checks.rs"]
mod checks;

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::RngSeed};
use serde_json::{Value, json};

const PARSE: Result<(), i32> = Err(-32700);
const INVALID: Result<(), i32> = Err(-32600);

/// Bodies from which others are made: every method's parameters, every kind of answer.
fn documents() -> Vec<Value> {
    let message = json!({"messageId": "m", "role": "ROLE_USER", "contextId": "c", "taskId": null, "extensions": ["e"],
        "parts": [{"text": "a\u{1f600}\"\\"}, {"data": {"n": [1, -2.5e-7, null, true]}}, {"raw": "AA=="}], "metadata": {"k": {}}});
    let status = json!({"state": "TASK_STATE_WORKING", "message": message, "timestamp": "2026-01-02T03:04:05.678Z"});
    let artifact = json!({"artifactId": "a", "parts": [{"data": null}, {"url": "https://example.com"}], "name": "n"});
    let task = json!({"id": "t", "contextId": "c", "status": status, "artifacts": [artifact], "history": [message]});
    let push = json!({"id": "p", "taskId": "t", "url": "https://example.com", "token": "x",
        "authentication": {"scheme": "Bearer", "credentials": "y"}});
    let send = json!({"message": message, "configuration": {"historyLength": 3, "returnImmediately": true,
        "acceptedOutputModes": ["text/plain"], "taskPushNotificationConfig": push}});
    let update = json!({"taskId": "t", "contextId": "c", "artifact": artifact, "append": true, "lastChunk": false});
    let card = json!({"name": "n", "description": "d", "version": "1", "capabilities": {"streaming": true, "extensions": [{"uri": "u"}]},
        "supportedInterfaces": [{"url": "u", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "securitySchemes": {"m": {"mtlsSecurityScheme": {}}}, "securityRequirements": [{"schemes": {"m": {"list": ["a"]}}}],
        "defaultInputModes": [], "defaultOutputModes": [], "skills": [{"id": "s", "name": "S", "description": "d", "tags": ["t"]}]});
    let call = |id: Value, method: &str, params: &Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    vec![
        call(json!(1), "SendMessage", &send),
        call(
            json!("a"),
            "GetTask",
            &json!({"id": "t", "historyLength": 0}),
        ),
        call(
            Value::Null,
            "ListTasks",
            &json!({"status": "TASK_STATE_FAILED", "pageSize": 5}),
        ),
        json!({"jsonrpc": "2.0", "method": "note"}),
        json!({"task": task}),
        json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": status, "metadata": {"progress": 1}}}),
        json!({"artifactUpdate": update}),
        json!({"tasks": [task], "nextPageToken": "", "pageSize": 50, "totalSize": 1}),
        json!({"configs": [push], "nextPageToken": "n"}),
        send,
        task,
        message,
        artifact,
        push,
        card,
    ]
}

/// Pieces of text that parsers stumble over.
const PIECES: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "0",
    "-0",
    "-0.0",
    "1e999",
    "-1E-999",
    "1.5",
    "18446744073709551616",
    "0.1000000000000000055511151231257827",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u0000\"",
    "\"id\":",
    "\"jsonrpc\":\"2.0\",",
    "\"method\":\"x\",",
    "\"params\":",
    "\"task\":",
    "\"data\":",
    "\u{feff}",
];

/// A change to a body.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, &'static str),
    Cut(Index, usize),
    /// The piece from one place, again at another.
    Repeat(Index, usize, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let piece = |bytes: &[u8], at: &Index, length: usize| {
            let from = at.index(bytes.len() + 1);
            from..(from + length).min(bytes.len())
        };
        match self {
            Self::Set(at, byte) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..(at + 1).min(bytes.len()), [*byte]);
            }
            Self::Insert(at, text) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, text.bytes());
            }
            Self::Cut(at, length) => {
                let range = piece(bytes, at, *length);
                bytes.drain(range);
            }
            Self::Repeat(at, length, to) => {
                let copy = bytes[piece(bytes, at, *length)].to_vec();
                let to = to.index(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), prop::sample::select(&PIECES[..]))
            .prop_map(|(at, text)| Change::Insert(at, text)),
        (place(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (place(), 1..40_usize, place()).prop_map(|(at, length, to)| Change::Repeat(at, length, to)),
    ]
}

/// A leaf or branch of any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Replaces the nth value in a document, counted from the outside in.
fn replace(document: &mut Value, nth: &mut usize, new: &Value) {
    if *nth == 0 {
        *document = new.clone();
    }
    *nth = nth.wrapping_sub(1);
    match document {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, nth, new)),
        Value::Object(members) => members.values_mut().for_each(|it| replace(it, nth, new)),
        _ => {}
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2026),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        checks::all(&bytes);
    }

    #[test]
    fn any_pieces_are_survived(pieces in vec(prop::sample::select(&PIECES[..]), 0..30)) {
        checks::all(pieces.concat().as_bytes());
    }

    #[test]
    fn damaged_documents_are_survived(
        document in prop::sample::select(documents()), changes in vec(change(), 1..6),
    ) {
        let mut bytes = serde_json::to_vec(&document).unwrap();
        for change in &changes {
            change.apply(&mut bytes);
        }
        checks::all(&bytes);
    }

    #[test]
    fn documents_with_something_else_in_them_are_survived(
        document in prop::sample::select(documents()), mut place in 0..60_usize, new in any_json(),
    ) {
        let mut document = document;
        replace(&mut document, &mut place, &new);
        checks::all(&serde_json::to_vec(&document).unwrap());
    }

    #[test]
    fn a_request_is_taken_whatever_its_parameters(id in any::<i64>(), method in any::<String>(), params in any_json()) {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let written = checks::envelope(&serde_json::to_vec(&request).unwrap()).unwrap();
        let again: Value = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&again["id"], &request["id"]);
        prop_assert_eq!(&again["method"], &request["method"]);
        prop_assert_eq!(again.get("params").unwrap_or(&Value::Null), &request["params"]);
    }

    #[test]
    fn nesting_is_limited_wherever_it_is(levels in 0..300_usize, object in any::<bool>()) {
        let (open, close) = if object { ("{\"a\":", "}") } else { ("[", "]") };
        let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{deep}}}"#);
        let read = checks::envelope(body.as_bytes()).map(|_| ());
        prop_assert_eq!(read, if levels < 64 { Ok(()) } else { INVALID });
        checks::wire(format!(r#"{{"data":{deep}}}"#).as_bytes());
        checks::wire(open.repeat(levels * 100).as_bytes());
    }
}

#[test]
fn the_documents_are_what_they_seem() {
    let requests = documents()
        .into_iter()
        .filter(|it| it.get("jsonrpc").is_some());
    let mut count = 0;
    for request in requests {
        checks::envelope(request.to_string().as_bytes()).unwrap();
        count += 1;
    }
    assert_eq!(count, 4);
    let is = |at: usize| documents()[at].clone();
    serde_json::from_value::<a2a::types::StreamResponse>(is(4)).unwrap();
    serde_json::from_value::<a2a::types::StreamResponse>(is(6)).unwrap();
    serde_json::from_value::<a2a::types::SendMessageRequest>(is(9)).unwrap();
    serde_json::from_value::<a2a::card::AgentCard>(is(14)).unwrap();
}

#[test]
fn odd_requests_are_refused_with_the_right_code() {
    let invalid_utf8 =
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":\"\xff\"}}";
    assert_eq!(checks::envelope(invalid_utf8).map(|_| ()), PARSE);
    for (body, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, INVALID),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}"#,
            INVALID,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"a":2}}"#,
            Ok(()),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, INVALID),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\ud800"}}"#,
            Ok(()),
        ),
        (
            r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"x"}"#,
            Ok(()),
        ),
        (r#"{"jsonrpc":"2.0","id":1e2,"method":"x"}"#, INVALID),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1e999}}"#,
            Ok(()),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x"} {}"#, PARSE),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x",}"#, PARSE),
        ("\u{feff}{}", PARSE),
        ("[[1]]", INVALID),
        ("null", INVALID),
    ] {
        assert_eq!(
            checks::envelope(body.as_bytes()).map(|_| ()),
            expected,
            "{body}"
        );
    }
}
