//! Whether the schema of a release is in force: what a new application waits for before it starts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MigrationRecord, MigrationState, RunRecord};

/// Where the schema of a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its migrations are in force.
    InForce,
    /// A run of it has begun and not ended.
    Applying,
    /// No run of it has completed.
    NotApplied,
    /// It was applied and has been rolled back since.
    RolledBack,
}

/// Judges a release from the runs, oldest first, and the migrations of a ledger. A newer schema does not end it: only a
/// rollback below its own newest migration does.
pub fn release_state(
    release: &str,
    runs: &[RunRecord],
    migrations: &[MigrationRecord],
) -> ReleaseState {
    let own = || {
        let named = runs.iter().rev();
        named.filter(|run| run.release.as_deref() == Some(release))
    };
    let completed = own().find(|run| run.outcome.as_deref() == Some("completed"));
    let Some(run) = completed else {
        return if own().any(|run| run.outcome.is_none()) {
            ReleaseState::Applying
        } else {
            ReleaseState::NotApplied
        };
    };
    let Some(head) = &run.head else {
        return ReleaseState::InForce;
    };
    let in_force = migrations.iter().any(|migration| {
        migration.state == MigrationState::Applied && migration.version.as_str() == head
    });
    if in_force {
        ReleaseState::InForce
    } else {
        ReleaseState::RolledBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Verdict, Version};

    fn run(release: &str, outcome: Option<&str>, head: Option<&str>) -> RunRecord {
        RunRecord {
            id: String::new(),
            kind: "apply".into(),
            plan_digest: String::new(),
            release: Some(release.into()),
            outcome: outcome.map(Into::into),
            head: head.map(Into::into),
            fingerprint: None,
            started_at: String::new(),
            finished_at: None,
        }
    }

    fn migration(version: &str, state: MigrationState) -> MigrationRecord {
        MigrationRecord {
            sequence: 1,
            version: Version::recorded(version.into()),
            name: String::new(),
            release: None,
            checksum: String::new(),
            verdict: Verdict::Reversible,
            evidence: vec![],
            state,
            run: String::new(),
            fingerprint_before: String::new(),
            fingerprint_after: String::new(),
            fingerprint_reverted: None,
            atomic: (true, true),
            foreign_keys_off: (false, false),
            additions: vec![],
            touches: vec![],
        }
    }

    #[test]
    fn follows_a_release_through_its_life() {
        let applied = [
            migration("1", MigrationState::Applied),
            migration("2", MigrationState::Applied),
        ];
        let reverted = [
            migration("1", MigrationState::Applied),
            migration("2", MigrationState::Reverted),
        ];
        let check = |runs: &[RunRecord], migrations: &[MigrationRecord], expected| {
            assert_eq!(release_state("1.1", runs, migrations), expected);
        };
        check(&[], &[], ReleaseState::NotApplied);
        check(
            &[run("1.1", Some("failed"), None)],
            &[],
            ReleaseState::NotApplied,
        );
        check(&[run("1.1", None, None)], &[], ReleaseState::Applying);
        let done = [
            run("1.0", Some("completed"), Some("1")),
            run("1.1", Some("completed"), Some("2")),
        ];
        check(&done, &applied, ReleaseState::InForce);
        check(&done, &reverted, ReleaseState::RolledBack);
        assert_eq!(
            release_state("1.0", &done, &applied),
            ReleaseState::InForce,
            "an older release goes on"
        );
        check(
            &[run("1.1", Some("completed"), None)],
            &[],
            ReleaseState::InForce,
        );
    }
}
