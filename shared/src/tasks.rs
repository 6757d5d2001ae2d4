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

use store::{Entry, Scan, Store, StoreError, Write};
use tokio::sync::{Notify, watch};

pub(crate) use events::response;
pub(crate) use evict::Retention;
use keys::{KEYS, KeyBody, Recent};
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
    /// A new task, or a new turn of one.
    New,
    /// The key is taken by this task for the same input.
    Same(String),
    /// The key is taken for another input.
    Other(KeyKind),
    /// Somebody else changed the task that was to be continued.
    Raced,
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
    recent: Mutex<Recent>,
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
            recent: Mutex::default(),
            made: AtomicU64::new(0),
            crowded: Notify::new(),
        }))
    }

    fn live<T>(&self, f: impl FnOnce(&mut HashMap<String, Arc<Live>>) -> T) -> T {
        f(&mut self.0.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notices a repeated call of this process; otherwise the task has its keys for now.
    pub(crate) fn meet(&self, record: &Record) -> Option<Created> {
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        take_keys(&mut recent, record).err()
    }

    /// [`Tasks::meet`] for a task that nobody has seen yet: whoever meets its keys finds it running.
    ///
    /// # Errors
    /// What was met.
    pub(crate) fn enter(&self, record: Record) -> Result<Arc<Live>, Created> {
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        take_keys(&mut recent, &record)?;
        Ok(self.track(record, None))
    }

    /// Stores a new task, or a new turn of one, together with one more write; its keys decide whether it is new.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn create(
        &self,
        record: &mut Record,
        with: Option<Write>,
    ) -> Result<Created, StoreError> {
        if self.0.store.is_shared() {
            record.holder = Some(self.0.holder.clone());
        }
        let first = record.version == 0;
        let mut writes = record.writes();
        if !first {
            let keys = record.keys.iter();
            writes.extend(keys.map(|key| key.write(&record.task.id, &record.owner)));
        }
        writes.extend(with);
        match self.0.store.submit(writes).await {
            Ok(()) => Ok(Created::New),
            Err(error) => {
                self.forget_keys(record);
                self.lost(record, error).await
            }
        }
    }

    /// What became of a task whose first write failed.
    ///
    /// # Errors
    /// The store's error, when it was no race.
    pub(crate) async fn lost(
        &self,
        record: &Record,
        error: StoreError,
    ) -> Result<Created, StoreError> {
        let StoreError::Conflict { collection, key } = error else {
            return Err(error);
        };
        let key = record.keys.iter().find(|known| known.name == key);
        match key.filter(|_| collection == KEYS) {
            Some(key) => self.taken(key).await,
            None => Ok(Created::Raced),
        }
    }

    /// Forgets keys that the task did not get, or whose task cannot be kept.
    pub(crate) fn forget_keys(&self, record: &Record) {
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &record.keys {
            recent.remove(key, &record.task.id);
        }
    }

    /// Counts a new task.
    pub(crate) fn count(&self) {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        if made % evict::CROWD == evict::CROWD - 1 {
            self.0.crowded.notify_one();
        }
    }

    async fn taken(&self, key: &Key) -> Result<Created, StoreError> {
        let entry = self.0.store.get(KEYS, &key.name).await?;
        let body = entry.and_then(|entry| serde_json::from_slice::<KeyBody>(&entry.body).ok());
        Ok(body
            .filter(|body| body.digest == key.digest)
            .map_or(Created::Other(key.kind), |body| Created::Same(body.task_id)))
    }

    /// Starts to follow a task that runs now. What may be shown of it at first is what was stored before, if anything.
    pub(crate) fn track(&self, mut record: Record, stored: Option<Arc<Record>>) -> Arc<Live> {
        let id = record.task.id.clone();
        if self.0.store.is_shared() {
            record.holder = Some(self.0.holder.clone());
        }
        let live = Arc::new(Live::new(record, stored.unwrap_or_default()));
        self.live(|all| all.insert(id, live.clone()));
        live
    }

    /// Shows the end of a turn; nothing runs any more.
    pub(crate) fn release(&self, live: &Arc<Live>, record: Arc<Record>) {
        // A next turn may run already.
        self.abandon(live, &record.task.id);
        live.show(record);
    }

    /// Forgets a task that never came to be.
    pub(crate) fn abandon(&self, live: &Arc<Live>, id: &str) {
        self.live(|all| {
            if all.get(id).is_some_and(|now| Arc::ptr_eq(now, live)) {
                all.remove(id);
            }
        });
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
            return Ok(live.shown());
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
            keys_only: false,
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
        let mut records = Vec::new();
        for id in self.index(collection).await? {
            records.extend(self.stored(&id).await?);
        }
        Ok(records)
    }

    /// The ids in an index.
    async fn index(&self, collection: &'static str) -> Result<Vec<String>, StoreError> {
        let mut scan = Scan {
            collection,
            limit: 1_000,
            keys_only: true,
            ..Scan::default()
        };
        let mut ids = Vec::new();
        loop {
            let page = self.0.store.scan(scan.clone()).await?;
            let full = page.len() == scan.limit;
            scan.after = page
                .last()
                .map(|last| (last.sort.clone(), last.key.clone()));
            ids.extend(page.into_iter().map(|entry| entry.key));
            if !full {
                return Ok(ids);
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

/// Takes a task's keys, unless an earlier task has one of them.
fn take_keys(recent: &mut Recent, record: &Record) -> Result<(), Created> {
    for key in &record.keys {
        match recent.get(key) {
            Some((digest, task)) if digest == key.digest => {
                return Err(Created::Same(task.to_owned()));
            }
            Some(_) => return Err(Created::Other(key.kind)),
            None => {}
        }
    }
    for key in &record.keys {
        recent.add(key, &record.task.id);
    }
    Ok(())
}
