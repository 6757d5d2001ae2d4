//! Tasks of one agent: persisted before they are shown, followed through a watch channel.

mod record;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use store::{Commit, Entry, Scan, Store, StoreError, Write};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use record::parse_time;
pub(crate) use record::{Caller, Record, StoredApproval};

const TASKS: &str = "tasks";
const ACTIVE: &str = "active_tasks";
const WAITING: &str = "waiting_tasks";
const KEYS: &str = "idempotency_keys";

/// A key under which a mutating call happens at most once.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey {
    key: String,
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyBody {
    task_id: String,
    digest: String,
}

impl IdempotencyKey {
    /// The caller's key for one skill, and the digest of the input it stands for.
    pub(crate) fn new(owner: &str, skill: &str, key: &str, digest: &str) -> Self {
        Self {
            key: crate::digest::of_bytes(format!("{owner}\n{skill}\n{key}").as_bytes()),
            digest: digest.to_owned(),
        }
    }
}

/// What became of a creation.
pub(crate) enum Created {
    /// A new task, durable when the commit resolves.
    New(Commit),
    /// The key is taken by this task for the same input.
    Same(String),
    /// The key is taken for another input.
    Other,
}

struct Live {
    cancel: CancellationToken,
    state: watch::Sender<Arc<Record>>,
}

