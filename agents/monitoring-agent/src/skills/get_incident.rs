//! `get_incident`: one incident with evidence and timeline.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use crate::{domain::Incident, ledger::Ledger};

/// Longest id of an incident that is looked up.
const MAX_ID: usize = 64;

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
        let unknown = || SkillError::rejected("id", "the id of an incident", "an unknown id");
        if input.id.len() > MAX_ID {
            return Err(unknown());
        }
        let incident = self.0.get(&input.id).await?.ok_or_else(unknown)?;
        context.check_target(&incident.namespace)?;
        Ok(incident)
    }
}
