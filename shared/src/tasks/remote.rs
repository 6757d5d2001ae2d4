//! Following a task that does not run in this process: another replica runs it, or it waits for somebody.

use std::{collections::hash_map, sync::Arc, sync::PoisonError, time::Duration};

use tokio::sync::watch;

use super::{Record, Tasks};

/// Time between two looks at such a task.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Tasks {
    /// Follows a task wherever it runs; ends with its terminal state. All followers share one look at the store.
    pub(crate) fn follow(&self, record: Arc<Record>) -> watch::Receiver<Arc<Record>> {
        if let Some(live) = self.running_here(&record.task.id) {
            return live.follow();
        }
        if record.state().is_terminal() {
            return watch::channel(record).1;
        }
        let mut remote = self.0.remote.lock().unwrap_or_else(PoisonError::into_inner);
        match remote.entry(record.task.id.clone()) {
            hash_map::Entry::Occupied(known) => known.get().subscribe(),
            hash_map::Entry::Vacant(new) => {
                let (sender, receiver) = watch::channel(record.clone());
                new.insert(sender);
                tokio::spawn(self.clone().look(record));
                receiver
            }
        }
    }

    async fn look(self, mut last: Arc<Record>) {
        let id = last.task.id.clone();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = match self.stored(&id).await {
                Ok(Some(now)) => now,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(task_id = id, %error, "cannot look at a task");
                    continue;
                }
            };
            if now.version != last.version {
                last = Arc::new(now);
                self.pass_on(&last);
            }
            if last.state().is_terminal() || self.forget(&id, false) {
                break;
            }
        }
        self.forget(&id, true);
    }

    fn pass_on(&self, record: &Arc<Record>) {
        let remote = self.0.remote.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = remote.get(&record.task.id) {
            sender.send_replace(record.clone());
        }
    }

    /// Stops following: in any case, or only when nobody listens. Says whether it stopped.
    fn forget(&self, id: &str, anyway: bool) -> bool {
        let mut remote = self.0.remote.lock().unwrap_or_else(PoisonError::into_inner);
        let stops = anyway || remote.get(id).is_none_or(watch::Sender::is_closed);
        if stops {
            remote.remove(id);
        }
        stops
    }
}
