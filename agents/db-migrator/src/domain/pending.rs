//! Which migrations of a source a database still needs.

use super::{Migration, MigrationRecord, MigrationState, Version};

/// Why a source does not continue what a database has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PendingError {
    /// An applied migration's up script was edited.
    #[error("{version} was changed after it was applied: its checksum was {applied}, now {found}")]
    Changed {
        /// Which.
        version: Version,
        /// Checksum in the ledger.
        applied: String,
        /// Checksum of the source.
        found: String,
    },
    /// A migration older than the newest applied one was never applied: branches were merged out of order.
    #[error(
        "{missing} was never applied, but the newer {head} was: give it a version above {head}, or say out_of_order: run"
    )]
    OutOfOrder {
        /// Which.
        missing: Version,
        /// The newest applied version.
        head: Version,
    },
}

/// The migrations of `source` above everything that was applied, in order. The source may lack older ones.
///
/// # Errors
/// Every variant of [`PendingError`].
pub fn pending<'a>(
    source: &'a [Migration],
    ledger: &[MigrationRecord],
) -> Result<Vec<&'a Migration>, PendingError> {
    let in_force = ledger
        .iter()
        .filter(|record| record.state == MigrationState::Applied)
        .collect::<Vec<_>>();
    let head = in_force.iter().map(|record| &record.version).max();
    let mut found = Vec::new();
    for migration in source {
        match (
            in_force
                .iter()
                .find(|record| record.version == migration.version),
            head,
        ) {
            (Some(record), _) if record.checksum != migration.checksum => {
                return Err(PendingError::Changed {
                    version: migration.version.clone(),
                    applied: record.checksum.clone(),
                    found: migration.checksum.clone(),
                });
            }
            (Some(_), _) => {}
            (None, Some(head)) if migration.version < *head && !migration.may_run_late => {
                return Err(PendingError::OutOfOrder {
                    missing: migration.version.clone(),
                    head: head.clone(),
                });
            }
            (None, _) => found.push(migration),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Dialect, SourceFile, Verdict, source};

    fn migrations(files: &[(&str, &str)]) -> Vec<Migration> {
        let files = files
            .iter()
            .map(|(name, content)| SourceFile {
                name: (*name).into(),
                content: (*content).into(),
            })
            .collect::<Vec<_>>();
        source::read(&files, Dialect::Sqlite).unwrap()
    }

    fn applied(migration: &Migration) -> MigrationRecord {
        MigrationRecord {
            sequence: 1,
            version: migration.version.clone(),
            name: String::new(),
            release: None,
            checksum: migration.checksum.clone(),
            verdict: Verdict::Reversible,
            evidence: vec![],
            state: MigrationState::Applied,
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
    fn finds_what_is_above_the_head() {
        let source = migrations(&[
            ("1_a.sql", "create table a (x int)"),
            ("2_b.sql", "create table b (x int)"),
        ]);
        let versions = |ledger: &[MigrationRecord]| {
            pending(&source, ledger)
                .unwrap()
                .iter()
                .map(|m| m.version.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(versions(&[]), ["1", "2"]);
        assert_eq!(versions(&[applied(&source[0])]), ["2"]);
        let reverted = MigrationRecord {
            state: MigrationState::Reverted,
            ..applied(&source[1])
        };
        assert_eq!(versions(&[applied(&source[0]), reverted]), ["2"]);
    }

    #[test]
    fn refuses_edited_and_late_migrations() {
        let source = migrations(&[
            ("1_a.sql", "create table a (x int)"),
            ("2_b.sql", "create table b (x int)"),
        ]);
        assert!(matches!(
            pending(&source, &[applied(&source[1])]),
            Err(PendingError::OutOfOrder { .. })
        ));
        let mut late = migrations(&[("1_a.sql", "create table a (x int)")]);
        late[0].may_run_late = true;
        let newer = [applied(&source[1])];
        let found = pending(&late, &newer).unwrap();
        assert_eq!(found[0].version.as_str(), "1", "allowed to run late");
        let edited = MigrationRecord {
            checksum: "other".into(),
            ..applied(&source[0])
        };
        assert!(matches!(
            pending(&source, &[edited]),
            Err(PendingError::Changed { .. })
        ));
    }
}
