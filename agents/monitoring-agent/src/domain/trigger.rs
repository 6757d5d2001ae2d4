//! Does this open an incident, how bad is it, and may it be rolled back?

use std::collections::{BTreeSet, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    At, Attribution, Deployment, Key, PodState, Reason, ReplicaSet, Thresholds,
    attribution::{Mark, attribute},
    health::Seen,
};

/// Most pods, and most other workloads, in the evidence.
const MOST_EVIDENCE: usize = 6;

/// What opened an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Pods of a revision that was just released are bad, at least as many as are ready.
    NewRevisionFailing,
    /// The Deployment's controller gave the rollout up.
    ProgressDeadlineExceeded,
    /// A pod was restarted more than three times in five minutes.
    Restarts,
    /// More than half of the pods were unready for three minutes.
    PodsUnready,
}

impl Trigger {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewRevisionFailing => "new_revision_failing",
            Self::ProgressDeadlineExceeded => "progress_deadline_exceeded",
            Self::Restarts => "restarts",
            Self::PodsUnready => "pods_unready",
        }
    }
}

/// How bad an incident is, and who acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// A release fails with all its pods: rolled back at once.
    #[serde(rename = "SEV1")]
    Sev1,
    /// A release fails with some of its pods: rolled back too.
    #[serde(rename = "SEV2")]
    Sev2,
    /// Capacity is missing and no release explains it: a person looks.
    #[serde(rename = "SEV3")]
    Sev3,
    /// Something is wrong, and the workload still has its capacity: a person looks when there is time.
    #[serde(rename = "SEV4")]
    Sev4,
}

impl Severity {
    /// The word for metrics and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sev1 => "SEV1",
            Self::Sev2 => "SEV2",
            Self::Sev3 => "SEV3",
            Self::Sev4 => "SEV4",
        }
    }
}

/// Everything that a decision about one workload depends on.
#[derive(Debug)]
pub struct View<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its current revision.
    pub current: Option<&'a ReplicaSet>,
    /// Its pods.
    pub pods: Vec<Seen<'a>>,
    /// When the current revision became current.
    pub change_at: At,
    /// Whether that is recent enough to explain what goes wrong.
    pub in_release_window: bool,
    /// Whether the current revision was healthy before it became current again (after a rollback).
    pub relapse: bool,
    /// Whether another revision was seen healthy.
    pub baseline: bool,
    /// Since when too many pods are unready.
    pub low_since: Option<At>,
    /// Since when its oldest bad pod is bad.
    pub bad_since: Option<At>,
    /// Nodes that say that they are not ready.
    pub sick_nodes: &'a HashSet<String>,
    /// Bad pods of all workloads, by uid.
    pub marks: &'a HashMap<String, Mark>,
}

impl View<'_> {
    /// Bad pods of other workloads. Takes the time of all bad pods, so only trouble asks for it.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Mark> {
        let own = &self.deployment.key;
        self.marks.values().filter(move |mark| mark.key != *own)
    }
}

/// What is wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The workload.
    pub key: Key,
    /// Same cause, same fingerprint.
    pub fingerprint: String,
    /// What opened it.
    pub trigger: Trigger,
    /// How bad it is.
    pub severity: Severity,
    /// What is to blame.
    pub attribution: Attribution,
    /// The current revision.
    pub revision: Option<u64>,
    /// When the current revision became current.
    pub change_at: At,
    /// First sign.
    pub began_at: At,
    /// What was seen, in sentences.
    pub evidence: Vec<String>,
    /// Trace context of the release, when it left one.
    pub traceparent: Option<String>,
}

impl Finding {
    /// Whether to ask for a rollback: only when a release is to blame.
    pub fn wants_rollback(&self) -> bool {
        self.attribution == Attribution::Release
    }
}

/// The decision about one workload, and when to look again though nothing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What is wrong.
    pub finding: Option<Finding>,
    /// When time alone may change the answer.
    pub wake_at: Option<At>,
}

/// Decides.
pub fn decide(view: &View<'_>, now: At, thresholds: &Thresholds) -> Decision {
    let wake_at = wake_at(view, now, thresholds);
    let finding = trigger(view, now, thresholds).map(|trigger| finding(view, trigger, now));
    Decision { finding, wake_at }
}

