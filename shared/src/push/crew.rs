//! Who works in this process: one worker for each configuration that may still have something to deliver.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Requests to webhooks at the same time.
const PLACES: usize = 32;
/// Of them, those for webhooks of one principal: its slow webhooks leave room for others.
const PLACES_OF_ONE: usize = 16;

#[derive(Debug, Default)]
struct Member {
    call: Arc<Notify>,
    /// Called since it looked last.
    called: bool,
}

/// The workers by the key of their configuration.
#[derive(Debug, Default)]
pub(super) struct Crew {
    members: Mutex<HashMap<String, Member>>,
    count: AtomicUsize,
}

impl Crew {
    fn members<T>(&self, f: impl FnOnce(&mut HashMap<String, Member>) -> T) -> T {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut members);
        self.count.store(members.len(), Ordering::Relaxed);
        result
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Makes a place for the worker of a configuration; none when there is one.
    pub(super) fn join(&self, key: &str) -> Option<Arc<Notify>> {
        self.members(|members| {
            if members.contains_key(key) {
                return None;
            }
            let member = Member::default();
            let call = member.call.clone();
            members.insert(key.to_owned(), member);
            Some(call)
        })
    }

    /// Tells a worker that its configuration was changed; false when there is no such worker.
    pub(super) fn call(&self, key: &str) -> bool {
        self.members(|members| match members.get_mut(key) {
            Some(member) => {
                member.called = true;
                member.call.notify_one();
                true
            }
            None => false,
        })
    }

    /// Whether a worker was called and has not looked since.
    pub(super) fn is_called(&self, key: &str) -> bool {
        self.members(|members| members.get(key).is_some_and(|member| member.called))
    }

    /// The worker looks now.
    pub(super) fn looks(&self, key: &str) {
        self.members(|members| {
            if let Some(member) = members.get_mut(key) {
                member.called = false;
            }
        });
    }

    /// The worker has nothing to do any more; false when it was called meanwhile, and stays.
    pub(super) fn leave(&self, key: &str) -> bool {
        self.members(|members| {
            let leaves = members.get(key).is_none_or(|member| !member.called);
            if leaves {
                members.remove(key);
            }
            leaves
        })
    }

    /// The worker is gone, however it ended.
    pub(super) fn forget(&self, key: &str) {
        self.members(|members| members.remove(key));
    }
}

/// Bounds the requests at the same time, in all and for each principal.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Principals are few: they stand in mesh.yaml.
    owners: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(PLACES)),
            owners: Mutex::default(),
        }
    }
}

impl Places {
    /// Waits for a place; it is given back when the permits are dropped.
    pub(super) async fn take(&self, owner: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            let own = owners
                .entry(owner.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(PLACES_OF_ONE)));
            own.clone()
        };
        // Nobody closes the semaphores.
        let own = own.acquire_owned().await.ok()?;
        let place = self.all.clone().acquire_owned().await.ok()?;
        Some([own, place])
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_was_called_looks_again_before_it_leaves() {
        let crew = Crew::default();
        assert!(!crew.call("a"));
        assert!(crew.join("a").is_some() && crew.join("a").is_none());
        assert_eq!(crew.count(), 1);
        assert!(crew.call("a") && crew.is_called("a"));
        assert!(!crew.leave("a"));
        crew.looks("a");
        assert!(!crew.is_called("a") && crew.leave("a"));
        assert_eq!(crew.count(), 0);
    }

    #[test]
    fn one_principal_does_not_take_all_places() {
        let places = Places::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.take("a").now_or_never()).collect();
        assert_eq!(taken.len(), PLACES_OF_ONE);
        let other: Vec<_> = std::iter::from_fn(|| places.take("b").now_or_never()).collect();
        assert_eq!(other.len(), PLACES - PLACES_OF_ONE);
        assert!(places.take("c").now_or_never().is_none());
        drop(taken);
        assert!(places.take("c").now_or_never().is_some());
    }
}
