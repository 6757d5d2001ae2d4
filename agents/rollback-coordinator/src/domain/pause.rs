//! What became of the pause of GitOps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the pause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseState {
    /// Paused, waiting for Git.
    Paused,
    /// Going on: Git holds the good revision, somebody said so, or nothing was rolled back.
    Resumed,
    /// A later rollback holds it now.
    TakenOver,
}

/// The pause of GitOps for one rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// Where it stands.
    pub state: PauseState,
    /// Since when, RFC 3339.
    pub since: String,
    /// When a person has to look, RFC 3339.
    pub deadline: String,
    /// Whether that time has come.
    pub overdue: bool,
    /// What Git does not say yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}
