//! The skills of monitoring-agent, one a file.

pub mod check_health;
pub mod get_incident;
pub mod list_alerts;
pub mod list_incidents;
pub mod measure_dora;

pub use check_health::CheckHealth;
pub use get_incident::GetIncident;
pub use list_alerts::ListAlerts;
pub use list_incidents::ListIncidents;
pub use measure_dora::MeasureDora;

use shared::SkillError;

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

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
