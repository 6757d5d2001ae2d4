//! The writing thread: group commit.

use std::{iter, sync::mpsc::Receiver};

use rusqlite::{Connection, Savepoint, TransactionBehavior};

use super::{Job, unavailable};
use crate::{StoreError, Write, sql};

/// At most this many batches share one flush, so that the first of them does not wait for too many.
const MAX_GROUP: usize = 1024;

/// Writes until every sender is gone and the queue is empty.
pub(super) fn run(mut connection: Connection, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let (batches, waiting): (Vec<_>, Vec<_>) = iter::once(first)
            .chain(queue.try_iter().take(MAX_GROUP - 1))
            .map(|job| (job.batch, job.done))
            .unzip();
        let results = commit(&mut connection, &batches).unwrap_or_else(|error| {
            let error = unavailable(error);
            tracing::error!(%error, batches = batches.len(), "cannot commit");
            vec![Err(error); batches.len()]
        });
        for (done, result) in waiting.into_iter().zip(results) {
            // Nobody waits for a batch whose future was dropped.
            drop(done.send(result));
        }
    }
}

type Outcome = Result<(), StoreError>;

fn commit(connection: &mut Connection, batches: &[Vec<Write>]) -> rusqlite::Result<Vec<Outcome>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let savepoint = transaction.savepoint()?;
        let outcome = apply(&savepoint, batch)?;
        // A savepoint that is dropped without commit rolls back.
        if outcome.is_ok() {
            savepoint.commit()?;
        }
        outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn apply(savepoint: &Savepoint<'_>, batch: &[Write]) -> rusqlite::Result<Outcome> {
    for write in batch {
        if let Some(conflict) = step(savepoint, write)? {
            return Ok(Err(conflict));
        }
    }
    Ok(Ok(()))
}

/// Applies one write; returns the conflict that it met.
fn step(savepoint: &Savepoint<'_>, write: &Write) -> rusqlite::Result<Option<StoreError>> {
    let (changed, collection, key) = match write {
        Write::Insert {
            collection,
            entry: e,
        } => {
            let changed = savepoint
                .prepare_cached(sql::INSERT)?
                .execute((collection, &e.key, &e.scope, &e.sort, &e.body))?;
            (changed, collection, &e.key)
        }
        Write::Put {
            collection,
            entry: e,
        } => {
            let changed = savepoint
                .prepare_cached(sql::PUT)?
                .execute((collection, &e.key, &e.scope, &e.sort, &e.body))?;
            (changed, collection, &e.key)
        }
        Write::Update {
            collection,
            entry: e,
        } => {
            let version = i64::try_from(e.version).unwrap_or(i64::MAX);
            let changed = savepoint
                .prepare_cached(sql::UPDATE)?
                .execute((&e.scope, &e.sort, &e.body, collection, &e.key, version))?;
            (changed, collection, &e.key)
        }
        Write::Delete { collection, key } => {
            savepoint
                .prepare_cached(sql::DELETE)?
                .execute((collection, key))?;
            (1, collection, key)
        }
    };
    Ok((changed == 0).then(|| StoreError::Conflict {
        collection,
        key: key.clone(),
    }))
}
