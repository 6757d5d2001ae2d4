//! The cluster as it was last seen, with the little history that judgements need.
//!
//! One workload is evaluated in the time that its own pods take, however large the cluster is.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    At, Decision, Deployment, Key, Node, Pod, PodState, ReplicaSet, Signals, Thresholds, Verdict,
    WorkloadHealth, assess,
    attribution::Mark,
    health::{Seen, judge},
    thresholds::SHARED_WINDOW_MS,
    trigger::{View, decide},
};

/// What is known of a Deployment over time.
#[derive(Debug, Clone)]
struct Track {
    deployment: Deployment,
    /// Uid of the current `ReplicaSet` and when it became current.
    current: Option<(String, At)>,
    low_since: Option<At>,
}

#[derive(Debug, Clone)]
struct TrackedPod {
    pod: Pod,
    signals: Signals,
}

/// The model.
#[derive(Debug, Clone, Default)]
pub struct World {
    workloads: HashMap<Key, Track>,
    keys: HashMap<String, Key>,
    sets: HashMap<String, ReplicaSet>,
    sets_of: HashMap<String, BTreeSet<String>>,
    pods: HashMap<String, TrackedPod>,
    pods_of: HashMap<String, BTreeSet<String>>,
    /// When a revision (by the uid of its `ReplicaSet`) was first seen healthy.
    healthy: HashMap<String, At>,
    sick_nodes: HashSet<String>,
    marks: HashMap<String, Mark>,
    /// Probe failures of pods that were not seen yet.
    early: HashMap<String, At>,
}

/// Most probe failures kept for pods that were not seen yet.
const MAX_EARLY: usize = 10_000;

/// What later judgements need of an evaluation.
struct Memory {
    uids: Vec<String>,
    marks: HashMap<String, Mark>,
    low_since: Option<At>,
    healthy: Option<String>,
}

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// What is wrong, and when to look again.
    pub decision: Decision,
    /// How the workload is.
    pub health: WorkloadHealth,
}

impl World {
    /// Takes in a Deployment.
    pub fn apply_deployment(&mut self, deployment: Deployment) -> Key {
        let key = deployment.key.clone();
        self.keys.insert(deployment.uid.clone(), key.clone());
        match self.workloads.get_mut(&key) {
            Some(track) if track.deployment.uid == deployment.uid => track.deployment = deployment,
            _ => {
                let track = Track {
                    deployment,
                    current: None,
                    low_since: None,
                };
                self.workloads.insert(key.clone(), track);
            }
        }
        key
    }

    /// Takes in a revision; gives the workload it belongs to.
    pub fn apply_set(&mut self, set: ReplicaSet) -> Option<Key> {
        let key = self.keys.get(&set.owner).cloned();
        self.sets_of
            .entry(set.owner.clone())
            .or_default()
            .insert(set.uid.clone());
        self.sets.insert(set.uid.clone(), set);
        key
    }

    /// Takes in a pod; gives the workload it belongs to.
    pub fn apply_pod(&mut self, pod: Pod, now: At) -> Option<Key> {
        let (uid, owner) = (pod.uid.clone(), pod.owner.clone());
        self.pods_of
            .entry(owner.clone())
            .or_default()
            .insert(uid.clone());
        let early = self.early.remove(&uid);
        let mut signals = self
            .pods
            .remove(&uid)
            .map(|tracked| tracked.signals)
            .unwrap_or_default();
        signals.see(&pod, now);
        if let Some(at) = early {
            signals.probe_failed(at);
        }
        self.pods.insert(uid, TrackedPod { pod, signals });
        self.workload_of(&owner)
    }

    /// Takes in a warning that a readiness or liveness probe of a pod failed.
    pub fn apply_probe_failure(&mut self, pod_uid: &str, at: At) -> Option<Key> {
        let Some(tracked) = self.pods.get_mut(pod_uid) else {
            if self.early.len() < MAX_EARLY {
                self.early.insert(pod_uid.to_owned(), at);
            }
            return None;
        };
        tracked.signals.probe_failed(at);
        let owner = tracked.pod.owner.clone();
        self.workload_of(&owner)
    }

    /// Takes in a node; gives the workloads that have bad pods on it.
    pub fn apply_node(&mut self, node: &Node) -> Vec<Key> {
        let changed = if node.ready {
            self.sick_nodes.remove(&node.name)
        } else {
            self.sick_nodes.insert(node.name.clone())
        };
        let on_it = |mark: &&Mark| changed && mark.node.as_ref() == Some(&node.name);
        self.marks
            .values()
            .filter(on_it)
            .map(|mark| mark.key.clone())
            .collect()
    }