/// All tasks of an agent.
#[derive(Clone)]
pub struct Tasks {
    store: Arc<dyn Store>,
    live: Arc<Mutex<HashMap<String, Live>>>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Tasks {
    /// Tasks kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            live: Arc::default(),
        }
    }

    fn live<T>(&self, f: impl FnOnce(&mut HashMap<String, Live>) -> T) -> T {
        f(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Creates a task. Without a key nothing is awaited here; with one, the race for it is decided.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn create(
        &self,
        record: &Record,
        key: Option<IdempotencyKey>,
    ) -> Result<Created, StoreError> {
        let mut writes = record.writes();
        let Some(IdempotencyKey { key, digest }) = key else {
            return Ok(Created::New(self.store.submit(writes)));
        };
        let body = serde_json::to_vec(&KeyBody {
            task_id: record.task.id.clone(),
            digest: digest.clone(),
        })
        .unwrap_or_default();
        let entry = Entry {
            key: key.clone(),
            scope: record.owner.clone(),
            sort: String::new(),
            version: 0,
            body,
        };
        writes.insert(
            0,
            Write::Insert {
                collection: KEYS,
                entry,
            },
        );
        match self.store.submit(writes).await {
            Ok(()) => Ok(Created::New(Box::pin(std::future::ready(Ok(()))))),
            Err(StoreError::Conflict { .. }) => self.taken(&key, &digest).await,
            Err(error) => Err(error),
        }
    }

    async fn taken(&self, key: &str, digest: &str) -> Result<Created, StoreError> {
        let entry = self.store.get(KEYS, key).await?;
        let body = entry.and_then(|entry| serde_json::from_slice::<KeyBody>(&entry.body).ok());
        Ok(body
            .filter(|body| body.digest == digest)
            .map_or(Created::Other, |body| Created::Same(body.task_id)))
    }

    /// Starts to follow a task that runs now.
    pub fn track(&self, record: Arc<Record>) -> (CancellationToken, watch::Receiver<Arc<Record>>) {
        let cancel = CancellationToken::new();
        let id = record.task.id.clone();
        let (state, receiver) = watch::channel(record);
        self.live(|live| {
            live.insert(
                id,
                Live {
                    cancel: cancel.clone(),
                    state,
                },
            )
        });
        (cancel, receiver)
    }

    /// Shows a new state of a running task.
    pub fn show(&self, record: Arc<Record>) {
        self.live(|live| {
            let id = record.task.id.clone();
            let settled = record.state().is_settled();
            if let Some(entry) = live.get(&id) {
                entry.state.send_replace(record);
            }
            if settled {
                live.remove(&id);
            }
        });
    }

    /// Changes what is shown of a running task (progress), without a write.
    pub fn annotate(&self, id: &str, change: impl FnOnce(&mut Record)) {
        self.live(|live| {
            if let Some(entry) = live.get(id) {
                entry
                    .state
                    .send_modify(|record| change(Arc::make_mut(record)));
            }
        });
    }

    /// Asks a running task to stop; `None` when it does not run here.
    pub fn cancel(&self, id: &str) -> Option<watch::Receiver<Arc<Record>>> {
        self.live(|live| {
            live.get(id).map(|entry| {
                entry.cancel.cancel();
                entry.state.subscribe()
            })
        })
    }

    /// Follows a running task.
    pub fn follow(&self, id: &str) -> Option<watch::Receiver<Arc<Record>>> {
        self.live(|live| live.get(id).map(|entry| entry.state.subscribe()))
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.live(|live| live.len())
    }

    /// A task by id, whoever owns it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, id: &str) -> Result<Option<Record>, StoreError> {
        if let Some(live) = self.follow(id) {
            return Ok(Some(Record::clone(&live.borrow())));
        }
        Ok(self
            .store
            .get(TASKS, id)
            .await?
            .and_then(|entry| decode(&entry)))
    }

    /// A task of `owner`; somebody else's does not exist.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn owned(&self, id: &str, owner: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.get(id).await?.filter(|record| record.owner == owner))
    }

    /// Replaces a task that nobody else changed since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody did.
    pub async fn replace(&self, record: &Record) -> Result<(), StoreError> {
        let mut writes = record.writes();
        if let Some(first) = writes.first_mut() {
            *first = Write::Update {
                collection: TASKS,
                entry: record.entry(),
            };
        }
        self.store.submit(writes).await
    }

    /// All tasks of `owner`, newest status first, page by page through `visit` until it says stop.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn each(&self, owner: &str, mut visit: impl FnMut(Record)) -> Result<(), StoreError> {
        let mut scan = Scan {
            collection: TASKS,
            scope: Some(owner.to_owned()),
            after: None,
            descending: true,
            limit: 200,
        };
        loop {
            let page = self.store.scan(scan.clone()).await?;
            let last = page
                .last()
                .map(|entry| (entry.sort.clone(), entry.key.clone()));
            let full = page.len() == scan.limit;
            page.into_iter()
                .filter_map(|entry| decode(&entry))
                .for_each(&mut visit);
            match last {
                Some(last) if full => scan.after = Some(last),
                _ => return Ok(()),
            }
        }
    }

    /// Tasks that a crash or restart left unfinished.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn unfinished(&self) -> Result<Vec<Record>, StoreError> {
        self.indexed(ACTIVE).await
    }

    /// Tasks that wait for an approval.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn waiting(&self) -> Result<Vec<Record>, StoreError> {
        self.indexed(WAITING).await
    }

    async fn indexed(&self, collection: &'static str) -> Result<Vec<Record>, StoreError> {
        let index = self
            .store
            .scan(Scan {
                collection,
                limit: 10_000,
                ..Scan::default()
            })
            .await?;
        let mut records = Vec::with_capacity(index.len());
        for entry in index {
            records.extend(
                self.store
                    .get(TASKS, &entry.key)
                    .await?
                    .and_then(|entry| decode(&entry)),
            );
        }
        Ok(records)
    }

    /// Removes settled tasks, and the keys of their owners' calls, that are older than `before`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn evict(&self, before: &str, limit: usize) -> Result<usize, StoreError> {
        let oldest = self
            .store
            .scan(Scan {
                collection: TASKS,
                limit,
                ..Scan::default()
            })
            .await?;
        let old: Vec<Write> = oldest
            .into_iter()
            .take_while(|entry| entry.sort.as_str() < before)
            .filter_map(|entry| decode(&entry))
            .filter(|record| record.state().is_terminal())
            .map(|record| Write::Delete {
                collection: TASKS,
                key: record.task.id,
            })
            .collect();
        let count = old.len();
        if count > 0 {
            self.store.submit(old).await?;
        }
        Ok(count)
    }
}

fn decode(entry: &Entry) -> Option<Record> {
    let record = serde_json::from_slice::<Record>(&entry.body);
    if let Err(error) = &record {
        tracing::error!(key = entry.key, %error, "cannot read a stored task");
    }
    record.ok().map(|record| Record {
        version: entry.version,
        ..record
    })
}
