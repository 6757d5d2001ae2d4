//! A process that dies at any of its calls: before the call takes effect, or after.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::Value;
use shared::SkillError;
use store::{Commit, Entry, Scan, Store, StoreError, Write};
use tokio::sync::Notify;

use crate::{
    clients::{Objects, RolloutControl, Waited},
    domain::{Change, Member, Workload, WorkloadId, hold::ObjectRef},
};

/// Counts the calls of a process down to its death.
#[derive(Debug)]
pub(crate) struct Fuse {
    left: AtomicI64,
    takes_effect: bool,
    died: Notify,
}

impl Fuse {
    /// A process that dies at its n-th call, before or after that takes effect.
    pub(crate) fn new(calls: i64, takes_effect: bool) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(calls),
            takes_effect,
            died: Notify::new(),
        })
    }

    /// Resolves when the process dies.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }

    /// Runs to its end, or to its death: then `None`.
    pub(crate) async fn until_death<T>(&self, run: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            ended = run => Some(ended),
            () = self.died() => None,
        }
    }

    async fn call<T>(&self, effect: impl Future<Output = T>) -> T {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return effect.await;
        }
        if left == 0 && self.takes_effect {
            drop(effect.await);
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

/// A port of a process that dies.
#[derive(Debug)]
pub(crate) struct Mortal<T: ?Sized>(pub(crate) Arc<T>, pub(crate) Arc<Fuse>);

#[async_trait::async_trait]
impl Store for Mortal<dyn Store> {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        let (store, fuse) = (self.0.clone(), self.1.clone());
        Box::pin(async move { fuse.call(store.submit(batch)).await })
    }

    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError> {
        self.1.call(self.0.get(collection, key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        self.1.call(self.0.scan(scan)).await
    }

    async fn count(
        &self,
        collection: &'static str,
        scope: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.1.call(self.0.count(collection, scope)).await
    }
}

#[async_trait::async_trait]
impl Objects for Mortal<dyn Objects> {
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError> {
        self.1.call(self.0.list(like)).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError> {
        self.1.call(self.0.get(object)).await
    }

    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError> {
        self.1.call(self.0.create_lease(lease, body)).await
    }

    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError> {
        self.1.call(self.0.merge(object, version, patch)).await
    }
}

#[async_trait::async_trait]
impl RolloutControl for Mortal<dyn RolloutControl> {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, SkillError> {
        self.1.call(self.0.workload(id)).await
    }

    async fn change(&self, workload: &Workload, change: &Change) -> Result<(), SkillError> {
        self.1.call(self.0.change(workload, change)).await
    }

    async fn await_gone(&self, workload: &Workload) -> Result<Waited, SkillError> {
        self.1.call(self.0.await_gone(workload)).await
    }

    async fn await_ready(&self, workload: &Workload, revision: &str) -> Result<Waited, SkillError> {
        self.1.call(self.0.await_ready(workload, revision)).await
    }

    async fn remove(&self, namespace: &str, pod: &Member) -> Result<(), SkillError> {
        self.1.call(self.0.remove(namespace, pod)).await
    }
}