    /// Forgets a node.
    pub fn remove_node(&mut self, name: &str) {
        self.sick_nodes.remove(name);
    }

    /// Forgets a Deployment.
    pub fn remove_deployment(&mut self, uid: &str) -> Option<Key> {
        let key = self.keys.remove(uid)?;
        // One of the same name may have taken its place.
        let same = self
            .workloads
            .get(&key)
            .is_some_and(|track| track.deployment.uid == uid);
        if same {
            self.workloads.remove(&key);
        }
        Some(key)
    }

    /// Forgets a revision.
    pub fn remove_set(&mut self, uid: &str) -> Option<Key> {
        let set = self.sets.remove(uid)?;
        self.healthy.remove(uid);
        forget(&mut self.sets_of, &set.owner, uid);
        self.keys.get(&set.owner).cloned()
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Key> {
        let TrackedPod { pod, signals: _ } = self.pods.remove(uid)?;
        self.marks.remove(uid);
        forget(&mut self.pods_of, &pod.owner, uid);
        self.workload_of(&pod.owner)
    }

    /// Uids of what is known in a namespace: Deployments, revisions, pods.
    pub fn uids(&self, namespace: &str) -> [Vec<String>; 3] {
        let workloads = self.workloads.values().map(|track| &track.deployment);
        let deployments = workloads
            .filter(|d| d.key.namespace == namespace)
            .map(|d| d.uid.clone());
        let sets = self
            .sets
            .values()
            .filter(|s| s.namespace == namespace)
            .map(|s| s.uid.clone());
        let pods = self.pods.values().map(|tracked| &tracked.pod);
        let pods = pods
            .filter(|p| p.namespace == namespace)
            .map(|p| p.uid.clone());
        [deployments.collect(), sets.collect(), pods.collect()]
    }

    /// All workloads.
    pub fn keys(&self) -> Vec<Key> {
        self.workloads.keys().cloned().collect()
    }

    /// Whether a workload is there.
    pub fn contains(&self, key: &Key) -> bool {
        self.workloads.contains_key(key)
    }

    /// Remembers from before a restart that a revision was healthy.
    pub fn remember_healthy(&mut self, set_uid: String, at: At) {
        self.healthy.entry(set_uid).or_insert(at);
    }

    /// When a workload's current revision was first seen healthy.
    pub fn healthy_revision(&self, key: &Key) -> Option<(&str, At)> {
        let (uid, _) = self.workloads.get(key)?.current.as_ref()?;
        Some((uid.as_str(), *self.healthy.get(uid)?))
    }

    fn workload_of(&self, set_uid: &str) -> Option<Key> {
        self.keys.get(&self.sets.get(set_uid)?.owner).cloned()
    }

    /// Judges one workload, and remembers what later judgements need.
    pub fn evaluate(&mut self, key: &Key, now: At, thresholds: &Thresholds) -> Option<Evaluation> {
        self.settle_current(key, now)?;
        let track = self.workloads.get(key)?;
        let (current, change_at) = match &track.current {
            Some((uid, at)) => (self.sets.get(uid), *at),
            None => (None, now),
        };
        let pods = self.seen(track, current, now, thresholds);
        let low = is_low(&track.deployment, &pods, thresholds);
        let low_since = low.then(|| track.low_since.unwrap_or(now));
        let in_release_window = now.since(change_at) <= thresholds.release_window_ms;
        let health = judge(&track.deployment, &pods);
        let marks = self.marks_of(key, &pods, !in_release_window, now);
        let bad = pods.iter().filter(|seen| seen.bad().is_some());
        let bad_since = bad
            .filter_map(|seen| marks.get(&seen.pod.uid))
            .map(|m| m.since)
            .min();
        let own = |uid: &String| current.is_some_and(|set| set.uid == *uid);
        let healthy_before = |at: &At| *at < change_at;
        let view = View {
            deployment: &track.deployment,
            current,
            change_at,
            in_release_window,
            relapse: current
                .and_then(|set| self.healthy.get(&set.uid))
                .is_some_and(healthy_before),
            baseline: self
                .sets_of
                .get(&track.deployment.uid)
                .is_some_and(|sets| sets.iter().any(|s| !own(s) && self.healthy.contains_key(s))),
            low_since,
            bad_since,
            sick_nodes: &self.sick_nodes,
            marks: &self.marks,
            pods,
        };
        let decision = decide(&view, now, thresholds);
        let settled = health.verdict == Verdict::Healthy;
        let memory = Memory {
            uids: view.pods.iter().map(|seen| seen.pod.uid.clone()).collect(),
            marks,
            low_since,
            healthy: current.filter(|_| settled).map(|set| set.uid.clone()),
        };
        self.remember(key, memory, now);
        Some(Evaluation { decision, health })
    }

    /// Finds the current revision, and when it became so.
    fn settle_current(&mut self, key: &Key, now: At) -> Option<()> {
        let track = self.workloads.get_mut(key)?;
        let deployment = &track.deployment;
        let sets = self.sets_of.get(&deployment.uid).into_iter().flatten();
        let mut sets = sets.filter_map(|uid| self.sets.get(uid));
        let current = match deployment.revision {
            Some(revision) => sets.find(|set| set.revision == revision),
            None => sets.max_by_key(|set| set.revision),
        };
        let known = track.current.as_ref().map(|(uid, _)| uid);
        match current {
            Some(set) if known != Some(&set.uid) => {
                // At the first look the revision's age tells; later changes are seen as they happen.
                let at = if known.is_none() { set.created } else { now };
                track.current = Some((set.uid.clone(), at));
            }
            _ => {}
        }
        Some(())
    }

    fn seen<'a>(
        &'a self,
        track: &Track,
        current: Option<&ReplicaSet>,
        now: At,
        thresholds: &Thresholds,
    ) -> Vec<Seen<'a>> {
        let sets = self
            .sets_of
            .get(&track.deployment.uid)
            .into_iter()
            .flatten();
        let pods = sets.flat_map(|set| self.pods_of.get(set).into_iter().flatten());
        pods.filter_map(|uid| self.pods.get(uid))
            .map(|TrackedPod { pod, signals }| Seen {
                pod,
                state: assess(pod, signals, now, thresholds),
                current: current.is_some_and(|set| set.uid == pod.owner),
            })
            .collect()
    }

    /// Marks of the workload's pods that are bad, or ready with failing probes.
    fn marks_of(
        &self,
        key: &Key,
        pods: &[Seen<'_>],
        stable: bool,
        now: At,
    ) -> HashMap<String, Mark> {
        let suffers = |seen: &&Seen<'_>| {
            let signals = self.pods.get(&seen.pod.uid).map(|tracked| &tracked.signals);
            seen.bad().is_some()
                || (seen.state == PodState::Ready
                    && signals.is_some_and(|s| s.probe_fails(now, SHARED_WINDOW_MS)))
        };
        let mark = |seen: &Seen<'_>| {
            let signals = self.pods.get(&seen.pod.uid).map(|tracked| &tracked.signals);
            let first = signals.and_then(Signals::first_sign).unwrap_or(now);
            let since = self
                .marks
                .get(&seen.pod.uid)
                .map_or(first, |mark| mark.since);
            let node = seen.pod.node.clone();
            (
                seen.pod.uid.clone(),
                Mark {
                    key: key.clone(),
                    node,
                    since,
                    stable,
                },
            )
        };
        pods.iter().filter(suffers).map(mark).collect()
    }

    fn remember(&mut self, key: &Key, memory: Memory, now: At) {
        let Memory {
            uids,
            marks,
            low_since,
            healthy,
        } = memory;
        for uid in uids {
            self.marks.remove(&uid);
        }
        self.marks.extend(marks);
        if let Some(track) = self.workloads.get_mut(key) {
            track.low_since = low_since;
        }
        if let Some(uid) = healthy {
            self.healthy.entry(uid).or_insert(now);
        }
    }
}

fn forget(index: &mut HashMap<String, BTreeSet<String>>, owner: &str, uid: &str) {
    if let Some(members) = index.get_mut(owner) {
        members.remove(uid);
        if members.is_empty() {
            index.remove(owner);
        }
    }
}

/// Whether too large a share of the wanted pods is unready.
fn is_low(deployment: &Deployment, pods: &[Seen<'_>], thresholds: &Thresholds) -> bool {
    let wanted = usize::try_from(deployment.desired).unwrap_or(usize::MAX);
    let ready = pods
        .iter()
        .filter(|seen| seen.pod.ready && !seen.pod.leaving)
        .count();
    let limit = usize::try_from(thresholds.max_unready_percent).unwrap_or(100);
    wanted.saturating_sub(ready) * 100 > wanted.saturating_mul(limit)
}

#[cfg(test)]
mod tests;
