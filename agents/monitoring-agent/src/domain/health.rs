//! How a workload is, from what is there now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Deployment, Pod, PodState, Reason};

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
    /// Its kind: `Deployment`.
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

/// Judges a workload. Complete is what `kubectl rollout status` calls so.
pub fn judge(deployment: &Deployment, pods: &[Seen<'_>]) -> WorkloadHealth {
    let lag = deployment.observed_generation < deployment.generation;
    let wanted = deployment.desired;
    let complete = !lag
        && deployment.updated >= wanted
        && deployment.total <= deployment.updated
        && deployment.available >= wanted
        && deployment.ready >= wanted;
    let bad: Vec<&Seen<'_>> = pods.iter().filter(|seen| seen.bad().is_some()).collect();
    let staying = |seen: &&Seen<'_>| seen.current && seen.state != PodState::Leaving;
    let current = pods.iter().filter(staying).count();
    let current_bad = bad.iter().filter(|seen| seen.current).count();
    let given_up = deployment.deadline_exceeded && !complete;
    let starting = pods
        .iter()
        .any(|seen| matches!(seen.state, PodState::Starting(_)));
    let rolling = lag || deployment.updated < wanted || deployment.total > deployment.updated;
    let verdict = if given_up || (current_bad > 0 && current_bad * 2 >= current) {
        Verdict::Failing
    } else if complete && bad.is_empty() {
        Verdict::Healthy
    } else if !bad.is_empty() {
        Verdict::Degraded
    } else if rolling || starting || deployment.ready >= wanted {
        Verdict::Progressing
    } else if deployment.available == 0 {
        Verdict::Failing
    } else {
        Verdict::Degraded
    };
    WorkloadHealth {
        kind: "Deployment".into(),
        name: deployment.key.name.clone(),
        verdict,
        reasons: reasons(deployment, &bad, (lag, complete, given_up)),
        revision: deployment.revision,
        desired: wanted,
        updated: deployment.updated,
        ready: deployment.ready,
        available: deployment.available,
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
    deployment: &Deployment,
    bad: &[&Seen<'_>],
    (lag, complete, given_up): (bool, bool, bool),
) -> Vec<String> {
    let mut reasons = Vec::new();
    if given_up {
        reasons.push("the rollout exceeded its progress deadline".to_owned());
    }
    if lag {
        reasons.push("the controller has not seen the newest generation".to_owned());
    }
    if !bad.is_empty() {
        reasons.push(format!("{} pods are bad", bad.len()));
    }
    if !complete && !lag {
        reasons.push(format!(
            "{} of {} pods are updated, {} available",
            deployment.updated, deployment.desired, deployment.available
        ));
    }
    if deployment.paused {
        reasons.push("the rollout is paused".to_owned());
    }
    reasons
}
