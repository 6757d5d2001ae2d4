use axum::body::Body;
use serde_json::Value;

use super::Call;
use crate::domain::Refusal;
use crate::domain::patch::Patch;

/// Largest body: 3 MiB, as kube-apiserver's.
const MAX_BODY: usize = 3 << 20;

pub(super) async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let bytes = axum::body::to_bytes(body, MAX_BODY).await;
    bytes
        .map(Into::into)
        .map_err(|_| Refusal::too_large(MAX_BODY))
}

impl Call {
    /// The body as one object.
    pub(super) fn object(&self) -> Result<Value, Refusal> {
        match self.media_type() {
            "application/json" | "" if !self.body.is_empty() => self.json(),
            "application/yaml" => self.yaml(),
            "application/json" | "" => {
                Err(Refusal::bad_request("the body of the request is empty"))
            }
            _ => Err(Refusal::unsupported_media_type(
                "application/json, application/yaml",
            )),
        }
    }

    /// The body as a patch.
    pub(super) fn patch(&self) -> Result<Patch, Refusal> {
        match self.media_type() {
            "application/json-patch+json" => self.json().map(Patch::Json),
            "application/merge-patch+json" => self.json().map(Patch::Merge),
            "application/strategic-merge-patch+json" => self.json().map(Patch::Strategic),
            "application/apply-patch+yaml" if self.query.field_manager.is_empty() => {
                let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: \
                               Required value: is required for apply patch";
                Err(Refusal::bad_request(message))
            }
            "application/apply-patch+yaml" => Ok(Patch::Apply {
                object: self.yaml()?,
                manager: self.query.field_manager.clone(),
            }),
            _ => Err(Refusal::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }

    fn media_type(&self) -> &str {
        self.content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
    }

    fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request(format!("cannot decode the body: {error}")))
    }

    fn yaml(&self) -> Result<Value, Refusal> {
        serde_saphyr::from_slice(&self.body).map_err(|error| {
            let error = error.without_snippet();
            Refusal::bad_request(format!("cannot decode the body: {error}"))
        })
    }
}
