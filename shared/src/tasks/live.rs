//! A task that runs in this process: what it is becoming, and what of it is durable and may be shown.

use std::sync::{Arc, Mutex, PoisonError};

use store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Record;
use crate::telemetry::Chain;

/// A running task.
#[derive(Debug)]
pub(crate) struct Live {
    /// Asks the run to stop.
    pub(crate) cancel: CancellationToken,
    shown: watch::Sender<Arc<Record>>,
    draft: Mutex<Draft>,
}

#[derive(Debug)]
struct Draft {
    /// Gone once the run has ended.
    record: Option<Record>,
    writing: bool,
    changed: bool,
}

impl Live {
    pub(super) fn new(record: Record) -> Self {
        Self {
            cancel: CancellationToken::new(),
            shown: watch::Sender::new(Arc::new(record.clone())),
            draft: Mutex::new(Draft {
                record: Some(record),
                writing: false,
                changed: false,
            }),
        }
    }

    fn draft<T>(&self, f: impl FnOnce(&mut Draft) -> T) -> T {
        f(&mut self.draft.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows what may be shown.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Record>> {
        self.shown.subscribe()
    }

    /// What may be shown now.
    pub(crate) fn shown(&self) -> Arc<Record> {
        self.shown.borrow().clone()
    }

    /// Shows what is durable now. Commits may be noticed out of order; the newest stays.
    pub(crate) fn show(&self, record: Arc<Record>) {
        self.shown.send_if_modified(|shown| {
            let newer = record.version >= shown.version;
            if newer {
                *shown = record;
            }
            newer
        });
    }

    /// Changes the task. The change is written in the background and shown once it is durable; changes that come
    /// while a write is on its way share the next one.
    pub(crate) fn amend(
        self: &Arc<Self>,
        store: &Arc<dyn Store>,
        change: impl FnOnce(&mut Record),
    ) {
        let start = self.draft(|draft| {
            let Some(record) = &mut draft.record else {
                return false;
            };
            change(record);
            draft.changed = true;
            !std::mem::replace(&mut draft.writing, true)
        });
        if start {
            let (live, store) = (self.clone(), store.clone());
            tokio::spawn(async move { live.write(&*store).await });
        }
    }

    async fn write(&self, store: &dyn Store) {
        while let Some((record, commit)) = self.next(store) {
            match commit.await {
                Ok(()) => self.show(Arc::new(record)),
                Err(error @ StoreError::Conflict { .. }) => {
                    tracing::warn!(task_id = record.task.id, %error, "another replica has taken the task over");
                    self.cancel.cancel();
                    self.draft(|draft| draft.writing = false);
                    return;
                }
                Err(error) => {
                    // The end of the run will be written with all that was added before.
                    tracing::warn!(task_id = record.task.id, error = %Chain(&error), "cannot keep a task's progress");
                }
            }
        }
    }

    /// Submits what changed, under the lock: the writes of one task reach the store in their order.
    fn next(&self, store: &dyn Store) -> Option<(Record, store::Commit)> {
        self.draft(|draft| {
            let record = draft.record.as_mut().filter(|_| draft.changed);
            let Some(record) = record else {
                draft.writing = false;
                return None;
            };
            draft.changed = false;
            let writes = record.writes();
            Some((record.clone(), store.submit(writes)))
        })
    }

    /// Takes the task for its end; later changes are void. `None` when it was taken already.
    pub(crate) fn close(&self) -> Option<Record> {
        self.draft(|draft| draft.record.take())
    }
}
