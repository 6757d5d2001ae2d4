//! Does this open an incident, how bad is it, and may it be rolled back?

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    At, Attribution, Change, Key, PodState, Refusal, Requests, Revision, Surroundings, Thresholds,
    Workload,
    attribution::{Cause, Mark, attribute},
    health::Seen,
    messages::MountFault,
    requests::RequestSign,
    thresholds::LATENCY_WINDOW_MS,
};

mod evidence;

/// A release that fails this share of requests is as bad as one whose pods all fail.
const SEVERE_SHARE: f64 = 0.5;

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
    /// The controller cannot make pods: a quota, a rule, a webhook.
    CreationRefused,
    /// An error budget burns so fast that it is used up within hours.
    FastBurn,
    /// Too many requests fail.
    ErrorRate,
    /// The 95th percentile of latency is a multiple of its baseline.
    Latency,
    /// A claim of a pod waits for its volume.
    VolumePending,
    /// The controller does not look at the newest spec.
    GenerationLag,
    /// The autoscaler is at its limit.
    AutoscalerAtLimit,
    /// A disruption budget is exhausted by unhealthy pods.
    DisruptionsBlocked,
    /// An error budget burns so fast that it is used up within days.
    SlowBurn,
}

impl Trigger {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewRevisionFailing => "new_revision_failing",
            Self::ProgressDeadlineExceeded => "progress_deadline_exceeded",
            Self::Restarts => "restarts",
            Self::PodsUnready => "pods_unready",
            Self::CreationRefused => "creation_refused",
            Self::FastBurn => "fast_burn",
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::VolumePending => "volume_pending",
            Self::GenerationLag => "generation_lag",
            Self::AutoscalerAtLimit => "autoscaler_at_limit",
            Self::DisruptionsBlocked => "disruptions_blocked",
            Self::SlowBurn => "slow_burn",
        }
    }
}

/// How bad an incident is, and who acts on it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Severity {
    /// A release fails with all its pods: rolled back at once.
    #[serde(rename = "SEV1")]
    Sev1,
    /// A release fails with some of its pods or requests: rolled back gradually.
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not exclude each other"
)]
#[derive(Debug)]
pub struct View<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// Its current revision.
    pub current: Option<&'a Revision>,
    /// The revision before: the newest other one that was healthy, else the newest other one.
    pub before: Option<&'a Revision>,
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
    /// Since when its controller does not look at the newest spec.
    pub lag_since: Option<At>,
    /// Why its controller cannot make pods, and since when.
    pub refusal: Option<(Refusal, At)>,
    /// Since when the oldest waiting claim of its pods waits.
    pub pending_since: Option<At>,
    /// What the requests that it serves tell, when they tell trouble.
    pub requests: Option<&'a Requests>,
    /// Whether requests to others that nobody released are in trouble too.
    pub burning_elsewhere: bool,
    /// Why volumes of its pods (by uid) do not mount.
    pub mounts: HashMap<&'a str, &'a MountFault>,
    /// What it depends on.
    pub around: &'a Surroundings,
    /// Bad pods of all workloads, by uid.
    pub marks: &'a HashMap<String, Mark>,
}

