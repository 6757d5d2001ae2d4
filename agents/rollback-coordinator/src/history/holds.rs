//! Rollbacks that still hold something or are not yet recorded: an index, so that nothing stays because nobody remembers.

use shared::SkillError;
use store::{Scan, Write};

use super::{History, entry, put, unavailable};
use crate::domain::Journal;

const HOLDING: &str = "rollbacks_holding";
/// Most rollbacks that one sweep looks at.
const MOST: usize = 1000;

/// The write that keeps the index true.
pub(super) fn index(journal: &Journal) -> Write {
    let key = journal.rollback_id.clone();
    if journal.holds_something() || journal.owes_record() {
        Write::Put {
            collection: HOLDING,
            entry: entry(key, Vec::new()),
        }
    } else {
        Write::Delete {
            collection: HOLDING,
            key,
        }
    }
}

impl History {
    /// Keeps a journal together with whether it holds something.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep_holds(&self, journal: &Journal) -> Result<(), SkillError> {
        let batch = vec![put(journal)?, index(journal)];
        self.0.submit(batch).await.map_err(unavailable)
    }

    /// Keeps a journal of which GitLab knows now, and the commit that it left as quarantined.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep_record(&self, journal: &Journal) -> Result<(), SkillError> {
        let mut batch = vec![put(journal)?, index(journal)];
        if journal.has_left() {
            batch.extend(super::quarantine::writes(journal));
        }
        self.0.submit(batch).await.map_err(unavailable)
    }

    /// The journals of all rollbacks that hold something, or that GitLab has to hear of.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn holding(&self) -> Result<Vec<Journal>, SkillError> {
        let scan = Scan {
            collection: HOLDING,
            keys_only: true,
            limit: MOST,
            ..Scan::default()
        };
        let mut journals = Vec::new();
        for entry in self.0.scan(scan).await.map_err(unavailable)? {
            journals.extend(self.journal(&entry.key).await?);
        }
        Ok(journals)
    }
}
