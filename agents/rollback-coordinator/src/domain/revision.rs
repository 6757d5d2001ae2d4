//! Revisions of a workload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Pod template annotation that names the database of a release.
pub const DATABASE_ANNOTATION: &str = "ossa.io/database";
/// Pod template annotation with the schema version that a release needs.
pub const SCHEMA_ANNOTATION: &str = "ossa.io/schema-version";
/// Label by which the workload controller tells templates apart; no part of a template itself.
pub const HASH_LABEL: &str = "pod-template-hash";

/// What is known of a revision's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All its pods were ready at some time since this agent watches, or are now.
    Healthy,
    /// It was never seen with all pods ready.
    NeverHealthy,
    /// A rollback left it because it was bad.
    Quarantined,
}

/// One revision: a `ReplicaSet` or a `ControllerRevision`, and its template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number: in `deployment.kubernetes.io/revision`, or of the `ControllerRevision`.
    pub number: u64,
    /// Name of its object, which stays when it comes back under another number.
    pub name: String,
    /// Pods it should have now; those it has where nobody says.
    pub replicas: u32,
    /// Pods ready now.
    pub ready: u32,
    /// What is known of its health.
    pub health: Health,
    /// Its pod template, without the controller's hash label.
    pub template: Value,
    /// When it was created, RFC 3339.
    pub created: Option<String>,
}

impl Revision {
    /// Images of its containers.
    pub fn images(&self) -> Vec<String> {
        let containers = self
            .template
            .pointer("/spec/containers")
            .and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .filter_map(|c| c.get("image")?.as_str().map(str::to_owned))
            .collect()
    }

    /// Database and schema version that its template declares.
    pub fn schema(&self) -> Option<(String, String)> {
        let annotation = |name: &str| {
            self.template
                .pointer("/metadata/annotations")?
                .get(name)?
                .as_str()
                .map(str::to_owned)
        };
        Some((
            annotation(DATABASE_ANNOTATION)?,
            annotation(SCHEMA_ANNOTATION)?,
        ))
    }
}
