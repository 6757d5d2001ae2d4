//! `list_alerts`: what Alertmanager sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use crate::{
    domain::alert::{Alert, AlertState},
    webhooks::AlertLog,
};

/// Most alerts in one answer.
const MOST: usize = 500;
/// Alerts in one answer when the caller does not say.
const USUAL: usize = 50;

/// Lists alerts.
#[derive(Debug, Clone)]
pub struct ListAlerts(pub AlertLog);

/// Which alerts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only firing or only resolved ones; all when absent.
    #[serde(default)]
    pub state: Option<AlertState>,
    /// At most this many, 1 to 500; 50 when absent.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Alerts, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The alerts.
    pub alerts: Vec<Alert>,
}

impl Skill for ListAlerts {
    const ID: &'static str = "list_alerts";
    const NAME: &'static str = "List alerts";
    const DESCRIPTION: &'static str = "Lists alerts that Alertmanager sent, newest first: name, severity, labels, state and times.";
    const TAGS: &'static [&'static str] = &["alert", "alertmanager", "monitoring"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, _: &Context, input: Input) -> Result<Output, SkillError> {
        let limit = input.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(SkillError::rejected("limit", "1 to 500", limit.to_string()));
        }
        let alerts = self.0.list(input.state, limit).await?;
        Ok(Output { alerts })
    }
}
