//! JSON-RPC errors with structured data: what is wrong, where, and whether to try again.

use axum::http::StatusCode;
use jsonrpsee::types::ErrorObjectOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::SkillError;

/// `ErrorInfo.domain` of errors that A2A defines.
pub const A2A_DOMAIN: &str = "a2a-protocol.org";
/// `ErrorInfo.domain` of the mesh's own errors.
pub const MESH_DOMAIN: &str = "agent-mesh";

/// What went wrong; each kind has one code and one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The body is not JSON.
    Parse,
    /// Not a JSON-RPC request.
    InvalidRequest,
    /// No such method or skill.
    MethodNotFound,
    /// A field of the parameters is wrong.
    InvalidParams,
    /// Ours to mend.
    Internal,
    /// No such task, or not the caller's.
    TaskNotFound,
    /// The task has ended.
    TaskNotCancelable,
    /// This agent sends no push notifications.
    PushNotificationNotSupported,
    /// A2A defines it, this agent does not offer it.
    UnsupportedOperation,
    /// Wrong media type.
    ContentTypeNotSupported,
    /// The caller has to know an extension that it does not name.
    ExtensionSupportRequired,
    /// Another protocol version.
    VersionNotSupported,
    /// No edge, no approval, or not the caller's namespace.
    PermissionDenied,
    /// Who calls is unknown.
    Unauthenticated,
    /// Too many requests of this caller.
    RateLimited,
    /// Draining or full.
    Overloaded,
    /// The deadline passed.
    DeadlineExceeded,
    /// Something the skill needs did not answer.
    DependencyUnavailable,
    /// The key was used with another input.
    IdempotencyConflict,
    /// The skill ran and failed.
    TaskFailed,
    /// The task waits for an approval.
    TaskAuthRequired,
    /// The task was cancelled while the caller waited.
    TaskCanceled,
    /// The task waits for another message of the caller.
    TaskInputRequired,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body does not arrive.
    BodyTooSlow,
}

impl Kind {
    /// Code, reason and whether the same request may succeed later.
    fn row(self) -> (i32, &'static str, bool) {
        match self {
            Self::Parse => (-32700, "PARSE_ERROR", false),
            Self::InvalidRequest => (-32600, "INVALID_REQUEST", false),
            Self::MethodNotFound => (-32601, "METHOD_NOT_FOUND", false),
            Self::InvalidParams => (-32602, "INVALID_PARAMS", false),
            Self::Internal => (-32603, "INTERNAL", true),
            Self::TaskNotFound => (-32001, "TASK_NOT_FOUND", false),
            Self::TaskNotCancelable => (-32002, "TASK_NOT_CANCELABLE", false),
            Self::PushNotificationNotSupported => {
                (-32003, "PUSH_NOTIFICATION_NOT_SUPPORTED", false)
            }
            Self::UnsupportedOperation => (-32004, "UNSUPPORTED_OPERATION", false),
            Self::ContentTypeNotSupported => (-32005, "CONTENT_TYPE_NOT_SUPPORTED", false),
            Self::ExtensionSupportRequired => (-32008, "EXTENSION_SUPPORT_REQUIRED", false),
            Self::VersionNotSupported => (-32009, "VERSION_NOT_SUPPORTED", false),
            Self::PermissionDenied => (-32050, "PERMISSION_DENIED", false),
            Self::Unauthenticated => (-32050, "UNAUTHENTICATED", false),
            Self::RateLimited => (-32051, "RATE_LIMITED", true),
            Self::Overloaded => (-32052, "OVERLOADED", true),
            Self::DeadlineExceeded => (-32053, "DEADLINE_EXCEEDED", true),
            Self::DependencyUnavailable => (-32054, "DEPENDENCY_UNAVAILABLE", true),
            Self::IdempotencyConflict => (-32055, "IDEMPOTENCY_CONFLICT", false),
            Self::TaskFailed => (-32056, "TASK_FAILED", false),
            Self::TaskAuthRequired => (-32056, "TASK_AUTH_REQUIRED", false),
            Self::TaskCanceled => (-32056, "TASK_CANCELED", false),
            Self::TaskInputRequired => (-32056, "TASK_INPUT_REQUIRED", false),
            Self::BodyTooLarge => (-32600, "BODY_TOO_LARGE", false),
            Self::BodyTooSlow => (-32600, "BODY_TOO_SLOW", true),
        }
    }

    /// JSON-RPC error code.
    pub fn code(self) -> i32 {
        self.row().0
    }

