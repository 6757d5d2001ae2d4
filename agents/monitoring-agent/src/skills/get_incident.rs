//! `get_incident`: one incident with evidence and timeline.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use super::find;
use crate::{domain::Incident, ledger::Ledger};

/// Shows an incident.
#[derive(Debug, Clone)]
pub struct GetIncident(pub Ledger);

/// Which incident.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its id, for example `inc-3f9a0c51d2e8-1`.
    pub id: String,
}

impl Skill for GetIncident {
    const ID: &'static str = "get_incident";
    const NAME: &'static str = "Get an incident";
    const DESCRIPTION: &'static str = "Shows one incident: what was seen, what is to blame, what was asked of rollback-coordinator, and the timeline with durations.";
    const TAGS: &'static [&'static str] = &["incident", "monitoring"];

    type Input = Input;
    type Output = Incident;

    async fn run(&self, context: &Context, input: Input) -> Result<Incident, SkillError> {
        find(context, &self.0, &input.id).await
    }
}
