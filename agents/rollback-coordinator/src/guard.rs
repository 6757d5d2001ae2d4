//! What surrounds a rollback: the lock that all coordinators respect, and whoever is kept still meanwhile.

mod find;
mod freeze;
mod grip;
mod holds;
pub mod settle;
pub mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::json;
use shared::{Context, SkillError, ToolCall};
use tokio::sync::OnceCell;

pub use find::{Found, find};
pub use grip::Grip;
pub use holds::{Ended, let_go, take};

use crate::{
    clients::{Objects, Pipelines},
    domain::{
        WorkloadId,
        guards::Limits,
        hold::{ObjectRef, text},
        lease::{self, FENCE_ANNOTATION, is_fenced},
    },
};

/// How long the holder of a workload's lock may be silent, in seconds: three renewals.
pub const LOCK_SECONDS: u32 = 30;
/// How long GitOps stays paused before a person has to look, in seconds: one day.
pub const GITOPS_DEADLINE_SECONDS: u32 = 86_400;
/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// Flags of the guards.
#[derive(Debug, Clone, clap::Args)]
pub struct GuardArgs {
    /// How long the holder of a workload's lock may be silent before another coordinator takes it, in seconds.
    #[arg(long, env = "ROLLBACK_COORDINATOR_LOCK_SECONDS", default_value_t = LOCK_SECONDS, value_parser = clap::value_parser!(u32).range(3..))]
    pub lock_seconds: u32,
    /// Rollbacks of one workload within the window; the next one waits for a person.
    #[arg(long, env = "ROLLBACK_COORDINATOR_MAX_ROLLBACKS", default_value_t = crate::domain::guards::MAX_ROLLBACKS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rollbacks: u32,
    /// The window in which they are counted, in seconds.
    #[arg(long, env = "ROLLBACK_COORDINATOR_ROLLBACK_WINDOW_SECONDS", default_value_t = crate::domain::guards::WINDOW_SECONDS)]
    pub rollback_window_seconds: u32,
    /// How long GitOps stays paused before a person has to look, in seconds.
    #[arg(long, env = "ROLLBACK_COORDINATOR_GITOPS_DEADLINE_SECONDS", default_value_t = GITOPS_DEADLINE_SECONDS)]
    pub gitops_deadline_seconds: u32,
}

/// The flags as what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long the holder of a lock may be silent.
    pub lock: std::time::Duration,
    /// Limits against going in circles.
    pub limits: Limits,
    /// How long GitOps stays paused before a person has to look.
    pub gitops_deadline: std::time::Duration,
}

impl From<&GuardArgs> for Settings {
    fn from(args: &GuardArgs) -> Self {
        Self {
            lock: std::time::Duration::from_secs(args.lock_seconds.into()),
            limits: Limits {
                most: args.max_rollbacks,
                window: time::Duration::seconds(args.rollback_window_seconds.into()),
            },
            gitops_deadline: std::time::Duration::from_secs(args.gitops_deadline_seconds.into()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lock: std::time::Duration::from_secs(LOCK_SECONDS.into()),
            limits: Limits::default(),
            gitops_deadline: std::time::Duration::from_secs(GITOPS_DEADLINE_SECONDS.into()),
        }
    }
}

/// Who and what surrounds rollbacks.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Objects of other controllers, and Leases.
    pub objects: Arc<dyn Objects>,
    /// The namespaces that this agent may touch.
    pub namespaces: Vec<String>,
    /// Pipelines, where a platform for them is configured.
    pub pipelines: Option<Pipelines>,
    /// Limits and times.
    pub settings: Settings,
    grip: Arc<OnceCell<Grip>>,
}

/// What an annotation should be, from what it is.
type Annotate<'a> = &'a (dyn Fn(Option<&str>) -> Result<String, SkillError> + Sync);

