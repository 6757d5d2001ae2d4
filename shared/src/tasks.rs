//! Tasks of one agent: persisted before they are shown, followed through watch channels.

mod events;
mod evict;
mod keys;
mod live;
mod record;
mod remote;
mod replicas;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use store::{Commit, Entry, Scan, Store, StoreError, Write};
use tokio::sync::{Notify, watch};

pub(crate) use events::response;
pub(crate) use evict::Retention;
use keys::{KEYS, KeyBody};
pub(crate) use keys::{Key, KeyKind};
pub(crate) use live::Live;
pub(crate) use record::parse_time;
pub(crate) use record::{Caller, Record, StoredApproval};
pub(crate) use replicas::{BEAT, LISTEN};

const TASKS: &str = "tasks";
const ACTIVE: &str = "active_tasks";
const WAITING: &str = "waiting_tasks";

/// What became of a creation.
#[derive(Debug)]
pub(crate) enum Created {
    /// A new task, or a new turn of one, durable when the commit resolves.
    New(Pending),
    /// The key is taken by this task for the same input.
    Same(String),
    /// The key is taken for another input.
    Other(KeyKind),
    /// Somebody else changed the task that was to be continued.
    Raced,
}

/// A commit on its way.
pub(crate) struct Pending(pub(crate) Commit);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

/// All tasks of an agent. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    /// This process among those that share the store.
    holder: String,
    live: Mutex<HashMap<String, Arc<Live>>>,
    remote: Mutex<HashMap<String, watch::Sender<Arc<Record>>>>,
    /// Tasks made since the last eviction.
    made: AtomicU64,
    crowded: Notify,
}

