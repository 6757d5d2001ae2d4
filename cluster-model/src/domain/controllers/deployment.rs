//! The deployment controller, after `pkg/controller/deployment` of Kubernetes 1.36.

use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

use super::events::{Told, tell};
use crate::domain::kind::PODS;
use crate::domain::object::{annotation, is_deleting, text, uid};
use crate::domain::state::{Key, State};
use crate::domain::verbs::{DeleteOptions, delete};

mod hash;
mod plan;
mod sets;
mod status;

use plan::Rollout;
use sets::{ReplicaSet, Sets};

const WHO: &str = "deployment-controller";
/// The annotation that numbers the revisions of a deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The replicas that a replica set was scaled for.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The replicas that a rollout may reach.
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// One deployment on the table.
struct Deployment<'a> {
    key: &'a Key,
    object: Arc<Value>,
    rollout: Rollout,
    now: OffsetDateTime,
}

pub(super) fn sync(state: &mut State, key: &Key, now: OffsetDateTime) {
    let Some(object) = state.get(key).cloned() else {
        return;
    };
    let deployment = Deployment {
        key,
        rollout: Rollout::of(&object),
        object,
        now,
    };
    if is_deleting(&deployment.object) {
        return deployment.write_status(state, None);
    }
    if !deployment.rollout.paused {
        deployment.take_up_revision(state);
    }
    let sets = deployment.sets(state);
    if deployment.rollout.paused || deployment.was_scaled(&sets) {
        deployment.scale_proportionally(state, &sets);
    } else if deployment.rollout.recreate {
        deployment.recreate(state, &sets);
    } else {
        deployment.roll(state, &sets);
    }
    deployment.write_status(state, None);
    deployment.forget_old_revisions(state);
}

impl Deployment<'_> {
    fn sets(&self, state: &State) -> Sets {
        Sets::of(state, &self.object)
    }

    /// A replica set that was scaled for another number of replicas: the spec was scaled.
    fn was_scaled(&self, sets: &Sets) -> bool {
        sets.all().filter(|set| set.replicas() > 0).any(|set| {
            let desired = annotation(&set.object, DESIRED).parse::<i64>();
            desired.is_ok_and(|desired| desired != self.rollout.replicas)
        })
    }

    fn roll(&self, state: &mut State, sets: &Sets) {
        let Some(new) = &sets.new else { return };
        let total = sets.all().map(ReplicaSet::replicas).sum();
        let up = self.rollout.new_replicas(new.replicas(), total);
        if up != new.replicas() {
            self.scale(state, new, up);
            return;
        }
        self.scale_down_old(state, sets);
    }

    /// Takes unhealthy pods of old revisions first, then as many healthy ones as may be missing.
    fn scale_down_old(&self, state: &mut State, sets: &Sets) {
        let Some(new) = &sets.new else { return };
        let total: i64 = sets.all().map(ReplicaSet::replicas).sum();
        let available: i64 = sets.all().map(ReplicaSet::available).sum();
        let minimum = self.rollout.replicas - self.rollout.unavailable;
        let new_unavailable = new.replicas() - new.available();
        let most = total - minimum - new_unavailable;
        if most <= 0 || sets.old.iter().all(|set| set.replicas() == 0) {
            return;
        }
        let mut targets: Vec<i64> = sets.old.iter().map(ReplicaSet::replicas).collect();
        let mut cleaned = 0;
        for (set, target) in sets.old.iter().zip(&mut targets) {
            let unhealthy = (set.replicas() - set.available())
                .min(most - cleaned)
                .max(0);
            *target -= unhealthy;
            cleaned += unhealthy;
        }
        let mut spare = available - minimum;
        for target in &mut targets {
            let down = spare.clamp(0, *target);
            *target -= down;
            spare -= down;
        }
        for (set, target) in sets.old.iter().zip(targets) {
            self.scale(state, set, target);
        }
    }

    fn recreate(&self, state: &mut State, sets: &Sets) {
        if sets.old.iter().any(|set| set.replicas() > 0) {
            for set in &sets.old {
                self.scale(state, set, 0);
            }
            return;
        }
        let gone = |set: &ReplicaSet| state.owned(uid(&set.object), &PODS).is_empty();
        if sets.old.iter().all(gone)
            && let Some(new) = &sets.new
        {
            self.scale(state, new, self.rollout.replicas);
        }
    }

    /// Spreads a change of replicas over the revisions that run, in proportion to their size.
    fn scale_proportionally(&self, state: &mut State, sets: &Sets) {
        let active: Vec<_> = sets.all().filter(|set| set.replicas() > 0).collect();
        let only = match (active.as_slice(), &sets.new) {
            ([one], _) => Some(*one),
            ([], new) => new.as_ref(),
            _ => None,
        };
        if let Some(set) = only {
            self.scale(state, set, self.rollout.replicas);
            return;
        }
        let saturated = sets.new.as_ref().is_some_and(|new| {
            new.replicas() == self.rollout.replicas
                && new.available() == self.rollout.replicas
                && annotation(&new.object, DESIRED) == self.rollout.replicas.to_string()
        });
        if saturated {
            for set in &sets.old {
                self.scale(state, set, 0);
            }
        } else if !self.rollout.recreate {
            let sizes: Vec<_> = active.iter().map(|set| set.replicas()).collect();
            for (set, size) in active.iter().zip(self.rollout.spread(&sizes)) {
                self.scale(state, set, size);
            }
        }
    }

    /// Sets the replicas of one revision and tells about it.
    fn scale(&self, state: &mut State, set: &ReplicaSet, replicas: i64) {
        let before = set.replicas();
        let scaled = set.scaled(replicas, &self.rollout);
        if state.put(&set.key, scaled).is_err() || before == replicas {
            return;
        }
        let direction = if replicas > before { "up" } else { "down" };
        let message = format!(
            "Scaled {direction} replica set {} from {before} to {replicas}",
            set.key.name
        );
        let told = Told::normal(WHO, "ScalingReplicaSet", message);
        tell(state, &self.object, told, self.now);
    }

    /// Deletes the oldest revisions beyond `revisionHistoryLimit` once the rollout is complete.
    fn forget_old_revisions(&self, state: &mut State) {
        let Some(object) = state.get(self.key).cloned() else {
            return;
        };
        if !status::is_complete(&object, &self.rollout) {
            return;
        }
        let mut idle = self.sets(state).old;
        idle.retain(|set| set.replicas() == 0 && set.current() == 0);
        idle.sort_by_key(ReplicaSet::revision);
        let excess = idle.len().saturating_sub(self.rollout.history);
        for set in idle.iter().take(excess) {
            let _gone = delete(state, &set.key, &DeleteOptions::default(), self.now);
        }
    }
}

/// Says whether two pod templates are the same but for the hash label.
fn same_template(deployment: &Value, set: &Value) -> bool {
    let hash = "/metadata/labels/pod-template-hash";
    let template = |object: &Value| {
        let mut template = object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default();
        crate::domain::object::remove(&mut template, hash);
        template
    };
    template(deployment) == template(set)
}

/// Says whether `owner` is the controller of `object`.
fn controls(owner: &Value, object: &Value) -> bool {
    crate::domain::object::controller(object)
        .is_some_and(|reference| text(reference, "/uid") == uid(owner))
}
