//! What this agent remembers: healthy and quarantined revisions, journals, locks.

use std::sync::Arc;

use shared::SkillError;
use store::{Entry, Scan, Store, StoreError, Write};

use crate::domain::{Health, Journal, Revision, Workload};

const HEALTHY: &str = "healthy_revisions";
const QUARANTINE: &str = "quarantined_revisions";
const JOURNALS: &str = "rollback_journals";
const LOCKS: &str = "rollback_locks";

/// The agent's memory of rollouts.
#[derive(Debug, Clone)]
pub struct History(pub Arc<dyn Store>);

fn unavailable(error: StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

fn entry(key: String, body: Vec<u8>) -> Entry {
    Entry {
        key,
        scope: String::new(),
        sort: String::new(),
        version: 0,
        body,
    }
}

/// Revisions keep their names over rollbacks, but not their numbers.
fn revision_key(workload: &Workload, revision: &Revision) -> String {
    format!("{}/{}", workload.uid, revision.name)
}

impl History {
    /// Adds what is remembered to what can be seen of a workload's revisions.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn complete(&self, mut workload: Workload) -> Result<Workload, SkillError> {
        let keys: Vec<String> = workload
            .revisions
            .iter()
            .map(|revision| revision_key(&workload, revision))
            .collect();
        for (revision, key) in workload.revisions.iter_mut().zip(keys) {
            if self
                .0
                .get(QUARANTINE, &key)
                .await
                .map_err(unavailable)?
                .is_some()
            {
                revision.health = Health::Quarantined;
            } else if self
                .0
                .get(HEALTHY, &key)
                .await
                .map_err(unavailable)?
                .is_some()
            {
                revision.health = Health::Healthy;
            }
        }
        Ok(workload)
    }

    /// Remembers every revision that is healthy now. The newest one counts only once it has all the workload's
    /// pods: a bad release may well have one ready pod in the middle of its rollout.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn learn(&self, workload: &Workload) -> Result<(), SkillError> {
        let current = workload.current().map(|revision| revision.number);
        let whole = |revision: &Revision| {
            !workload.paused && workload.replicas > 0 && revision.ready >= workload.replicas
        };
        let healthy = workload
            .revisions
            .iter()
            .filter(|revision| revision.health == Health::Healthy);
        let healthy =
            healthy.filter(|revision| Some(revision.number) != current || whole(revision));
        let batch: Vec<Write> = healthy
            .map(|revision| Write::Put {
                collection: HEALTHY,
                entry: entry(revision_key(workload, revision), Vec::new()),
            })
            .collect();
        if batch.is_empty() {
            Ok(())
        } else {
            self.0.submit(batch).await.map_err(unavailable)
        }
    }

    /// Takes the workload's lock for a rollback; taking it again is fine.
    ///
    /// # Errors
    /// `Failed` when another rollback holds it.
    pub async fn lock(&self, workload: &str, rollback_id: &str) -> Result<(), SkillError> {
        let insert = Write::Insert {
            collection: LOCKS,
            entry: entry(workload.to_owned(), rollback_id.as_bytes().to_vec()),
        };
        match self.0.submit(vec![insert]).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => match self.holder(workload).await? {
                Some(holder) if holder == rollback_id => Ok(()),
                holder => Err(SkillError::failed(format!(
                    "rollback {} of {workload} is still running",
                    holder.unwrap_or_default()
                ))),
            },
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Keeps a running journal.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep(&self, journal: &Journal) -> Result<(), SkillError> {
        self.0
            .submit(vec![put(journal)?])
            .await
            .map_err(unavailable)
    }

    /// Keeps the end of a journal; in the same write its lock goes, and a bad revision that was left is quarantined.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn end(&self, journal: &Journal) -> Result<(), SkillError> {
        let mut batch = vec![put(journal)?];
        let key = lock_key(journal);
        if self
            .holder(&key)
            .await?
            .is_some_and(|holder| holder == journal.rollback_id)
        {
            batch.push(Write::Delete {
                collection: LOCKS,
                key,
            });
        }
        if journal.has_left() {
            let key = format!("{}/{}", journal.origin.uid, journal.origin.from_name);
            batch.push(Write::Put {
                collection: QUARANTINE,
                entry: entry(key, Vec::new()),
            });
        }
        self.0.submit(batch).await.map_err(unavailable)
    }

    /// The rollback that holds a workload's lock.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn holder(&self, workload: &str) -> Result<Option<String>, SkillError> {
        let lock = self.0.get(LOCKS, workload).await.map_err(unavailable)?;
        Ok(lock.map(|entry| String::from_utf8_lossy(&entry.body).into_owned()))
    }

    /// A journal by the id of its rollback.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn journal(&self, rollback_id: &str) -> Result<Option<Journal>, SkillError> {
        let entry = self
            .0
            .get(JOURNALS, rollback_id)
            .await
            .map_err(unavailable)?;
        entry
            .map(|entry| {
                serde_json::from_slice(&entry.body)
                    .map_err(|e| SkillError::failed_with("cannot read the journal", e))
            })
            .transpose()
    }

    /// The newest journals, newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn journals(&self, limit: usize) -> Result<Vec<Journal>, SkillError> {
        let scan = Scan {
            collection: JOURNALS,
            descending: true,
            keys_only: false,
            limit,
            ..Scan::default()
        };
        let entries = self.0.scan(scan).await.map_err(unavailable)?;
        Ok(entries
            .iter()
            .filter_map(|entry| serde_json::from_slice(&entry.body).ok())
            .collect())
    }
}

fn put(journal: &Journal) -> Result<Write, SkillError> {
    let body = serde_json::to_vec(journal)
        .map_err(|e| SkillError::failed_with("cannot encode the journal", e))?;
    let entry = Entry {
        sort: journal.started_at.clone(),
        ..entry(journal.rollback_id.clone(), body)
    };
    Ok(Write::Put {
        collection: JOURNALS,
        entry,
    })
}

/// Key of the lock of a journal's workload.
pub fn lock_key(journal: &Journal) -> String {
    journal.plan.id().to_string()
}
