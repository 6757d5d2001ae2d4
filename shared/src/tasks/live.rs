//! A task that runs in this process: what it is becoming, and what of it is durable and may be shown.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use store::{Store, StoreError, Write};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Record;
use crate::telemetry::Chain;

/// A call that only reads is written once, at its end, when it ends within this time. Until then nobody has been told of
/// its task, and after a crash the caller asks again.
const PATIENCE: Duration = Duration::from_millis(20);

/// A running task.
#[derive(Debug)]
pub(crate) struct Live {
    /// Asks the run to stop.
    pub(crate) cancel: CancellationToken,
    shown: watch::Sender<Arc<Record>>,
    draft: Mutex<Draft>,
    amended: Notify,
}

#[derive(Debug)]
struct Draft {
    /// Gone once the run has ended.
    record: Option<Record>,
    changed: bool,
}

impl Live {
    pub(super) fn new(record: Record, shown: Arc<Record>) -> Self {
        Self {
            cancel: CancellationToken::new(),
            shown: watch::Sender::new(shown),
            draft: Mutex::new(Draft {
                record: Some(record),
                changed: false,
            }),
            amended: Notify::new(),
        }
    }

    fn draft<T>(&self, f: impl FnOnce(&mut Draft) -> T) -> T {
        f(&mut self.draft.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows what may be shown.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Record>> {
        self.shown.subscribe()
    }

    /// What may be shown now; nothing before the task is durable.
    pub(crate) fn shown(&self) -> Option<Arc<Record>> {
        let shown = self.shown.borrow();
        (shown.version > 0).then(|| shown.clone())
    }

    /// Looks at the task as it is becoming; nothing after its end.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Record) -> T) -> Option<T> {
        self.draft(|draft| draft.record.as_ref().map(look))
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

    /// Changes the task. [`Self::accompany`] writes the change and shows it once it is durable; changes that come while
    /// a write is on its way share the next one.
    pub(crate) fn amend(&self, change: impl FnOnce(&mut Record)) {
        let changed = self.draft(|draft| {
            let record = draft.record.as_mut();
            draft.changed = record.map(change).is_some();
            draft.changed
        });
        if changed {
            self.amended.notify_one();
        }
    }

    /// Writes the task for the first time, with one more write, and shows it.
    ///
    /// # Errors
    /// What the store said; the task is then as if nothing had been written.
    pub(crate) async fn begin(
        &self,
        store: &dyn Store,
        with: Option<Write>,
    ) -> Result<(), StoreError> {
        let begun = self.draft(|draft| {
            let record = draft.record.as_mut()?;
            let mut writes = record.writes();
            writes.extend(with);
            Some((record.clone(), store.submit(writes)))
        });
        let Some((record, commit)) = begun else {
            return Ok(());
        };
        commit.await?;
        self.show(Arc::new(record));
        Ok(())
    }

    /// Awaits the run, and writes and shows what it adds to the task meanwhile. What it adds just before its end is
    /// left to the write of the end.
    pub(crate) async fn accompany<T>(&self, store: &dyn Store, run: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            result = run => result,
            () = self.keep_up(store) => std::future::pending().await,
        }
    }

    async fn keep_up(&self, store: &dyn Store) {
        if self.look(|record| record.version == 0) == Some(true) {
            let patience = timeout(PATIENCE, self.amended.notified());
            if patience.await.is_err() {
                self.amend(|_| {});
            }
            self.write(store).await;
        }
        loop {
            self.amended.notified().await;
            self.write(store).await;
        }
    }

    async fn write(&self, store: &dyn Store) {
        while let Some((record, commit)) = self.next(store) {
            match commit.await {
                Ok(()) => self.show(Arc::new(record)),
                Err(error @ StoreError::Conflict { .. }) => {
                    // Somebody made the same call, or has taken the task over. The end of the run finds out.
                    tracing::info!(task_id = record.task.id, %error, "the run stops");
                    if record.version == 1 {
                        self.draft(|draft| draft.record.as_mut().map(Record::unwrite));
                    }
                    self.cancel.cancel();
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
            let record = draft.record.as_mut().filter(|_| draft.changed)?;
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
