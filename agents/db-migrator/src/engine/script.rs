//! One half of a migration, and how it may be run.

use super::ledger::Steps;
use crate::{
    clients::Transaction,
    domain::{
        Dialect, Direction, MigrationRecord, StepRecord,
        lex::scan,
        statement::{Rename, Statement},
    },
};

/// Longer scripts are sent statement by statement, with progress between them.
const MAX_BATCH_BYTES: usize = 64 << 10;

/// One half of a migration, to be run.
#[derive(Debug)]
pub(super) struct Script<'a> {
    pub(super) migration: &'a MigrationRecord,
    pub(super) direction: Direction,
    pub(super) steps: Vec<StepRecord>,
    /// Whether the catalog is held against the proof. Within a run of ups once is enough: before the first one where that
    /// is read before, unless it just was when the plan was recorded; else at the commit of the last one.
    pub(super) verify: bool,
    /// Whether its commit may reach the disk with a later one of the same run: its ledger rows are in it, so that a crash
    /// of the server takes both or none.
    pub(super) flushes_later: bool,
    /// Whether SQLite's foreign keys are off while it runs.
    pub(super) foreign_keys_off: bool,
}

impl Script<'_> {
    pub(super) fn atomic(&self) -> bool {
        match self.direction {
            Direction::Up => self.migration.atomic.0,
            Direction::Down => self.migration.atomic.1,
            Direction::Undo => false,
        }
    }

    /// Whether the catalog is compared before the first statement: reading it after, under the lock of a table, would
    /// stop everybody who uses that table. What the statements then do was proven from this very catalog.
    pub(super) fn compares_before(&self, dialect: Dialect) -> bool {
        self.verify
            && self.atomic()
            && self.direction == Direction::Up
            && dialect == Dialect::Postgres
    }

    /// Whether its rows have to be measured before the commit.
    pub(super) fn is_measured(&self) -> bool {
        self.is_seeded() || !self.migration.touches.is_empty()
    }

    /// Whether what it adds holds something right after it.
    fn is_seeded(&self) -> bool {
        let mut additions = self.migration.additions.iter();
        self.direction == Direction::Up && additions.any(|measured| measured.addition.seeded)
    }

    /// Whether its statements look like they leave empty tables empty. A guess: the database tells.
    pub(super) fn only_defines(&self, statements: &[&str], dialect: Dialect) -> bool {
        const DEFINING: [&str; 6] = ["ALTER", "CREATE", "DROP", "COMMENT", "GRANT", "REVOKE"];
        let defines = |text: &&str| {
            let (tokens, _) = scan(text, dialect);
            let first = tokens.first();
            first.is_some_and(|first| DEFINING.iter().any(|word| first.is(word)))
        };
        !self.is_seeded() && statements.iter().all(defines)
    }

    /// Whether its statements can be sent at once: nothing has to be compared or followed before the commit.
    pub(super) fn fits_a_batch(&self, steps: &[&StepRecord], dialect: Dialect) -> bool {
        let compared = self.verify && self.expected().is_some() && !self.compares_before(dialect);
        let bytes: usize = steps.iter().map(|step| step.text.len()).sum();
        self.atomic() && !compared && bytes <= MAX_BATCH_BYTES && renames(steps, dialect).is_empty()
    }

    pub(super) fn transaction(&self, lock_timeout_ms: u64) -> Transaction {
        Transaction {
            lock_timeout_ms,
            foreign_keys_off: self.foreign_keys_off,
            flushes_later: self.flushes_later,
        }
    }

    /// The fingerprint that the shadow had after it.
    pub(super) fn expected(&self) -> Option<&str> {
        match self.direction {
            Direction::Up => Some(&self.migration.fingerprint_after),
            Direction::Down => self.migration.fingerprint_reverted.as_deref(),
            Direction::Undo => Some(&self.migration.fingerprint_before),
        }
    }

    pub(super) fn steps_of(&self, ordinal: Option<i64>) -> Steps {
        Steps {
            migration: self.migration.sequence,
            direction: self.direction,
            ordinal,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.migration.version, self.migration.name)
    }
}

/// What one transaction of a script runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) steps: &'a [&'a StepRecord],
    /// Whether the migration is done with it.
    pub(super) last: bool,
}

pub(super) fn is_key_switch(text: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Sqlite
        && text
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("pragma"))
        && classified(text, dialect).is_some_and(|statement| statement.foreign_key_switch)
}

pub(super) fn renames(steps: &[&StepRecord], dialect: Dialect) -> Vec<Rename> {
    steps
        .iter()
        .filter(|step| step.text.to_ascii_lowercase().contains("rename"))
        .filter_map(|step| classified(&step.text, dialect)?.rename)
        .collect()
}

fn classified(text: &str, dialect: Dialect) -> Option<Statement> {
    crate::domain::expand::classified(text, dialect)
}
