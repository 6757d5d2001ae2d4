//! Where the watch of the cluster and the measurement of requests meet: each leaves here what the other needs.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::domain::{At, Key, Requests, World};

/// Trouble with requests, by the workload that serves them.
pub type Judged = BTreeMap<Key, Requests>;

/// The board. Clones share it.
#[derive(Debug, Clone)]
pub struct Board {
    /// Workloads that have objectives.
    measured: Arc<[Key]>,
    changes: Arc<watch::Sender<BTreeMap<Key, At>>>,
    requests: Arc<watch::Sender<Judged>>,
}

impl Board {
    /// A board for the workloads that have objectives.
    pub fn new(measured: impl IntoIterator<Item = Key>) -> Self {
        Self {
            measured: measured.into_iter().collect(),
            changes: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// Leaves when the current revisions of measured workloads became current.
    pub fn publish(&self, world: &World) {
        let at = |key: &Key| Some((key.clone(), world.changed_at(key)?));
        let changes: BTreeMap<Key, At> = self.measured.iter().filter_map(at).collect();
        self.changes.send_if_modified(|known| {
            let news = *known != changes;
            if news {
                *known = changes;
            }
            news
        });
    }

    /// When the current revision of a workload became current.
    pub fn changed_at(&self, key: &Key) -> Option<At> {
        self.changes.borrow().get(key).copied()
    }

    /// Leaves what requests tell.
    pub fn report(&self, judged: Judged) {
        self.requests.send_replace(judged);
    }

    /// What requests tell, from now on.
    pub fn requests(&self) -> watch::Receiver<Judged> {
        self.requests.subscribe()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new([])
    }
}
