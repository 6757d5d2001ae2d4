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
/// A baseline migration is pending only where nothing was ever applied, and stands for all versions up to its own. A
/// repeatable one is pending when its text is another than when it last ran, and gets its place after everything else.
///
/// # Errors
/// Every variant of [`PendingError`].
pub fn pending(
    source: &[Migration],
    ledger: &[MigrationRecord],
) -> Result<Vec<Migration>, PendingError> {
    let in_force = ledger
        .iter()
        .filter(|record| record.state == MigrationState::Applied)
        .collect::<Vec<_>>();
    let head = in_force.iter().map(|record| &record.version).max();
    let baseline = source
        .iter()
        .filter(|migration| in_force.is_empty() && migration.version.baselined().is_some())
        .max_by(|left, right| left.version.cmp(&right.version));
    let floor = in_force
        .iter()
        .map(|record| &record.version)
        .chain(baseline.map(|migration| &migration.version))
        .filter_map(Version::baselined)
        .max();
    let mut found = baseline.cloned().into_iter().collect::<Vec<_>>();
    let versioned = source.iter().filter(|migration| is_versioned(migration));
    for migration in versioned {
        let version = &migration.version;
        let own = in_force.iter().find(|record| record.version == *version);
        match (own, head) {
            (Some(record), _) if record.checksum != migration.checksum => {
                return Err(PendingError::Changed {
                    version: version.clone(),
                    applied: record.checksum.clone(),
                    found: migration.checksum.clone(),
                });
            }
            (Some(_), _) => {}
            _ if floor.as_ref().is_some_and(|floor| version <= floor) => {}
            (None, Some(head)) if version < head && !migration.may_run_late => {
                return Err(PendingError::OutOfOrder {
                    missing: version.clone(),
                    head: head.clone(),
                });
            }
            (None, _) => found.push(migration.clone()),
        }
    }
    let newest = found.iter().map(|migration| &migration.version);
    let newest = newest.chain(head).max().cloned();
    found.extend(repeated(source, ledger, newest.as_ref()));
    Ok(found)
}

/// Whether its version alone says whether it has run.
fn is_versioned(migration: &Migration) -> bool {
    migration.version.repeats().is_none() && migration.version.baselined().is_none()
}

/// The repeatable migrations whose text changed, placed after the newest version.
fn repeated<'a>(
    source: &'a [Migration],
    ledger: &'a [MigrationRecord],
    newest: Option<&Version>,
) -> impl Iterator<Item = Migration> + use<'a> {
    let zero = Version::zero();
    let base = newest.unwrap_or(&zero).clone();
    let runs = ledger.iter().map(|record| &record.version);
    let runs = runs.filter(|version| version.has_base_of(&base));
    let run = runs.map(Version::run_after).max().unwrap_or_default() + 1;
    let changed = source.iter().filter(|migration| {
        let name = migration.version.repeats();
        name.is_some_and(|name| {
            last_run(ledger, name).is_none_or(|last| last.checksum != migration.checksum)
        })
    });
    changed.map(move |migration| Migration {
        version: migration.version.placed_after(Some(&base), run),
        ..migration.clone()
    })
}

/// The run of a repeatable migration that is in force.
pub fn last_run<'a>(ledger: &'a [MigrationRecord], name: &str) -> Option<&'a MigrationRecord> {
    let runs = ledger.iter().filter(|record| {
        record.state == MigrationState::Applied && record.version.repeats() == Some(name)
    });
    runs.max_by_key(|record| record.sequence)
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
            inverse: crate::domain::Inverse::Author,
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

    fn versions(source: &[Migration], ledger: &[MigrationRecord]) -> Vec<String> {
        let found = pending(source, ledger).unwrap();
        found.iter().map(|m| m.version.to_string()).collect()
    }

    #[test]
    fn runs_a_repeatable_again_when_its_text_changed() {
        let views = |text: &'static str| {
            migrations(&[
                ("V1__a.sql", "create table a (x int)"),
                ("V2__b.sql", "create table b (x int)"),
                ("R__one.sql", text),
                ("R__two.sql", "select 2"),
            ])
        };
        let source = views("select 1");
        let all = pending(&source, &[]).unwrap();
        assert_eq!(versions(&source, &[]), ["1", "2", "2.R1.one", "2.R1.two"]);
        let ledger = (1..)
            .zip(&all)
            .map(|(sequence, migration)| MigrationRecord {
                sequence,
                ..applied(migration)
            });
        let mut ledger = ledger.collect::<Vec<_>>();
        assert!(versions(&source, &ledger).is_empty());
        let changed = views("select 11");
        assert_eq!(versions(&changed, &ledger), ["2.R2.one"]);
        let again = pending(&changed, &ledger).unwrap().remove(0);
        ledger.push(MigrationRecord {
            sequence: 5,
            ..applied(&again)
        });
        assert!(versions(&changed, &ledger).is_empty());
        assert_eq!(last_run(&ledger, "one").unwrap().sequence, 5);
        // The text of before is another change, and so it is after a rollback.
        assert_eq!(versions(&source, &ledger), ["2.R3.one"]);
        ledger[4].state = MigrationState::Reverted;
        assert!(versions(&source, &ledger).is_empty());
        assert_eq!(versions(&changed, &ledger), ["2.R3.one"]);
    }

    #[test]
    fn starts_an_empty_database_with_the_newest_baseline() {
        let source = migrations(&[
            ("V1__a.sql", "create table a (x int)"),
            (
                "B2__ab.sql",
                "create table a (x int); create table b (x int)",
            ),
            ("B1__a.sql", "create table a (x int)"),
            ("V2__b.sql", "create table b (x int)"),
            ("V3__c.sql", "create table c (x int)"),
        ]);
        assert_eq!(versions(&source, &[]), ["2.baseline", "3"]);
        let baseline = source.iter().find(|m| m.name == "ab").unwrap();
        assert_eq!(versions(&source, &[applied(baseline)]), ["3"]);
        // Where anything was applied a baseline has nothing to say.
        assert_eq!(versions(&source, &[applied(&source[0])]), ["2", "3"]);
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
