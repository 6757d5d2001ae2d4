//! How a workload is, from what is there now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Pod, PodState, Reason, Revision, Workload};

/// Most bad pods that a judgement names.
const MOST_PODS: usize = 20;

/// How a workload is. The order is from best to worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The rollout is complete and every pod is ready.
    Healthy,
    /// On its way: the rollout is not complete, and nothing is bad.
    Progressing,
    /// Some pod is bad or missing; the rest serves.
    Degraded,
    /// The current revision does not come up, or nothing serves.
    Failing,
}

/// A pod together with its judgement.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it is.
    pub state: PodState,
    /// Whether it belongs to the current revision.
    pub current: bool,
    /// Whether its containers were started again too often, whatever they do now.
    pub restarting: bool,
    /// When a container of it ended with an error after it had been ready, if that was lately.
    pub crashed: Option<At>,
}

impl Seen<'_> {
    /// Why it is bad, when it is.
    pub fn bad(&self) -> Option<Reason> {
        match self.state {
            PodState::Bad(reason) => Some(reason),
            PodState::Ready | PodState::Starting(_) | PodState::Leaving => None,
        }
    }
}

/// The health of one workload with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadHealth {
    /// Its kind: `Deployment`, `StatefulSet` or `DaemonSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The judgement.
    pub verdict: Verdict,
    /// Why, in sentences; empty when healthy.
    pub reasons: Vec<String>,
    /// Revision that it should run.
    pub revision: Option<u64>,
    /// Pods wanted.
    pub desired: u32,
    /// Pods of the current revision.
    pub updated: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that are available.
    pub available: u32,
    /// Pods that are bad, at most 20.
    pub bad_pods: Vec<BadPod>,
}

/// A bad pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BadPod {
    /// Its name.
    pub name: String,
    /// Why it is bad.
    pub reason: Reason,
    /// Whether it belongs to the current revision.
    pub current_revision: bool,
    /// How often its containers were started again.
    pub restarts: u32,
    /// Where it runs.
    pub node: Option<String>,
}

/// Judges a workload. Complete is what `kubectl rollout status` calls so; a partition and `OnDelete` count as far
/// as they let pods go.
pub fn judge(workload: &Workload, current: Option<&Revision>, pods: &[Seen<'_>]) -> WorkloadHealth {
    let wanted = workload.desired;
    let rolling = workload.rolling();
    let complete = !rolling && workload.available >= wanted && workload.ready >= wanted;
    let bad: Vec<&Seen<'_>> = pods.iter().filter(|seen| seen.bad().is_some()).collect();
    let staying = |seen: &&Seen<'_>| seen.current && seen.state != PodState::Leaving;
    let of_current = pods.iter().filter(staying).count();
    let current_bad = bad.iter().filter(|seen| seen.current).count();
    let given_up = workload.deadline_exceeded && !complete;
    let starting = pods
        .iter()
        .any(|seen| matches!(seen.state, PodState::Starting(_)));
    let verdict = if given_up || (current_bad > 0 && current_bad * 2 >= of_current) {
        Verdict::Failing
    } else if complete && bad.is_empty() {
        Verdict::Healthy
    } else if !bad.is_empty() {
        Verdict::Degraded
    } else if rolling || starting || workload.ready >= wanted {
        Verdict::Progressing
    } else if workload.available == 0 {
        Verdict::Failing
    } else {
        Verdict::Degraded
    };
    WorkloadHealth {
        kind: workload.key.kind.as_str().into(),
        name: workload.key.name.clone(),
        verdict,
        reasons: reasons(workload, &bad, (complete, given_up)),
        revision: current.map(|revision| revision.number),
        desired: wanted,
        updated: workload.updated,
        ready: workload.ready,
        available: workload.available,
        bad_pods: bad
            .iter()
            .take(MOST_PODS)
            .filter_map(|seen| bad_pod(seen))
            .collect(),
    }
}

fn bad_pod(seen: &Seen<'_>) -> Option<BadPod> {
    Some(BadPod {
        name: seen.pod.name.clone(),
        reason: seen.bad()?,
        current_revision: seen.current,
        restarts: seen.pod.restarts(),
        node: seen.pod.node.clone(),
    })
}

fn reasons(
    workload: &Workload,
    bad: &[&Seen<'_>],
    (complete, given_up): (bool, bool),
) -> Vec<String> {
    let mut reasons = Vec::new();
    if given_up {
        reasons.push("the rollout exceeded its progress deadline".to_owned());
    }
    if workload.lags() {
        reasons.push("the controller has not seen the newest generation".to_owned());
    }
    if !bad.is_empty() {
        reasons.push(format!("{} pods are bad", bad.len()));
    }
    if let Some(refusal) = &workload.refusal {
        reasons.push(format!("pods cannot be made: {}", refusal.describe()));
    }
    if !complete && !workload.lags() {
        reasons.push(format!(
            "{} of {} pods are updated, {} available",
            workload.updated, workload.desired, workload.available
        ));
    }
    if workload.held > 0 {
        let held = workload.held;
        reasons.push(format!(
            "{held} pods are held on the earlier revision by the update strategy"
        ));
    }
    if workload.paused {
        reasons.push("the rollout is paused".to_owned());
    }
    reasons
}
