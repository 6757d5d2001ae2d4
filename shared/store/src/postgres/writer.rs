//! The writing task: group commit.

use std::{future::Future, iter, pin::Pin};

use futures::{future::maybe_done, poll};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::{Client, Error, Statement, error::SqlState};

use super::{Address, Job, connect, unavailable};
use crate::{StoreError, Write, sql};

/// At most this many batches share one transaction, so that replicas do not hold each other's rows for long.
const MAX_GROUP: usize = 256;
/// How often a transaction is tried again that lost against another replica's (deadlock, serialisation).
const MAX_TRIES: usize = 20;

type Outcome = Result<(), StoreError>;

/// Writes until every sender is gone and the queue is empty.
pub(super) async fn run(address: Address, mut queue: UnboundedReceiver<Job>) {
    let mut session = None;
    while let Some(first) = queue.recv().await {
        let waiting = iter::from_fn(|| queue.try_recv().ok()).take(MAX_GROUP - 1);
        let (batches, waiting): (Vec<_>, Vec<_>) = iter::once(first)
            .chain(waiting)
            .map(|job| (job.batch, job.done))
            .unzip();
        let results = write(&address, &mut session, &batches)
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, batches = batches.len(), "cannot commit");
                vec![Err(error); batches.len()]
            });
        for (done, result) in waiting.into_iter().zip(results) {
            // Nobody waits for a batch whose future was dropped.
            drop(done.send(result));
        }
    }
}

async fn write(
    address: &Address,
    session: &mut Option<Session>,
    batches: &[Vec<Write>],
) -> Result<Vec<Outcome>, StoreError> {
    if session
        .as_ref()
        .is_none_or(|session| session.client.is_closed())
    {
        *session = Some(Session::open(address).await?);
    }
    let Some(open) = session.as_ref() else {
        return Err(StoreError::Unavailable(String::from("no connection")));
    };
    let mut tries = 0;
    loop {
        let error = match open.commit(batches).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) => error,
        };
        tries += 1;
        let rolled_back = open.client.batch_execute("ROLLBACK").await.is_ok();
        if !rolled_back || !lost_a_race(&error) || tries == MAX_TRIES {
            // A fresh session next time: this one may be in any state.
            *session = None;
            return Err(unavailable(&error));
        }
    }
}

fn lost_a_race(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE
    })
}

/// A connection with its prepared statements.
struct Session {
    client: Client,
    insert: Statement,
    put: Statement,
    update: Statement,
    delete: Statement,
}

/// A statement on its way; yields the number of rows that changed.
type Running<'a> = Pin<
    Box<futures::future::MaybeDone<Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>>>,
>;

impl Session {
    async fn open(address: &Address) -> Result<Self, StoreError> {
        let client = connect(address).await?;
        let prepare = async {
            Ok(Self {
                insert: client.prepare(sql::INSERT).await?,
                put: client.prepare(sql::PUT).await?,
                update: client.prepare(sql::UPDATE).await?,
                delete: client.prepare(sql::DELETE).await?,
                client,
            })
        };
        prepare.await.map_err(|e: Error| unavailable(&e))
    }

    async fn commit(&self, batches: &[Vec<Write>]) -> Result<Vec<Outcome>, Error> {
        self.client.batch_execute("BEGIN").await?;
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            outcomes.push(self.apply(batch).await?);
        }
        self.client.batch_execute("COMMIT").await?;
        Ok(outcomes)
    }

    /// Applies one batch in one round trip: the first poll of a statement sends it, so all are on their
    /// way, in order, before the first answer is awaited. Conflicts show as zero rows, not as SQL errors.
    async fn apply(&self, batch: &[Write]) -> Result<Outcome, Error> {
        let mut running = vec![
            send(async {
                self.client
                    .batch_execute("SAVEPOINT batch")
                    .await
                    .map(|()| 1)
            })
            .await,
        ];
        for write in batch {
            running.push(send(self.step(write)).await);
        }
        let mut conflict = None;
        for (mut statement, write) in running
            .into_iter()
            .zip(iter::once(None).chain(batch.iter().map(Some)))
        {
            statement.as_mut().await;
            let changed = statement.as_mut().take_output().unwrap_or(Ok(0))?;
            if changed == 0 && conflict.is_none() {
                conflict = write.and_then(conflict_of);
            }
        }
        let end = if conflict.is_some() {
            "ROLLBACK TO SAVEPOINT batch"
        } else {
            "RELEASE SAVEPOINT batch"
        };
        self.client.batch_execute(end).await?;
        Ok(conflict.map_or(Ok(()), Err))
    }

    async fn step(&self, write: &Write) -> Result<u64, Error> {
        match write {
            Write::Insert {
                collection,
                entry: e,
            } => {
                self.client
                    .execute(
                        &self.insert,
                        &[collection, &e.key, &e.scope, &e.sort, &e.body],
                    )
                    .await
            }
            Write::Put {
                collection,
                entry: e,
            } => {
                self.client
                    .execute(&self.put, &[collection, &e.key, &e.scope, &e.sort, &e.body])
                    .await
            }
            Write::Update {
                collection,
                entry: e,
            } => {
                let version = i64::try_from(e.version).unwrap_or(i64::MAX);
                self.client
                    .execute(
                        &self.update,
                        &[&e.scope, &e.sort, &e.body, collection, &e.key, &version],
                    )
                    .await
            }
            Write::Delete { collection, key } => {
                self.client.execute(&self.delete, &[collection, key]).await
            }
        }
    }
}

async fn send<'a>(statement: impl Future<Output = Result<u64, Error>> + Send + 'a) -> Running<'a> {
    let boxed: Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>> = Box::pin(statement);
    let mut running = Box::pin(maybe_done(boxed));
    // Ready or not, the output stays in `running`.
    let _ = poll!(running.as_mut());
    running
}

/// The conflict that zero changed rows mean; none for a delete.
fn conflict_of(write: &Write) -> Option<StoreError> {
    match write {
        Write::Insert { collection, entry }
        | Write::Update { collection, entry }
        | Write::Put { collection, entry } => Some(StoreError::Conflict {
            collection,
            key: entry.key.clone(),
        }),
        Write::Delete { .. } => None,
    }
}
