//! The laws of the codec, for the fuzzer and for the test `codec` of `shared`. A broken law panics.

use std::fmt::Debug;

use a2a::{card, types};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use shared::testing::parse_envelope;

/// Checks bytes as an envelope and as every wire type.
pub(crate) fn all(bytes: &[u8]) {
    drop(envelope(bytes));
    wire(bytes);
}

/// What the envelope parser says: a request written again, or the code of its refusal.
///
/// A request is the same when it is read again, and has the members that any JSON parser finds in it.
pub(crate) fn envelope(bytes: &[u8]) -> Result<String, i32> {
    let parsed = parse_envelope(bytes);
    match &parsed {
        Ok(written) => {
            assert_eq!(parse_envelope(written.as_bytes()).as_ref(), Ok(written));
            // Not all JSON fits into a `Value`: numbers may be too large, and surrogates alone.
            if let Ok(members) = serde_json::from_slice::<Map<String, Value>>(bytes) {
                let known = ["jsonrpc", "id", "method", "params"];
                let members: Map<String, Value> = members
                    .into_iter()
                    .filter(|(name, value)| {
                        known.contains(&name.as_str()) && !(name == "params" && value.is_null())
                    })
                    .collect();
                let again = serde_json::from_str::<Map<String, Value>>(written).ok();
                assert_eq!(again, Some(members));
            }
        }
        Err(-32700) => assert!(
            serde_json::from_slice::<Value>(bytes).is_err(),
            "JSON is called none"
        ),
        Err(code) => assert_eq!(*code, -32600),
    }
    parsed
}

/// Reads bytes as every wire type.
pub(crate) fn wire(bytes: &[u8]) {
    same_again::<types::SendMessageRequest>(bytes);
    same_again::<types::SendMessageResponse>(bytes);
    same_again::<types::StreamResponse>(bytes);
    same_again::<types::Task>(bytes);
    same_again::<types::Message>(bytes);
    same_again::<types::Artifact>(bytes);
    same_again::<types::Part>(bytes);
    same_again::<types::GetTaskRequest>(bytes);
    same_again::<types::ListTasksRequest>(bytes);
    same_again::<types::ListTasksResponse>(bytes);
    same_again::<types::CancelTaskRequest>(bytes);
    same_again::<types::TaskIdRequest>(bytes);
    same_again::<types::PushConfig>(bytes);
    same_again::<types::PushConfigRequest>(bytes);
    same_again::<types::ListPushConfigsRequest>(bytes);
    same_again::<types::ListPushConfigsResponse>(bytes);
    same_again::<card::AgentCard>(bytes);
}

/// What can be read can be written, and is then read as the same.
fn same_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(first) = serde_json::from_slice::<T>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&first).expect("what was read can be written");
    let second: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(second, first);
}