impl<'a> View<'a> {
    /// Bad pods of other workloads. Takes the time of all bad pods, so only trouble asks for it.
    pub fn elsewhere(&self) -> impl Iterator<Item = &'a Mark> {
        let own = &self.workload.key;
        let own = own.clone();
        self.marks.values().filter(move |mark| mark.key != own)
    }

    /// Why a volume of a pod does not mount.
    pub fn mount_fault(&self, seen: &Seen<'_>) -> Option<&'a MountFault> {
        self.mounts.get(seen.pod.uid.as_str()).copied()
    }

    /// Number of the current revision.
    pub fn revision(&self) -> Option<u64> {
        self.current.map(|revision| revision.number)
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
    /// What that is, when it has a name.
    pub subject: Option<String>,
    /// Why it is to blame, in one sentence.
    pub because: String,
    /// The current revision.
    pub revision: Option<u64>,
    /// When the current revision became current.
    pub change_at: At,
    /// The last change of the workload.
    pub change: Change,
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

    /// What workloads with the same cause share; `None` when it is this workload's own.
    pub fn group(&self) -> Option<&str> {
        self.subject
            .as_deref()
            .filter(|_| self.attribution != Attribution::Release)
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
    let due = due(view, thresholds);
    let starting = view.pods.iter().filter_map(|seen| match seen.state {
        PodState::Starting(until) => Some(until),
        PodState::Ready | PodState::Bad(_) | PodState::Leaving => None,
    });
    let times = starting.chain(due.iter().map(|(_, at)| *at));
    let wake_at = times.filter(|at| *at > now).min();
    let finding = trigger(view, &due, now).map(|trigger| finding(view, trigger, now));
    Decision { finding, wake_at }
}

/// Triggers that wait for a time of their own, with that time, the worst first.
fn due(view: &View<'_>, thresholds: &Thresholds) -> Vec<(Trigger, At)> {
    let after = |since: Option<At>, millis: i64| since.map(|since| since.plus(millis));
    let refused = view.refusal.as_ref().map(|(refusal, since)| {
        since.plus(match refusal {
            Refusal::Missing(_) => thresholds.missing_after_ms,
            Refusal::Denied => thresholds.unready_after_ms,
            Refusal::Webhook | Refusal::Other => thresholds.unmounted_after_ms,
            Refusal::Quota(_) => thresholds.quota_after_ms,
        })
    });
    let (around, key) = (view.around, &view.workload.key);
    let limited = around.limited(key).map(|(_, since)| since);
    let template = view.current.map(|revision| &revision.template);
    let exhausted = template.and_then(|t| around.exhausted(&key.namespace, t));
    let exhausted = exhausted.map(|(_, since)| since);
    [
        (Trigger::CreationRefused, refused),
        (
            Trigger::PodsUnready,
            after(view.low_since, thresholds.unready_for_ms),
        ),
        (
            Trigger::VolumePending,
            after(view.pending_since, thresholds.pending_after_ms),
        ),
        (
            Trigger::GenerationLag,
            after(view.lag_since, thresholds.lag_after_ms),
        ),
        (
            Trigger::AutoscalerAtLimit,
            after(limited, thresholds.limited_after_ms),
        ),
        (
            Trigger::DisruptionsBlocked,
            after(exhausted, thresholds.exhausted_after_ms),
        ),
    ]
    .into_iter()
    .filter_map(|(trigger, at)| Some((trigger, at?)))
    .collect()
}

fn trigger(view: &View<'_>, due: &[(Trigger, At)], now: At) -> Option<Trigger> {
    if view.current.is_none() || view.workload.desired == 0 {
        return None;
    }
    let (mut bad, mut ready) = (0_usize, 0_usize);
    for seen in view.pods.iter().filter(|seen| seen.current) {
        match seen.state {
            PodState::Bad(_) => bad += 1,
            PodState::Ready => ready += 1,
            PodState::Starting(_) | PodState::Leaving => {}
        }
    }
    if view.in_release_window && bad > 0 && bad >= ready {
        return Some(Trigger::NewRevisionFailing);
    }
    if view.workload.deadline_exceeded && view.in_release_window {
        return Some(Trigger::ProgressDeadlineExceeded);
    }
    let mut over = due.iter().filter(|(_, at)| *at <= now).map(|(t, _)| *t);
    let first = over.next();
    if first == Some(Trigger::CreationRefused) {
        return first;
    }
    if view.pods.iter().any(|seen| seen.restarting) {
        return Some(Trigger::Restarts);
    }
    let asked = view
        .requests
        .filter(|requests| still_holds(view, requests, now));
    let asked = asked.map(|requests| requests.sign);
    match (first, asked) {
        (Some(Trigger::PodsUnready), _) => first,
        (_, Some(RequestSign::FastBurn)) => Some(Trigger::FastBurn),
        (_, Some(RequestSign::ErrorRate)) => Some(Trigger::ErrorRate),
        (_, Some(RequestSign::Latency)) => Some(Trigger::Latency),
        (Some(_), _) => first,
        (None, Some(RequestSign::SlowBurn)) => Some(Trigger::SlowBurn),
        (None, None) => None,
    }
}

/// A change after the trouble began may be its cure, which the windows of a rate show only later.
fn still_holds(view: &View<'_>, requests: &Requests, now: At) -> bool {
    requests.since >= view.change_at || now.since(view.change_at) > LATENCY_WINDOW_MS
}

fn finding(view: &View<'_>, trigger: Trigger, now: At) -> Finding {
    let workload = view.workload;
    let first = [
        view.bad_since,
        view.low_since,
        view.refusal.as_ref().map(|(_, since)| *since),
        view.requests.map(|requests| requests.since),
    ];
    let began_at = first.into_iter().flatten().next().unwrap_or(now);
    let began_at = began_at.max(view.change_at);
    let Cause {
        attribution,
        subject,
        because,
    } = attribute(view, trigger, began_at);
    let own = |cause: &str| format!("{}/{}/{cause}", workload.key, workload.uid);
    let fingerprint = match (attribution, view.current, &subject) {
        (Attribution::Release, Some(revision), _) => own(&revision.uid),
        (_, _, Some(subject)) => subject.clone(),
        (_, _, None) => own("workload"),
    };
    Finding {
        fingerprint,
        key: workload.key.clone(),
        trigger,
        severity: severity(view, attribution),
        attribution,
        subject,
        because,
        revision: view.revision(),
        change_at: view.change_at,
        change: Change::of(view),
        began_at,
        evidence: evidence::of(view),
        traceparent: workload.traceparent.clone(),
    }
}

fn severity(view: &View<'_>, attribution: Attribution) -> Severity {
    let mut new = view.pods.iter().filter(|seen| seen.current);
    let some_ready = new.any(|seen| seen.state == PodState::Ready);
    let severe = view
        .requests
        .is_some_and(|r| r.failing_share >= SEVERE_SHARE);
    let capacity = view.workload.available >= view.workload.desired;
    match (attribution, some_ready && !severe, capacity && !severe) {
        (Attribution::Release, false, _) => Severity::Sev1,
        (Attribution::Release, true, _) => Severity::Sev2,
        (_, _, false) => Severity::Sev3,
        (_, _, true) => Severity::Sev4,
    }
}

#[cfg(test)]
mod tests;
