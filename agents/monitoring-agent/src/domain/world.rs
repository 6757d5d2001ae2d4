//! The cluster as it was last seen, with the little history that judgements need.
//!
//! One workload is evaluated in the time that its own pods take, however large the cluster is.

use std::collections::{BTreeSet, HashMap};

use super::{
    At, Decision, Key, Pod, Refusal, Requests, Revision, Signals, Surrounding, Surroundings,
    Warning, Workload, WorkloadHealth, WorkloadKind, attribution::Mark,
};

mod evaluate;

/// What is known of a workload over time.
#[derive(Debug, Clone)]
struct Track {
    workload: Workload,
    /// Uid of the current revision and when it became current.
    current: Option<(String, At)>,
    low_since: Option<At>,
    lag_since: Option<At>,
    /// Why pods cannot be made, by the controller's events, and since when.
    refused: Option<(Refusal, At)>,
    /// Since when the controller's own condition says so.
    refusal_since: Option<At>,
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
    revisions: HashMap<String, Revision>,
    revisions_of: HashMap<String, BTreeSet<String>>,
    pods: HashMap<String, TrackedPod>,
    pods_of: HashMap<String, BTreeSet<String>>,
    /// When a revision (by uid) was first seen healthy.
    healthy: HashMap<String, At>,
    around: Surroundings,
    marks: HashMap<String, Mark>,
    /// Trouble with requests, by the workload that serves them.
    requests: HashMap<Key, Requests>,
    /// Warnings about pods that were not seen yet.
    early: HashMap<String, (Warning, At)>,
}

/// Most warnings kept for pods that were not seen yet.
const MAX_EARLY: usize = 10_000;

