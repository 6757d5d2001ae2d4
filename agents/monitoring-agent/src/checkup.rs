//! Judges what was just read, without history.

use crate::{
    clients::Observed,
    domain::{At, Thresholds, WorkloadHealth, World},
};

/// The health of every workload that was read, by namespace, kind and name.
pub fn checkup(observed: &Observed, now: At, thresholds: &Thresholds) -> Vec<WorkloadHealth> {
    let mut world = World::default();
    for workload in &observed.workloads {
        world.apply_workload(workload.clone(), now);
    }
    for revision in &observed.revisions {
        world.apply_revision(revision.clone());
    }
    for pod in &observed.pods {
        world.apply_pod(pod.clone(), now);
    }
    for (uid, warning) in &observed.warnings {
        world.apply_warning(uid, warning, now);
    }
    let mut keys = world.keys();
    keys.sort();
    let judged = keys
        .iter()
        .filter_map(|key| world.evaluate(key, now, thresholds));
    judged.map(|evaluation| evaluation.health).collect()
}
