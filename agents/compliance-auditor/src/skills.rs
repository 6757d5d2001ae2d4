//! The skills.

pub mod append_audit_records;
pub mod assess_compliance;
pub mod query_audit_trail;
pub mod verify_audit_trail;

pub use append_audit_records::AppendAuditRecords;
pub use assess_compliance::AssessCompliance;
pub use query_audit_trail::QueryAuditTrail;
pub use verify_audit_trail::VerifyAuditTrail;

use shared::SkillError;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A store that did not answer.
fn unavailable(error: store::StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

/// Reads an RFC 3339 time into the form that records have.
fn time_field(field: &str, text: Option<&str>) -> Result<Option<String>, SkillError> {
    let Some(text) = text else { return Ok(None) };
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| SkillError::rejected(field, "an RFC 3339 time", "another text"))?;
    Ok(Some(audit::record::timestamp(time)))
}

#[cfg(test)]
mod fixture;
