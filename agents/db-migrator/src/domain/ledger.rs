//! What the ledger inside a target database holds.

use super::{Inverse, Verdict, Version, proof::Addition};

/// Up, down, or back from half way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Applies.
    Up,
    /// Reverts.
    Down,
    /// Reverts what an up that stopped half way had applied, statement by statement.
    Undo,
}

impl Direction {
    /// The word in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Undo => "undo",
        }
    }

    /// The state of a migration while this half of it runs in more than one transaction.
    pub const fn running(self) -> MigrationState {
        match self {
            Self::Up => MigrationState::Applying,
            Self::Down => MigrationState::Reverting,
            Self::Undo => MigrationState::Undoing,
        }
    }

    /// The state of a migration after this half of it.
    pub const fn done(self) -> MigrationState {
        match self {
            Self::Up => MigrationState::Applied,
            Self::Down | Self::Undo => MigrationState::Reverted,
        }
    }
}

/// The life of a migration in the ledger: planned, applying, applied, reverting, reverted; undoing instead when it stopped
/// half way and goes back, or abandoned before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// Part of a run that has not come to it yet.
    Planned,
    /// Some of its statements committed: it cannot run in one transaction.
    Applying,
    /// In force.
    Applied,
    /// Some of its down statements committed.
    Reverting,
    /// It stopped half way, and its statements are reverted one by one.
    Undoing,
    /// Rolled back.
    Reverted,
    /// Its run ended before it began.
    Abandoned,
}

impl MigrationState {
    /// The word in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Reverting => "reverting",
            Self::Undoing => "undoing",
            Self::Reverted => "reverted",
            Self::Abandoned => "abandoned",
        }
    }

    /// Reads the ledger's word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Planned,
            Self::Applying,
            Self::Applied,
            Self::Reverting,
            Self::Undoing,
            Self::Reverted,
            Self::Abandoned,
        ];
        all.into_iter().find(|state| state.name() == word)
    }
}

/// The life of a statement in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Not run yet.
    Pending,
    /// About to run outside a transaction: in doubt until it is `Applied`.
    Intent,
    /// Run.
    Applied,
    /// About to be reverted outside a transaction: in doubt until it is `Reverted`.
    Reverting,
    /// Run, and reverted.
    Reverted,
}

impl StepState {
    /// The word in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Intent => "intent",
            Self::Applied => "applied",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
        }
    }

    /// Reads the ledger's word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Pending,
            Self::Intent,
            Self::Applied,
            Self::Reverting,
            Self::Reverted,
        ];
        all.into_iter().find(|state| state.name() == word)
    }
}

impl Direction {
    /// What the ledger notes of a statement of an up: seen from its inverse, an applied statement is one to be run.
    pub const fn noted(self, state: StepState) -> StepState {
        match (self, state) {
            (Self::Undo, StepState::Pending) => StepState::Applied,
            (Self::Undo, StepState::Intent) => StepState::Reverting,
            (Self::Undo, StepState::Applied) => StepState::Reverted,
            (_, state) => state,
        }
    }

    /// The opposite of [`Self::noted`].
    pub const fn read(self, noted: StepState) -> StepState {
        match (self, noted) {
            (Self::Undo, StepState::Applied) => StepState::Pending,
            (Self::Undo, StepState::Reverting) => StepState::Intent,
            (Self::Undo, StepState::Reverted) => StepState::Applied,
            (_, state) => state,
        }
    }

    /// The half whose statements it runs or reverts.
    pub const fn half(self) -> &'static str {
        match self {
            Self::Up | Self::Undo => "up",
            Self::Down => "down",
        }
    }
}

