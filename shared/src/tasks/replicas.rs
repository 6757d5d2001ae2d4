//! Several replicas on one store: who is alive, whose tasks are left behind, and who asks whom to stop.
//!
//! A replica says every [`BEAT`] that it is there. A task whose holder has been silent for [`SILENCE`] is taken over by
//! a versioned write, which also fences the former holder: its next write of the task fails.

use std::{collections::HashSet, time::Duration};

use audit::record::timestamp;
use store::{Entry, Scan, StoreError, Write};
use time::OffsetDateTime;

use super::{ACTIVE, Record, Tasks};

const REPLICAS: &str = "replicas";
const CANCELS: &str = "cancel_requests";

/// How often a replica says that it is there, and looks for tasks left behind.
pub(crate) const BEAT: Duration = Duration::from_secs(2);
/// A replica that said nothing for so long is gone.
const SILENCE: time::Duration = time::Duration::seconds(10);
/// A replica that said nothing for so long is forgotten.
const FORGOTTEN: time::Duration = time::Duration::hours(1);
/// How often a replica looks whom others asked it to stop.
pub(crate) const LISTEN: Duration = Duration::from_millis(200);

fn mark(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        scope: String::new(),
        sort: timestamp(OffsetDateTime::now_utc()),
        version: 0,
        body: Vec::new(),
    }
}

impl Tasks {
    /// Whether other processes use the same store.
    pub(crate) fn has_replicas(&self) -> bool {
        self.0.store.is_shared()
    }

    /// Says that this replica is there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn beat(&self) -> Result<(), StoreError> {
        let here = Write::Put {
            collection: REPLICAS,
            entry: mark(&self.0.holder),
        };
        self.0.store.submit(vec![here]).await
    }

    /// The last word of a replica that stops.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        let key = self.0.holder.clone();
        let gone = Write::Delete {
            collection: REPLICAS,
            key,
        };
        self.0.store.submit(vec![gone]).await
    }

    async fn alive(&self) -> Result<HashSet<String>, StoreError> {
        let entries = self
            .0
            .store
            .scan(Scan {
                collection: REPLICAS,
                limit: 1_000,
                ..Scan::default()
            })
            .await?;
        let now = OffsetDateTime::now_utc();
        let (silent, forgotten) = (timestamp(now - SILENCE), timestamp(now - FORGOTTEN));
        let old: Vec<Write> = entries
            .iter()
            .take_while(|entry| entry.sort < forgotten)
            .map(|entry| Write::Delete {
                collection: REPLICAS,
                key: entry.key.clone(),
            })
            .collect();
        if !old.is_empty() {
            self.0.store.submit(old).await?;
        }
        let here = entries.into_iter().filter(|entry| entry.sort >= silent);
        let mut alive: HashSet<String> = here.map(|entry| entry.key).collect();
        alive.insert(self.0.holder.clone());
        Ok(alive)
    }

    /// Unfinished tasks that nobody runs: whose process crashed, restarted or fell silent.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn left_behind(&self) -> Result<Vec<Record>, StoreError> {
        let mut unfinished = self.indexed(ACTIVE).await?;
        if unfinished.is_empty() {
            return Ok(unfinished);
        }
        let alive = if self.has_replicas() {
            self.alive().await?
        } else {
            HashSet::new()
        };
        unfinished.retain(|record| {
            let held = record
                .holder
                .as_ref()
                .is_some_and(|holder| alive.contains(holder));
            !held && self.running_here(&record.task.id).is_none()
        });
        Ok(unfinished)
    }

    /// Whether nobody runs this unfinished task.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn is_left_behind(&self, record: &Record) -> Result<bool, StoreError> {
        match &record.holder {
            Some(holder) if self.has_replicas() => Ok(!self.alive().await?.contains(holder)),
            _ => Ok(true),
        }
    }

    /// Takes a task over; false when another replica was faster.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn claim(&self, record: &mut Record) -> Result<bool, StoreError> {
        if !self.has_replicas() {
            return Ok(true);
        }
        record.holder = Some(self.0.holder.clone());
        match self.replace(record).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the replica that runs a task to stop it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn ask_to_cancel(&self, id: &str) -> Result<(), StoreError> {
        let asked = Write::Put {
            collection: CANCELS,
            entry: mark(id),
        };
        self.0.store.submit(vec![asked]).await
    }

    /// Stops the tasks of this replica that others asked to stop. Requests that nobody can meet any more go.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn heed_cancels(&self) -> Result<(), StoreError> {
        let asked = self
            .0
            .store
            .scan(Scan {
                collection: CANCELS,
                limit: 1_000,
                ..Scan::default()
            })
            .await?;
        let silent = timestamp(OffsetDateTime::now_utc() - SILENCE);
        let mut done = Vec::new();
        for entry in asked {
            let here = self.running_here(&entry.key);
            if let Some(live) = &here {
                live.cancel.cancel();
            }
            if here.is_some() || entry.sort < silent {
                done.push(Write::Delete {
                    collection: CANCELS,
                    key: entry.key,
                });
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        self.0.store.submit(done).await
    }
}
