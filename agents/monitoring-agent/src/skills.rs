//! The skills of monitoring-agent, one a file.

pub mod acknowledge_incident;
pub mod check_health;
pub mod draft_postmortem;
pub mod evaluate_slo;
pub mod follow_incident;
pub mod get_incident;
pub mod list_alerts;
pub mod list_incidents;
pub mod measure_dora;

pub use acknowledge_incident::AcknowledgeIncident;
pub use check_health::CheckHealth;
pub use draft_postmortem::DraftPostmortem;
pub use evaluate_slo::EvaluateSlo;
pub use follow_incident::FollowIncident;
pub use get_incident::GetIncident;
pub use list_alerts::ListAlerts;
pub use list_incidents::ListIncidents;
pub use measure_dora::MeasureDora;

use shared::{Context, SkillError};

use crate::{domain::Incident, ledger::Ledger};

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Longest id of an incident that is looked up.
const MAX_ID: usize = 64;

/// The incident of an id, when the caller may see it.
async fn find(context: &Context, ledger: &Ledger, id: &str) -> Result<Incident, SkillError> {
    let unknown = || SkillError::rejected("id", "the id of an incident", "an unknown id");
    if id.len() > MAX_ID {
        return Err(unknown());
    }
    let incident = ledger.get(id).await?.ok_or_else(unknown)?;
    context.check_target(&incident.namespace)?;
    Ok(incident)
}

/// Refuses what cannot be the name of a Kubernetes object.
fn check_name(field: &str, name: &str) -> Result<(), SkillError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        let expected = "a Kubernetes name (a-z, 0-9, - and ., at most 253 characters)";
        Err(SkillError::rejected(field, expected, "another text"))
    }
}