fn wake_at(view: &View<'_>, now: At, thresholds: &Thresholds) -> Option<At> {
    let starting = view.pods.iter().filter_map(|seen| match seen.state {
        PodState::Starting(until) => Some(until),
        PodState::Ready | PodState::Bad(_) | PodState::Leaving => None,
    });
    let low = view
        .low_since
        .map(|since| since.plus(thresholds.unready_for_ms));
    starting.chain(low).filter(|at| *at > now).min()
}

fn trigger(view: &View<'_>, now: At, thresholds: &Thresholds) -> Option<Trigger> {
    let new = view.pods.iter().filter(|seen| seen.current);
    let (mut bad, mut ready) = (0_usize, 0_usize);
    for seen in new {
        match seen.state {
            PodState::Bad(_) => bad += 1,
            PodState::Ready => ready += 1,
            PodState::Starting(_) | PodState::Leaving => {}
        }
    }
    let low = view
        .low_since
        .is_some_and(|since| now.since(since) >= thresholds.unready_for_ms);
    let restarting = view
        .pods
        .iter()
        .any(|seen| seen.bad() == Some(Reason::Restarts));
    if view.current.is_none() || view.deployment.desired == 0 {
        None
    } else if view.in_release_window && bad > 0 && bad >= ready {
        Some(Trigger::NewRevisionFailing)
    } else if view.deployment.deadline_exceeded && view.in_release_window {
        Some(Trigger::ProgressDeadlineExceeded)
    } else if restarting {
        Some(Trigger::Restarts)
    } else if low {
        Some(Trigger::PodsUnready)
    } else {
        None
    }
}

fn finding(view: &View<'_>, trigger: Trigger, now: At) -> Finding {
    let deployment = view.deployment;
    let began_at = view
        .bad_since
        .or(view.low_since)
        .unwrap_or(now)
        .max(view.change_at);
    let attribution = attribute(view, began_at);
    let cause = match (attribution, view.current) {
        (Attribution::Release, Some(set)) => set.uid.as_str(),
        _ => "workload",
    };
    Finding {
        fingerprint: format!("{}/{}/{cause}", deployment.key, deployment.uid),
        key: deployment.key.clone(),
        trigger,
        severity: severity(view, attribution),
        attribution,
        revision: deployment.revision,
        change_at: view.change_at,
        began_at,
        evidence: evidence(view),
        traceparent: deployment.traceparent.clone(),
    }
}

fn severity(view: &View<'_>, attribution: Attribution) -> Severity {
    let mut new = view.pods.iter().filter(|seen| seen.current);
    let some_ready = new.any(|seen| seen.state == PodState::Ready);
    let capacity = view.deployment.available >= view.deployment.desired;
    match (attribution, some_ready, capacity) {
        (Attribution::Release, false, _) => Severity::Sev1,
        (Attribution::Release, true, _) => Severity::Sev2,
        (_, _, false) => Severity::Sev3,
        (_, _, true) => Severity::Sev4,
    }
}

fn evidence(view: &View<'_>) -> Vec<String> {
    let deployment = view.deployment;
    let old_ready = |seen: &&Seen<'_>| !seen.current && seen.state == PodState::Ready;
    let mut evidence = vec![format!(
        "{} of {} pods available, {} updated; {} ready pods of earlier revisions",
        deployment.available,
        deployment.desired,
        deployment.updated,
        view.pods.iter().filter(old_ready).count(),
    )];
    if deployment.deadline_exceeded {
        evidence.push("the rollout exceeded its progress deadline".into());
    }
    let bad = view
        .pods
        .iter()
        .filter_map(|seen| Some((seen, seen.bad()?)));
    evidence.extend(bad.map(|(seen, reason)| {
        let age = if seen.current { "current" } else { "earlier" };
        let node = seen.pod.node.as_deref().unwrap_or("no node");
        format!(
            "pod {} of the {age} revision on {node}: {}, {} restarts",
            seen.pod.name,
            reason.as_str(),
            seen.pod.restarts()
        )
    }));
    evidence.truncate(MOST_EVIDENCE);
    let others: BTreeSet<&Key> = view.elsewhere().map(|mark| &mark.key).collect();
    evidence.extend(
        others
            .iter()
            .take(MOST_EVIDENCE)
            .map(|key| format!("{key} has bad pods too")),
    );
    evidence
}

#[cfg(test)]
mod tests;