/// A migration as the ledger has it.
#[derive(Debug, Clone)]
pub struct MigrationRecord {
    /// Order of application, given by the database.
    pub sequence: i64,
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The release it came with.
    pub release: Option<String>,
    /// Checksum of its up text.
    pub checksum: String,
    /// What was proven about its down.
    pub verdict: Verdict,
    /// Where its down comes from.
    pub inverse: Inverse,
    /// The sentences of the proof.
    pub evidence: Vec<String>,
    /// Where it stands.
    pub state: MigrationState,
    /// The run that applied it.
    pub run: String,
    /// Fingerprint before up.
    pub fingerprint_before: String,
    /// Fingerprint after up.
    pub fingerprint_after: String,
    /// Fingerprint after down on the shadow; absent without a down that works.
    pub fingerprint_reverted: Option<String>,
    /// Halves that share one transaction: (up, down).
    pub atomic: (bool, bool),
    /// Halves that run with SQLite's foreign keys off: (up, down).
    pub foreign_keys_off: (bool, bool),
    /// What its rollback drops, with the rows that were there right after up.
    pub additions: Vec<MeasuredAddition>,
    /// Quoted tables of before whose rows it changes.
    pub touches: Vec<String>,
}

/// An addition and what it held right after the migration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MeasuredAddition {
    /// What was added.
    pub addition: Addition,
    /// Rows (of a table) or values other than null and the default (of a column) right after up.
    pub rows: u64,
    /// Digest of the table's rows right after up; empty for columns and large tables.
    pub digest: String,
}

impl MeasuredAddition {
    /// The baseline after a migration that found `before` and left `after`: what a migration writes is not at risk, what
    /// an application wrote before it stays so.
    #[must_use]
    pub fn shifted(&self, before: &Self, after: &Self) -> Self {
        let unchanged =
            self.rows == before.rows && (self.rows == 0 || self.digest == before.digest);
        let digest = if unchanged {
            after.digest.clone()
        } else {
            self.digest.clone()
        };
        let rows = (self.rows + after.rows).saturating_sub(before.rows);
        Self {
            addition: self.addition.clone(),
            rows,
            digest,
        }
    }
}

/// A statement as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// Place within its script, from 1.
    pub ordinal: i64,
    /// The SQL.
    pub text: String,
    /// Whether it may run inside a transaction.
    pub transactional: bool,
    /// Where it stands.
    pub state: StepState,
    /// Fingerprints around it, when it cannot run in a transaction.
    pub around: Option<(String, String)>,
}

/// A run as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The task that it is.
    pub id: String,
    /// `apply` or `rollback`.
    pub kind: String,
    /// The plan it follows.
    pub plan_digest: String,
    /// The release it brought, when the caller named one.
    pub release: Option<String>,
    /// How it ended; absent while it runs or when it crashed.
    pub outcome: Option<String>,
    /// Version in force at its end.
    pub head: Option<String>,
    /// Fingerprint of the catalog after its last commit.
    pub fingerprint: Option<String>,
    /// When it began, by the database's clock.
    pub started_at: String,
    /// When it ended, by the database's clock.
    pub finished_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_an_application_wrote_at_risk_over_a_migration() {
        let place = crate::domain::Place {
            table: "t".into(),
            column: None,
            default: None,
        };
        let measured = |rows, digest: &str| MeasuredAddition {
            addition: Addition {
                what: "table t".into(),
                place: place.clone(),
                columns: vec![],
                seeded: true,
            },
            rows,
            digest: digest.into(),
        };
        let untouched = measured(2, "a").shifted(&measured(2, "a"), &measured(5, "b"));
        assert_eq!((untouched.rows, untouched.digest.as_str()), (5, "b"));
        let written = measured(2, "a").shifted(&measured(3, "x"), &measured(6, "y"));
        assert_eq!(
            (written.rows, written.digest.as_str()),
            (5, "a"),
            "one row of six is the application's"
        );
    }

    #[test]
    fn reads_its_own_words() {
        for state in [
            MigrationState::Planned,
            MigrationState::Applying,
            MigrationState::Applied,
            MigrationState::Reverting,
            MigrationState::Undoing,
            MigrationState::Reverted,
            MigrationState::Abandoned,
        ] {
            assert_eq!(MigrationState::parse(state.name()), Some(state));
        }
        for state in [
            StepState::Pending,
            StepState::Intent,
            StepState::Applied,
            StepState::Reverting,
            StepState::Reverted,
        ] {
            assert_eq!(StepState::parse(state.name()), Some(state));
        }
        assert_eq!(
            (MigrationState::parse(""), StepState::parse("x")),
            (None, None)
        );
    }
}