    /// `ErrorInfo.reason`.
    pub fn reason(self) -> &'static str {
        self.row().1
    }

    fn is_a2a(self) -> bool {
        (-32009..=-32001).contains(&self.code())
    }
}

/// An error on its way to the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    message: String,
    metadata: Map<String, Value>,
    violation: Option<(String, String)>,
    /// Seconds after which a second try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Fault {
    /// A fault with a sentence for people.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            metadata: Map::new(),
            violation: None,
            retry_after: None,
        }
    }

    /// A wrong field of the parameters.
    pub fn field(field: &str, expected: &str, got: &str) -> Self {
        let mut fault = Self::new(
            Kind::InvalidParams,
            format!("{field}: expected {expected}, got {got}"),
        );
        fault.violation = Some((field.to_owned(), format!("expected {expected}, got {got}")));
        fault
            .with("field", field)
            .with("expected", expected)
            .with("got", got)
    }

    /// Adds a string to `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata
            .insert(key.to_owned(), Value::String(value.into()));
        self
    }

    /// Says when a second try makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Seconds after which a second try makes sense.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_after
            .or_else(|| (self.kind == Kind::Overloaded).then_some(1))
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// HTTP status of the answer: 200 except where HTTP itself must say it.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::PermissionDenied => StatusCode::FORBIDDEN,
            Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Kind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::OK,
        }
    }

    /// The JSON-RPC error object; `trace_id` lets the caller find the trace.
    pub fn object(&self, trace_id: Option<&str>) -> ErrorObjectOwned {
        let (code, reason, retryable) = self.kind.row();
        let mut metadata = self.metadata.clone();
        metadata.insert("retryable".into(), Value::String(retryable.to_string()));
        if let Some(trace_id) = trace_id {
            metadata
                .entry("trace_id")
                .or_insert_with(|| Value::String(trace_id.to_owned()));
        }
        let domain = if self.kind.is_a2a() {
            A2A_DOMAIN
        } else {
            MESH_DOMAIN
        };
        let mut data = vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain, "metadata": metadata,
        })];
        if let Some((field, description)) = &self.violation {
            data.push(json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": description}],
            }));
        }
        ErrorObjectOwned::owned(code, self.message.clone(), Some(data))
    }
}

impl From<&SkillError> for Fault {
    fn from(error: &SkillError) -> Self {
        let message = error.to_string();
        match error {
            SkillError::Rejected {
                field,
                expected,
                got,
            } => Self::field(field, expected, got),
            SkillError::Denied(_) => Self::new(Kind::PermissionDenied, message),
            SkillError::ApprovalRequired { plan_digest, .. } => {
                Self::new(Kind::TaskAuthRequired, message).with("plan_digest", plan_digest)
            }
            SkillError::InputRequired(_) => Self::new(Kind::TaskInputRequired, message),
            SkillError::Unavailable { dependency, .. } => {
                Self::new(Kind::DependencyUnavailable, chain(error)).with("dependency", *dependency)
            }
            SkillError::Failed { .. } => Self::new(Kind::TaskFailed, chain(error)),
            SkillError::Canceled => Self::new(Kind::TaskCanceled, message),
            SkillError::DeadlineExceeded => Self::new(Kind::DeadlineExceeded, message),
        }
    }
}

/// The error with its causes, bounded: causes come from databases and peers.
fn chain(error: &SkillError) -> String {
    let text = crate::telemetry::Chain(error).to_string();
    text.chars().take(2_000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_in_both_details() {
        let object =
            Fault::field("files[0].path", "a path below the workspace", "../x").object(Some("abc"));
        let data: Value = serde_json::from_str(object.data().unwrap().get()).unwrap();
        assert_eq!(object.code(), -32602);
        assert_eq!(data[0]["metadata"]["field"], "files[0].path");
        assert_eq!(data[0]["metadata"]["trace_id"], "abc");
        assert_eq!(data[1]["fieldViolations"][0]["field"], "files[0].path");
    }

    #[test]
    fn a2a_errors_carry_the_protocol_domain_and_ours_do_not() {
        for (kind, domain) in [
            (Kind::TaskNotFound, A2A_DOMAIN),
            (Kind::VersionNotSupported, A2A_DOMAIN),
            (Kind::RateLimited, MESH_DOMAIN),
        ] {
            let object = Fault::new(kind, "x").object(None);
            let data: Value = serde_json::from_str(object.data().unwrap().get()).unwrap();
            assert_eq!(data[0]["domain"], domain);
        }
    }
}
