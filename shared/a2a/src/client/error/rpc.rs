//! JSON-RPC errors with the details that A2A puts into them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::HttpAnswer;

/// A field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FieldViolation {
    /// Which one.
    #[serde(default)]
    pub field: String,
    /// What is wrong with it.
    #[serde(default)]
    pub description: String,
}

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{agent} answered {code}: {message}")]
pub struct RpcError {
    /// Who: the agent's URL.
    pub agent: String,
    /// The code.
    pub code: i64,
    /// For people.
    pub message: String,
    /// `ErrorInfo.reason`, for example `TASK_NOT_FOUND`.
    pub reason: Option<String>,
    /// `ErrorInfo.domain`: whose reason that is.
    pub domain: Option<String>,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `BadRequest.fieldViolations`.
    pub violations: Vec<FieldViolation>,
    /// All of `error.data`.
    pub data: Option<Value>,
    /// The HTTP answer around it.
    pub http: HttpAnswer,
}

/// The error object on the wire.
#[derive(Debug, Deserialize)]
pub(in crate::client) struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    #[serde(default, rename = "@type")]
    kind: String,
    reason: Option<String>,
    domain: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    field_violations: Vec<FieldViolation>,
}

impl RpcError {
    /// Reads the details that the protocol defines; others stay in `data`.
    pub(in crate::client) fn new(agent: &str, error: ErrorObject, http: HttpAnswer) -> Self {
        let ErrorObject {
            code,
            message,
            data,
        } = error;
        let details: Vec<Detail> = match &data {
            Some(Value::Array(details)) => details
                .iter()
                .filter_map(|detail| Detail::deserialize(detail).ok())
                .collect(),
            _ => Vec::new(),
        };
        let mut read = Self {
            agent: agent.to_owned(),
            code,
            message,
            reason: None,
            domain: None,
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            data,
            http,
        };
        for detail in details {
            match detail.kind.rsplit('/').next() {
                Some("google.rpc.ErrorInfo") => {
                    read.reason = detail.reason;
                    read.domain = detail.domain;
                    read.metadata = detail.metadata;
                }
                Some("google.rpc.BadRequest") => read.violations.extend(detail.field_violations),
                _ => {}
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    use super::*;

    fn ok() -> HttpAnswer {
        HttpAnswer::new(StatusCode::OK, &HeaderMap::new())
    }

    #[test]
    fn reads_the_details_of_an_error() {
        let error = serde_json::from_value(json!({
            "code": -32602, "message": "bad", "data": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID", "domain": "a2a-protocol.org",
                 "metadata": {"field": "message"}},
                {"@type": "type.googleapis.com/google.rpc.BadRequest",
                 "fieldViolations": [{"field": "message.parts", "description": "at least one"}]},
                {"@type": "type.googleapis.com/google.rpc.Help"}, 5,
            ],
        }));
        let error = RpcError::new("agent", error.unwrap(), ok());
        assert_eq!(error.to_string(), "agent answered -32602: bad");
        assert_eq!(error.reason.as_deref(), Some("INVALID"));
        assert_eq!(error.domain.as_deref(), Some("a2a-protocol.org"));
        assert_eq!(error.metadata["field"], "message");
        assert_eq!(error.violations[0].field, "message.parts");
        assert_eq!(error.data.unwrap().as_array().unwrap().len(), 4);
    }

    #[test]
    fn takes_errors_with_other_data() {
        for data in [json!(null), json!("text"), json!({"taskId": "t"})] {
            let error = json!({"code": -32001, "message": "no", "data": data});
            let error = serde_json::from_value(error).unwrap();
            let error = RpcError::new("agent", error, ok());
            assert_eq!((error.code, error.reason), (-32001, None));
        }
    }
}
