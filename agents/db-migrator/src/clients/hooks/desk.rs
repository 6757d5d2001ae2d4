//! Where the hooks of a run lie while it works.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Outlets;
use crate::domain::hooks::{Hook, RunKind};

/// Pause between two notes about a lock.
const LOCK_NOTE: Duration = Duration::from_secs(1);

/// The hooks of the run that works on one database. One is enough: a run holds the database's lock.
#[derive(Default)]
pub struct Desk {
    outlets: Arc<Outlets>,
    open: Mutex<Open>,
}

/// What a run has open.
#[derive(Debug, Clone, Default)]
struct Open {
    run: String,
    kind: Option<RunKind>,
    hooks: Arc<[Hook]>,
    backup_before: Option<String>,
    noted: Option<Instant>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk that reaches what these outlets allow.
    pub fn new(outlets: Arc<Outlets>) -> Self {
        Self {
            outlets,
            open: Mutex::default(),
        }
    }

    /// An empty desk that reaches the same.
    pub(in crate::clients) fn beside(&self) -> Self {
        Self::new(self.outlets.clone())
    }

    /// What hooks may reach.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// Lays out the hooks of a run.
    pub(crate) fn open(&self, run: &str, kind: RunKind, hooks: Vec<Hook>, backup: Option<String>) {
        *self.lock() = Open {
            run: run.to_owned(),
            kind: Some(kind),
            hooks: hooks.into(),
            backup_before: backup,
            noted: None,
        };
    }

    /// The hooks of this run, when there are any.
    pub(crate) fn hooks(&self, run: &str) -> Option<(RunKind, Arc<[Hook]>)> {
        let open = self.lock();
        let kind = open.kind.filter(|_| open.run == run)?;
        (!open.hooks.is_empty()).then(|| (kind, open.hooks.clone()))
    }

    /// Whether the backup is due before this migration.
    pub(crate) fn backs_up_before(&self, run: &str, version: &str) -> bool {
        let open = self.lock();
        open.run == run && open.backup_before.as_deref() == Some(version)
    }

    /// Whether a lock may be noted now: at most once a second.
    pub(crate) fn may_note(&self, now: Instant) -> bool {
        let mut open = self.lock();
        let due = open.noted.is_none_or(|last| now >= last + LOCK_NOTE);
        if due {
            open.noted = Some(now);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_a_lock_once_a_second() {
        let (desk, now) = (Desk::default(), Instant::now());
        assert!(desk.may_note(now) && !desk.may_note(now));
        assert!(desk.may_note(now + LOCK_NOTE));
    }
}