/// The object of a workload.
pub fn object(id: &WorkloadId) -> ObjectRef {
    let (group, version) = id.kind.api();
    ObjectRef {
        api_version: format!("{group}/{version}"),
        kind: id.kind.as_str().into(),
        plural: id.kind.resource().into(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

/// The Lease of a workload.
pub fn lease_of(id: &WorkloadId) -> ObjectRef {
    let digest = shared::digest::of_json(&id.name);
    let name = lease::name(id.kind.as_str(), &id.name, &digest);
    lease::object(&id.namespace, name)
}

impl Guard {
    /// A guard that holds nothing.
    pub fn new(objects: Arc<dyn Objects>, namespaces: Vec<String>, settings: Settings) -> Self {
        Self {
            objects,
            namespaces,
            pipelines: None,
            settings,
            grip: Arc::default(),
        }
    }

    /// The same with pipelines to keep still.
    #[must_use]
    pub fn with_pipelines(self, pipelines: Option<Pipelines>) -> Self {
        Self { pipelines, ..self }
    }

    /// The same for one run, with a lock of its own.
    #[must_use]
    pub fn for_one_run(&self) -> Self {
        Self {
            grip: Arc::default(),
            ..self.clone()
        }
    }

    /// The lock that this run holds.
    pub fn current(&self) -> Option<&Grip> {
        self.grip.get()
    }

    /// Takes a workload's Lease for this run.
    ///
    /// # Errors
    /// As [`Grip::take`].
    pub async fn grip(
        &self,
        context: &Context,
        id: &WorkloadId,
        rollback: &str,
    ) -> Result<(), SkillError> {
        let holder = (rollback, self.settings.lock);
        let take = || Grip::take(context, self.objects.clone(), lease_of(id), holder);
        self.grip.get_or_try_init(take).await.map(drop)
    }

    /// Stamps a workload with the token of this run.
    ///
    /// # Errors
    /// `Failed` when a later holder stamped it before.
    pub async fn stamp(&self, context: &Context, id: &WorkloadId) -> Result<(), SkillError> {
        let Some(grip) = self.current() else {
            return Ok(());
        };
        let stamp = |before: Option<&str>| {
            if is_fenced(before, grip.token()) {
                return Err(SkillError::failed(format!(
                    "{id} was stamped by a later rollback, so nothing is written"
                )));
            }
            Ok(grip.token().to_string())
        };
        self.annotate(context, id, (FENCE_ANNOTATION, &stamp)).await
    }

    /// Changes an annotation of a workload, from what it is to what it should be.
    ///
    /// # Errors
    /// What `change` says, `Failed` when the lock is lost or the workload is gone.
    pub async fn annotate(
        &self,
        context: &Context,
        id: &WorkloadId,
        (name, change): (&str, Annotate<'_>),
    ) -> Result<(), SkillError> {
        let object = object(id);
        for _ in 0..ATTEMPTS {
            let Some(live) = self.objects.get(&object).await? else {
                return Err(SkillError::failed(format!("{id} is gone")));
            };
            let annotations = live.pointer("/metadata/annotations");
            let before = annotations.and_then(|all| all.get(name)?.as_str());
            let after = change(before)?;
            if before == Some(&after) {
                return Ok(());
            }
            if let Some(grip) = self.current() {
                grip.check(context).await?;
            }
            let patch = json!({"metadata": {"annotations": {name: after}}});
            let version = text(&live, "/metadata/resourceVersion").unwrap_or_default();
            let call = ToolCall::write("kubernetes.patch", [object.to_string()]);
            let merge = self.objects.merge(&object, version, &patch);
            if context.tool(call, merge).await?.is_some() {
                return Ok(());
            }
        }
        Err(SkillError::failed(format!("{id} kept changing")))
    }

    /// Resolves when this run loses its lock.
    pub async fn lost(&self, context: &Context) -> SkillError {
        match self.current() {
            Some(grip) => grip.keep(context).await,
            None => std::future::pending().await,
        }
    }

    /// Lets the lock go, if this run holds it.
    pub async fn release(&self, context: &Context) {
        if let Some(grip) = self.current()
            && let Err(error) = grip.release(context).await
        {
            let error = shared::telemetry::Chain(&error).to_string();
            tracing::warn!(error, "the lock is not let go: its time runs out");
        }
    }

    /// Lets a lock go that a rollback left when its process died between its end and that. Others wait it out.
    ///
    /// # Errors
    /// When the cluster does not answer; then the lock's time runs out.
    pub async fn release_left(
        &self,
        context: &Context,
        id: &WorkloadId,
        rollback: &str,
    ) -> Result<(), SkillError> {
        let live = self.objects.get(&lease_of(id)).await?.unwrap_or_default();
        if text(&live, "/spec/holderIdentity") != Some(rollback) {
            return Ok(());
        }
        let again = self.for_one_run();
        again.grip(context, id, rollback).await?;
        again.release(context).await;
        Ok(())
    }

    /// Looks for everybody who has to be kept still.
    ///
    /// # Errors
    /// As [`find()`].
    pub async fn find(
        &self,
        context: &Context,
        id: &WorkloadId,
        stops: bool,
    ) -> Result<Found, SkillError> {
        let target = (&object(id), stops);
        find(context, &self.objects, &self.namespaces, target).await
    }
}