impl Tasks {
    /// Tasks kept in `store`.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Inner {
            store,
            holder: uuid::Uuid::new_v4().to_string(),
            live: Mutex::default(),
            remote: Mutex::default(),
            made: AtomicU64::new(0),
            crowded: Notify::new(),
        }))
    }

    fn live<T>(&self, f: impl FnOnce(&mut HashMap<String, Arc<Live>>) -> T) -> T {
        f(&mut self.0.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores a new task, or a new turn of one, together with one more write. Without keys nothing is awaited here; with keys the race for them is
    /// decided.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn create(
        &self,
        record: &mut Record,
        keys: &[Key],
        with: Option<Write>,
    ) -> Result<Created, StoreError> {
        let first = record.version == 0;
        if self.0.store.is_shared() {
            record.holder = Some(self.0.holder.clone());
        }
        let mut writes: Vec<Write> = keys
            .iter()
            .map(|key| key.write(&record.task.id, &record.owner))
            .collect();
        writes.extend(record.writes());
        writes.extend(with);
        let commit = self.0.store.submit(writes);
        if first {
            self.count();
        }
        if keys.is_empty() && first {
            return Ok(Created::New(Pending(commit)));
        }
        match commit.await {
            Ok(()) => Ok(Created::New(Pending(Box::pin(std::future::ready(Ok(())))))),
            Err(StoreError::Conflict {
                collection: KEYS,
                key,
            }) => {
                let key = keys.iter().find(|known| known.key == key);
                match key {
                    Some(key) => self.taken(key).await,
                    None => Ok(Created::Raced),
                }
            }
            Err(StoreError::Conflict { .. }) => Ok(Created::Raced),
            Err(error) => Err(error),
        }
    }

    fn count(&self) {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        if made % evict::CROWD == evict::CROWD - 1 {
            self.0.crowded.notify_one();
        }
    }

    async fn taken(&self, key: &Key) -> Result<Created, StoreError> {
        let entry = self.0.store.get(KEYS, &key.key).await?;
        let body = entry.and_then(|entry| serde_json::from_slice::<KeyBody>(&entry.body).ok());
        Ok(body
            .filter(|body| body.digest == key.digest)
            .map_or(Created::Other(key.kind), |body| Created::Same(body.task_id)))
    }

    /// Starts to follow a task that runs now.
    pub(crate) fn track(&self, record: Record) -> Arc<Live> {
        let id = record.task.id.clone();
        let live = Arc::new(Live::new(record));
        self.live(|all| all.insert(id, live.clone()));
        live
    }

    /// Shows the end of a turn; nothing runs any more.
    pub(crate) fn release(&self, live: &Arc<Live>, record: Arc<Record>) {
        let id = record.task.id.clone();
        self.live(|all| {
            // A next turn may run already.
            if all.get(&id).is_some_and(|now| Arc::ptr_eq(now, live)) {
                all.remove(&id);
            }
        });
        live.show(record);
    }

    /// Changes a running task; no change when it does not run here.
    pub(crate) fn amend(&self, id: &str, change: impl FnOnce(&mut Record)) {
        if let Some(live) = self.running_here(id) {
            live.amend(change);
        }
    }

    /// The run of a task in this process.
    pub(crate) fn running_here(&self, id: &str) -> Option<Arc<Live>> {
        self.live(|live| live.get(id).cloned())
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.live(|live| live.len())
    }

    /// A task by id, whoever owns it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn get(&self, id: &str) -> Result<Option<Arc<Record>>, StoreError> {
        if let Some(live) = self.running_here(id) {
            return Ok(Some(live.shown()));
        }
        Ok(self.stored(id).await?.map(Arc::new))
    }

    /// A task as it is stored.
    pub(crate) async fn stored(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let entry = self.0.store.get(TASKS, id).await?;
        Ok(entry.and_then(|entry| decode(&entry)))
    }

    /// A task of `owner`; somebody else's does not exist.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn owned(
        &self,
        id: &str,
        owner: &str,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.get(id).await?.filter(|record| record.owner == owner))
    }

    /// Writes a task that nobody else changed since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody did.
    pub(crate) async fn replace(&self, record: &mut Record) -> Result<(), StoreError> {
        let writes = record.writes();
        self.0.store.submit(writes).await
    }

    /// All tasks of `owner`, newest status first, each through `visit`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn each(
        &self,
        owner: &str,
        mut visit: impl FnMut(Record),
    ) -> Result<(), StoreError> {
        let mut scan = Scan {
            collection: TASKS,
            scope: Some(owner.to_owned()),
            after: None,
            descending: true,
            limit: 200,
        };
        loop {
            let page = self.0.store.scan(scan.clone()).await?;
            let last = page
                .last()
                .map(|entry| (entry.sort.clone(), entry.key.clone()));
            let full = page.len() == scan.limit;
            page.iter().filter_map(decode).for_each(&mut visit);
            match last {
                Some(last) if full => scan.after = Some(last),
                _ => return Ok(()),
            }
        }
    }

    /// Tasks that wait for an approval.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn waiting(&self) -> Result<Vec<Record>, StoreError> {
        self.indexed(WAITING).await
    }

    async fn indexed(&self, collection: &'static str) -> Result<Vec<Record>, StoreError> {
        let mut scan = Scan {
            collection,
            limit: 1_000,
            ..Scan::default()
        };
        let mut records = Vec::new();
        loop {
            let index = self.0.store.scan(scan.clone()).await?;
            for entry in &index {
                records.extend(self.stored(&entry.key).await?);
            }
            match index.last() {
                Some(last) if index.len() == scan.limit => {
                    scan.after = Some((last.sort.clone(), last.key.clone()));
                }
                _ => return Ok(records),
            }
        }
    }
}

fn decode(entry: &Entry) -> Option<Record> {
    let record = serde_json::from_slice::<Record>(&entry.body);
    if let Err(error) = &record {
        tracing::error!(key = entry.key, %error, "cannot read a stored task");
    }
    record.ok().map(|record| Record {
        version: entry.version,
        stored: Some(record.state()),
        ..record
    })
}
