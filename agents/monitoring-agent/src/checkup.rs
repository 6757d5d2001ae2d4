//! Judges what was just read, without history.

use crate::{
    clients::Observed,
    domain::{At, Thresholds, WorkloadHealth, World},
};

/// The health of every Deployment that was read, by name.
pub fn checkup(observed: &Observed, now: At, thresholds: &Thresholds) -> Vec<WorkloadHealth> {
    let mut world = World::default();
    for deployment in &observed.deployments {
        world.apply_deployment(deployment.clone());
    }
    for set in &observed.sets {
        world.apply_set(set.clone());
    }
    for pod in &observed.pods {
        world.apply_pod(pod.clone(), now);
    }
    for uid in &observed.failed_probes {
        world.apply_probe_failure(uid, now);
    }
    let mut keys = world.keys();
    keys.sort();
    let judged = keys
        .iter()
        .filter_map(|key| world.evaluate(key, now, thresholds));
    judged.map(|evaluation| evaluation.health).collect()
}
