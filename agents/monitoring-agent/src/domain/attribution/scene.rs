//! A workload in trouble, as the rules look at it.

use std::collections::BTreeSet;

use super::{Attribution, Cause, Mark};
use crate::domain::{
    At, PodState, Reason,
    health::Seen,
    template::Field,
    thresholds::SHARED_WINDOW_MS,
    trigger::{Trigger, View},
};

/// A workload in trouble.
pub(super) struct Scene<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) trigger: Trigger,
    pub(super) began: At,
    pub(super) bad: Vec<&'a Seen<'a>>,
    /// Nodes of the bad pods.
    pub(super) nodes: BTreeSet<&'a str>,
    /// What the release changed.
    pub(super) changed: BTreeSet<Field>,
    /// Pods of the earlier revision serve.
    pub(super) old_good: bool,
    /// A release can be to blame at all: it is new, and what came before it was good.
    pub(super) suspect: bool,
}

impl<'a> Scene<'a> {
    pub(super) fn of(view: &'a View<'a>, trigger: Trigger, began: At) -> Self {
        let bad: Vec<&Seen<'_>> = view.pods.iter().filter(|s| s.bad().is_some()).collect();
        let old_good = view
            .pods
            .iter()
            .any(|seen| !seen.current && seen.state == PodState::Ready);
        let new = view.in_release_window && !view.relapse;
        let changed = match (view.current, view.before) {
            (Some(current), Some(before)) => current.template.changed_since(&before.template),
            _ => BTreeSet::new(),
        };
        Self {
            nodes: bad.iter().filter_map(|s| s.pod.node.as_deref()).collect(),
            suspect: new && (old_good || view.baseline),
            view,
            trigger,
            began,
            bad,
            changed,
            old_good,
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.view.workload.key.namespace
    }

    pub(super) fn all(&self, reason: Reason) -> bool {
        !self.bad.is_empty() && self.bad.iter().all(|seen| seen.bad() == Some(reason))
    }

    pub(super) fn current_bad(&self) -> bool {
        self.bad.iter().any(|seen| seen.current)
    }

    pub(super) fn only_current_bad(&self) -> bool {
        self.current_bad() && self.bad.iter().all(|seen| seen.current)
    }

    /// The release is to blame for this reason when it can be and only its pods are bad.
    pub(super) fn blames(&self, because: impl Into<String>) -> Option<Cause> {
        let can = self.suspect && (self.bad.is_empty() || self.only_current_bad());
        can.then(|| Cause::new(Attribution::Release, None, because))
    }

    pub(super) fn changed(&self, field: Field) -> bool {
        self.changed.contains(&field)
    }

    pub(super) fn asks_more(&self, resource: &str) -> bool {
        match (self.view.current, self.view.before) {
            (Some(current), Some(before)) => current.template.asks_more(&before.template, resource),
            _ => false,
        }
    }

    /// Pods are bad that are placed, and on these nodes only.
    pub(super) fn placed(&self) -> bool {
        !self.bad.is_empty() && self.bad.iter().all(|seen| seen.pod.node.is_some())
    }

    pub(super) fn well_elsewhere(&self) -> bool {
        self.view.pods.iter().any(|seen| {
            let node = seen.pod.node.as_deref();
            seen.state == PodState::Ready && node.is_some_and(|node| !self.nodes.contains(node))
        })
    }

    /// Bad pods of other workloads that nobody released, since this trouble or shortly before it.
    pub(super) fn others(&self) -> Vec<&'a Mark> {
        let recent = |mark: &&Mark| mark.stable && mark.since >= self.began.plus(-SHARED_WINDOW_MS);
        self.view.elsewhere().filter(recent).collect()
    }

    pub(super) fn node_subject(&self) -> String {
        let first = self.nodes.first().copied().unwrap_or_default();
        format!("node/{first}")
    }
}