/// Uids of what is known in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Uids {
    /// Workloads of one kind.
    pub workloads: Vec<String>,
    /// Revisions: `ReplicaSets` of Deployments, or `ControllerRevisions` of both other kinds.
    pub revisions: Vec<String>,
    /// Pods.
    pub pods: Vec<String>,
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
    /// Takes in a workload.
    pub fn apply_workload(&mut self, workload: Workload, now: At) -> Key {
        let key = workload.key.clone();
        self.keys.insert(workload.uid.clone(), key.clone());
        match self.workloads.get_mut(&key) {
            Some(track) if track.workload.uid == workload.uid => {
                // A partition that lets more pods go is the moment of their change.
                let released = workload.held < track.workload.held
                    && workload.desired >= track.workload.desired;
                if let Some((_, at)) = track.current.as_mut().filter(|_| released) {
                    *at = now;
                }
                track.workload = workload;
            }
            _ => {
                let track = Track {
                    workload,
                    current: None,
                    low_since: None,
                    lag_since: None,
                    refused: None,
                    refusal_since: None,
                };
                self.workloads.insert(key.clone(), track);
            }
        }
        key
    }

    /// Takes in a revision; gives the workload it belongs to.
    pub fn apply_revision(&mut self, revision: Revision) -> Option<Key> {
        let key = self.keys.get(&revision.owner).cloned();
        self.revisions_of
            .entry(revision.owner.clone())
            .or_default()
            .insert(revision.uid.clone());
        self.revisions.insert(revision.uid.clone(), revision);
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
        if let Some((warning, at)) = early {
            signals.warn(&warning, at);
        }
        self.pods.insert(uid, TrackedPod { pod, signals });
        self.workload_of(&owner)
    }

    /// Takes in a warning event about an object (by uid); gives the workload that it concerns.
    pub fn apply_warning(&mut self, uid: &str, warning: &Warning, at: At) -> Option<Key> {
        if let Warning::CreateRefused(refusal) = warning {
            // Deployments have a condition of their own for this.
            let key = self.keys.get(uid)?.clone();
            let track = self.workloads.get_mut(&key)?;
            let since = track.refused.take().map_or(at, |(_, since)| since);
            track.refused = Some((refusal.clone(), since));
            return Some(key);
        }
        let Some(tracked) = self.pods.get_mut(uid) else {
            if self.early.len() < MAX_EARLY {
                self.early.insert(uid.to_owned(), (warning.clone(), at));
            }
            return None;
        };
        tracked.signals.warn(warning, at);
        let owner = tracked.pod.owner.clone();
        self.workload_of(&owner)
    }

    /// Takes in a change of the surroundings; gives the workloads to judge again.
    pub fn apply_surrounding(&mut self, change: Surrounding, now: At) -> BTreeSet<Key> {
        let (target, node) = match &change {
            Surrounding::Autoscaler(autoscaler) => (Some(autoscaler.target.clone()), None),
            Surrounding::Node(node) => (None, Some(node.name.clone())),
            Surrounding::Gone(uid) => (None, Some(uid.clone())),
            Surrounding::Budget(_)
            | Surrounding::Claim(_)
            | Surrounding::Config(_)
            | Surrounding::Listed(_) => (None, None),
        };
        if !self.around.apply(change, now) {
            return BTreeSet::new();
        }
        // Those in trouble may be explained by it now; those that are well are not touched by it.
        let concerned = |mark: &&Mark| node.is_none() || mark.node == node;
        let marked = self.marks.values().filter(concerned).map(|m| m.key.clone());
        marked.chain(target).collect()
    }

    /// Takes in what the requests to a workload tell; `None` when they are well.
    pub fn apply_requests(&mut self, key: &Key, requests: Option<Requests>) -> Option<Key> {
        let known = self.workloads.contains_key(key);
        match requests {
            Some(requests) => drop(self.requests.insert(key.clone(), requests)),
            None => drop(self.requests.remove(key)),
        }
        known.then(|| key.clone())
    }

    /// Forgets a workload.
    pub fn remove_workload(&mut self, uid: &str) -> Option<Key> {
        let key = self.keys.remove(uid)?;
        // One of the same name may have taken its place.
        let same = self
            .workloads
            .get(&key)
            .is_some_and(|track| track.workload.uid == uid);
        if same {
            self.workloads.remove(&key);
            self.requests.remove(&key);
        }
        Some(key)
    }

    /// Forgets a revision.
    pub fn remove_revision(&mut self, uid: &str) -> Option<Key> {
        let revision = self.revisions.remove(uid)?;
        self.healthy.remove(uid);
        forget(&mut self.revisions_of, &revision.owner, uid);
        self.keys.get(&revision.owner).cloned()
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Key> {
        let TrackedPod { pod, signals: _ } = self.pods.remove(uid)?;
        self.marks.remove(uid);
        forget(&mut self.pods_of, &pod.owner, uid);
        self.workload_of(&pod.owner)
    }

    /// Uids of what is known in a namespace, of workloads of one kind.
    pub fn uids(&self, namespace: &str, kind: WorkloadKind) -> Uids {
        let own = |key: &Key| key.namespace == namespace && key.kind == kind;
        let of_sets = kind == WorkloadKind::Deployment;
        let workloads = self.workloads.values().map(|track| &track.workload);
        let revisions = self
            .revisions
            .values()
            .filter(|r| r.namespace == namespace && r.replica_set == of_sets);
        let pods = self.pods.values().map(|tracked| &tracked.pod);
        Uids {
            workloads: workloads
                .filter(|workload| own(&workload.key))
                .map(|workload| workload.uid.clone())
                .collect(),
            revisions: revisions.map(|r| r.uid.clone()).collect(),
            pods: pods
                .filter(|pod| pod.namespace == namespace)
                .map(|pod| pod.uid.clone())
                .collect(),
        }
    }

    /// All workloads.
    pub fn keys(&self) -> Vec<Key> {
        self.workloads.keys().cloned().collect()
    }

    /// Workloads that have bad pods.
    pub fn suffering(&self) -> BTreeSet<Key> {
        self.marks.values().map(|mark| mark.key.clone()).collect()
    }

    /// Whether a workload is there.
    pub fn contains(&self, key: &Key) -> bool {
        self.workloads.contains_key(key)
    }

    /// A workload as it was last seen.
    pub fn workload(&self, key: &Key) -> Option<&Workload> {
        self.workloads.get(key).map(|track| &track.workload)
    }

    /// When a workload's current revision became current.
    pub fn changed_at(&self, key: &Key) -> Option<At> {
        let (_, at) = self.workloads.get(key)?.current.as_ref()?;
        Some(*at)
    }

    /// Remembers from before a restart that a revision was healthy.
    pub fn remember_healthy(&mut self, revision_uid: String, at: At) {
        self.healthy.entry(revision_uid).or_insert(at);
    }

    /// When a workload's current revision was first seen healthy.
    pub fn healthy_revision(&self, key: &Key) -> Option<(&str, At)> {
        let (uid, _) = self.workloads.get(key)?.current.as_ref()?;
        Some((uid.as_str(), *self.healthy.get(uid)?))
    }

    /// The workload of a pod's owner: itself, or that of the `ReplicaSet`.
    fn workload_of(&self, owner: &str) -> Option<Key> {
        let own = || self.keys.get(&self.revisions.get(owner)?.owner);
        self.keys.get(owner).or_else(own).cloned()
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

#[cfg(test)]
mod tests;
