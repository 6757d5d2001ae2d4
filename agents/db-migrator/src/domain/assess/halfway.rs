//! What a migration that stopped half way means for a rollback.

use super::Facts;
use crate::domain::{
    MigrationRecord, Verdict, Version,
    undo::{Halfway, HalfwayReport},
};

/// What stands of this migration, when it stopped half way and would be undone.
pub(super) fn undone<'a>(facts: &'a Facts, migration: &MigrationRecord) -> Option<&'a Halfway> {
    let (sequence, halfway) = facts.halfway.as_ref()?;
    (*sequence == migration.sequence).then_some(halfway)
}

/// A script that stopped half way is reverted by the inverses of its statements, whatever its down is like.
pub(super) fn verdict(facts: &Facts, migration: &MigrationRecord) -> Verdict {
    match undone(facts, migration) {
        None => migration.verdict,
        Some(halfway) if halfway.blocked().is_some() => Verdict::Irreversible,
        Some(_) => Verdict::Reversible,
    }
}

/// What answers show of it; absent when none of its statements has an inverse of its own.
pub(super) fn report(
    facts: &Facts,
    migration: &MigrationRecord,
    target: &Version,
) -> Option<HalfwayReport> {
    let halfway = undone(facts, migration)?;
    let blocked = halfway.blocked();
    Some(HalfwayReport {
        version: migration.version.to_string(),
        name: migration.name.clone(),
        applied: halfway.applied(),
        statements: halfway.steps.len() as u64,
        can_undo: migration.version > *target && blocked.is_none(),
        blocked_by: blocked.map(|(step, reason)| format!("{}: {reason}", step.named())),
    })
}

/// What speaks against undoing a script that stopped half way.
pub(super) fn against_undoing(
    migration: &MigrationRecord,
    halfway: &Halfway,
    now: &str,
) -> Option<String> {
    let name = format!("{} {}", migration.version, migration.name);
    if let Some((step, reason)) = halfway.blocked() {
        let step = step.named();
        return Some(format!(
            "{name} stopped half way, and {step} has no proven inverse ({reason}): finish it first with apply_migration"
        ));
    }
    let drifted = halfway.expected().is_some_and(|expected| expected != now);
    drifted.then(|| {
        format!("{name} stopped half way, and the catalog was changed since, so its proof no longer holds")
    })
}
