//! The gate of a rollback: whoever comes first, an abort or the pivot, decides which of them happens. It is one entry of
//! the store, so it holds over processes and replicas.

use serde::{Deserialize, Serialize};
use shared::SkillError;
use store::{StoreError, Write};

use super::{History, entry, put, unavailable};
use crate::domain::Journal;

const GATES: &str = "rollback_gates";

/// What came first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "gate")]
pub enum Gate {
    /// An abort: the rollback is undone and never reaches its pivot.
    Aborted {
        /// Who asked.
        by: String,
    },
    /// The pivot: there is only forward.
    Pivoted,
}

fn insert(rollback_id: &str, gate: &Gate) -> Result<Write, SkillError> {
    let body = serde_json::to_vec(gate)
        .map_err(|error| SkillError::failed_with("cannot encode a gate", error))?;
    Ok(Write::Insert {
        collection: GATES,
        entry: entry(rollback_id.to_owned(), body),
    })
}

impl History {
    /// What came first, if anything did.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn gate(&self, rollback_id: &str) -> Result<Option<Gate>, SkillError> {
        let entry = self.0.get(GATES, rollback_id).await.map_err(unavailable)?;
        entry
            .map(|entry| {
                serde_json::from_slice(&entry.body)
                    .map_err(|error| SkillError::failed_with("cannot read a gate", error))
            })
            .transpose()
    }

    /// Aborts a rollback, unless it reached its pivot before; says which of them it is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn abort(&self, rollback_id: &str, by: &str) -> Result<Gate, SkillError> {
        let gate = Gate::Aborted { by: by.to_owned() };
        match self.0.submit(vec![insert(rollback_id, &gate)?]).await {
            Ok(()) => Ok(gate),
            Err(StoreError::Conflict { .. }) => Ok(self.gate(rollback_id).await?.unwrap_or(gate)),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Keeps a journal that begins its pivot, unless an abort came before; says which of them it is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pivot(&self, journal: &Journal) -> Result<Gate, SkillError> {
        let batch = vec![put(journal)?, insert(&journal.rollback_id, &Gate::Pivoted)?];
        match self.0.submit(batch).await {
            Ok(()) => Ok(Gate::Pivoted),
            Err(StoreError::Conflict { .. }) => match self.gate(&journal.rollback_id).await? {
                Some(gate @ Gate::Aborted { .. }) => Ok(gate),
                // It passed before a crash.
                Some(Gate::Pivoted) | None => {
                    self.keep(journal).await?;
                    Ok(Gate::Pivoted)
                }
            },
            Err(error) => Err(unavailable(error)),
        }
    }
}
