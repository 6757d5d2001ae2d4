//! Takes changes into the model, and notes whom they touch.

use std::collections::HashSet;

use super::{First, State};
use crate::{
    board::Judged,
    clients::{Change, Place},
    domain::{At, Key, Pod, Revision, Workload, WorkloadKind},
};

impl State {
    pub(super) fn take_in(&mut self, change: Change, now: At) {
        let world = &mut self.world;
        let key = match change {
            Change::Workloads(place, all) => return self.take_workloads(place, all, now),
            Change::Revisions(place, all) => return self.take_revisions(place, all),
            Change::Pods(namespace, all) => return self.take_pods(namespace, all, now),
            Change::Workload(workload) => Some(world.apply_workload(*workload, now)),
            Change::WorkloadGone(uid) => world.remove_workload(&uid),
            Change::Revision(revision) => world.apply_revision(*revision),
            Change::RevisionGone(uid) => world.remove_revision(&uid),
            Change::Pod(pod) => world.apply_pod(*pod, now),
            Change::PodGone(uid) => world.remove_pod(&uid),
            Change::Warnings(all) => {
                let keys = all.into_iter().filter_map(|(uid, warning, seen)| {
                    world.apply_warning(&uid, &warning, seen.unwrap_or(now).min(now))
                });
                return self.touched.extend(keys);
            }
            Change::Surroundings(all) => {
                let all = all.into_iter();
                let keys = all.flat_map(|change| world.apply_surrounding(change, now));
                return self.touched.extend(keys);
            }
        };
        self.touched.extend(key);
    }

    fn take_workloads(&mut self, place: Place, all: Vec<Workload>, now: At) {
        let known = self.world.uids(&place.namespace, place.kind).workloads;
        for uid in absent(known, all.iter().map(|workload| &workload.uid)) {
            self.touched.extend(self.world.remove_workload(&uid));
        }
        for workload in all {
            self.touched
                .insert(self.world.apply_workload(workload, now));
        }
        self.missing.remove(&First::Workloads(place));
    }

    fn take_revisions(&mut self, place: Place, all: Vec<Revision>) {
        let known = self.world.uids(&place.namespace, place.kind).revisions;
        for uid in absent(known, all.iter().map(|revision| &revision.uid)) {
            self.touched.extend(self.world.remove_revision(&uid));
        }
        for revision in all {
            self.touched.extend(self.world.apply_revision(revision));
        }
        self.missing.remove(&First::Revisions(place));
    }

    fn take_pods(&mut self, namespace: String, all: Vec<Pod>, now: At) {
        let known = self.world.uids(&namespace, WorkloadKind::default()).pods;
        for uid in absent(known, all.iter().map(|pod| &pod.uid)) {
            self.touched.extend(self.world.remove_pod(&uid));
        }
        for pod in all {
            self.touched.extend(self.world.apply_pod(pod, now));
        }
        self.missing.remove(&First::Pods(namespace));
    }

    /// Takes in what requests tell; what is not in it is well.
    pub(super) fn take_requests(&mut self, judged: Judged) {
        let burning = judged.keys().cloned().collect();
        let before: HashSet<Key> = std::mem::replace(&mut self.burning, burning);
        for key in before.iter().filter(|key| !judged.contains_key(key)) {
            self.touched.extend(self.world.apply_requests(key, None));
        }
        for (key, requests) in judged {
            self.touched
                .extend(self.world.apply_requests(&key, Some(requests)));
        }
    }
}

/// What is known and was not listed is gone.
fn absent<'a>(known: Vec<String>, listed: impl Iterator<Item = &'a String>) -> Vec<String> {
    let here: HashSet<&String> = listed.collect();
    known
        .into_iter()
        .filter(|uid| !here.contains(uid))
        .collect()
}
