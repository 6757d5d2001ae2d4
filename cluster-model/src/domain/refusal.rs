//! The API's refusals, as Kubernetes words them.

use serde_json::{Value, json};

use super::kind::Kind;

/// A failed call: becomes a `Status` object.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason, for example `NotFound`.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// `details`: which object, which fields.
    pub details: Value,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        self
    }

    /// 404 for an object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.qualified());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// 404 for a path that is not served.
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 409 for a name that is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409 for an object that moved on.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            kind.qualified()
        );
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// 409 for a stale `resourceVersion`.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; \
                   please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 422 with one cause a field.
    pub fn invalid(kind: &Kind, name: &str, causes: &[(String, String)]) -> Self {
        let sentences: Vec<_> = causes
            .iter()
            .map(|(field, message)| format!("{field}: {message}"))
            .collect();
        let list = match sentences.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{}.{} {name:?} is invalid: {list}", kind.kind, kind.group);
        let message = message.replacen(". ", " ", 1);
        let mut refusal = Self::new(422, "Invalid", message);
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, message)| {
                json!({"reason": "FieldValueInvalid", "message": message, "field": field})
            })
            .collect();
        refusal.details =
            json!({"name": name, "group": kind.group, "kind": kind.kind, "causes": causes});
        refusal
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", kind.qualified());
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// 403 for a request to another name than loopback's.
    pub fn foreign_host() -> Self {
        Self::new(403, "Forbidden", "the API is served on loopback only")
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 410 for a watch or list that starts before what is remembered.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 413 for an object that is nested too deeply.
    pub fn too_deep(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit} levels");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 422 for a patch that does not fit.
    pub fn unprocessable(message: &str) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 500 for a full store, as etcd says it.
    pub fn full() -> Self {
        let message = "etcdserver: mvcc: database space exceeded";
        Self::new(500, "InternalError", message)
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let (false, Some(members)) = (self.details.is_null(), status.as_object_mut()) {
            members.insert("details".to_owned(), self.details.clone());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::{DEPLOYMENTS, PODS};

    /// Bodies as kube-apiserver 1.36 writes them.
    #[test]
    fn words_its_refusals_as_kubernetes_does() {
        assert_eq!(
            Refusal::not_found(&DEPLOYMENTS, "web").to_status(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
            })
        );
        assert_eq!(
            Refusal::modified(&DEPLOYMENTS, "web").message,
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been \
             modified; please apply your changes to the latest version and try again"
        );
        assert_eq!(
            Refusal::already_exists(&PODS, "web-0").message,
            "pods \"web-0\" already exists"
        );
        let cause = ("spec.replicas".to_owned(), "Invalid value: -1".to_owned());
        assert_eq!(
            Refusal::invalid(&DEPLOYMENTS, "web", std::slice::from_ref(&cause)).message,
            "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1"
        );
        assert_eq!(
            Refusal::invalid(&PODS, "web", &[cause]).message,
            "Pod \"web\" is invalid: spec.replicas: Invalid value: -1"
        );
    }
}
