use std::sync::Arc;

use serde_json::{Value, json};

use super::hash::template_hash;
use super::plan::Rollout;
use super::{DESIRED, Deployment, MAXIMUM, REVISION, Told, WHO, controls, same_template, tell};
use crate::domain::controllers::replica_set::set_owner;
use crate::domain::kind::REPLICA_SETS;
use crate::domain::object::{
    annotation, escape, int, members, name, namespace, set, stamp, text, uid,
};
use crate::domain::state::{Key, State};

/// The annotation that lists the earlier numbers of a revision that came back.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of a deployment that its replica sets do not take over.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
];
/// Most names to try for a replica set.
const MAX_COLLISIONS: u32 = 100;

/// One revision of a deployment.
pub(super) struct ReplicaSet {
    pub(super) key: Key,
    pub(super) object: Arc<Value>,
}

impl ReplicaSet {
    pub(super) fn replicas(&self) -> i64 {
        int(&self.object, "/spec/replicas").unwrap_or(0)
    }

    pub(super) fn current(&self) -> i64 {
        int(&self.object, "/status/replicas").unwrap_or(0)
    }

    pub(super) fn ready(&self) -> i64 {
        int(&self.object, "/status/readyReplicas").unwrap_or(0)
    }

    pub(super) fn available(&self) -> i64 {
        int(&self.object, "/status/availableReplicas").unwrap_or(0)
    }

    pub(super) fn revision(&self) -> i64 {
        annotation(&self.object, REVISION).parse().unwrap_or(0)
    }

    /// The replica set with this number of replicas, and what it is scaled for.
    pub(super) fn scaled(&self, replicas: i64, rollout: &Rollout) -> Value {
        let mut next = (*self.object).clone();
        annotate(&mut next, DESIRED, &rollout.replicas.to_string());
        annotate(&mut next, MAXIMUM, &rollout.maximum().to_string());
        if replicas != self.replicas() {
            let generation = int(&next, "/metadata/generation").unwrap_or(0);
            set(&mut next, "/metadata/generation", generation + 1);
            set(&mut next, "/spec/replicas", replicas);
        }
        next
    }
}

/// The revisions of a deployment: the one of its template, and the others, oldest first.
pub(super) struct Sets {
    pub(super) new: Option<ReplicaSet>,
    pub(super) old: Vec<ReplicaSet>,
}

impl Sets {
    pub(super) fn of(state: &State, deployment: &Value) -> Self {
        let owned = state.owned(uid(deployment), &REPLICA_SETS).into_iter();
        let owned = owned.filter(|(_, object)| controls(deployment, object));
        let mut old: Vec<_> = owned
            .map(|(key, object)| ReplicaSet { key, object })
            .collect();
        old.sort_by_cached_key(|set| {
            let created = text(&set.object, "/metadata/creationTimestamp").to_owned();
            (created, set.revision(), set.key.name.clone())
        });
        let new = old
            .iter()
            .position(|set| same_template(deployment, &set.object))
            .map(|at| old.remove(at));
        Self { new, old }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }
}

impl Deployment<'_> {
    /// Gives the template its replica set and the next revision number; a template that was
    /// there before gets its old replica set back under a new number.
    pub(super) fn take_up_revision(&self, state: &mut State) {
        let sets = self.sets(state);
        let newest_old = sets.old.iter().map(ReplicaSet::revision).max().unwrap_or(0);
        match sets.new {
            Some(new) if new.revision() > newest_old => {}
            Some(new) => {
                let mut next = (*new.object).clone();
                let before = annotation(&new.object, REVISION).to_owned();
                let history = annotation(&new.object, HISTORY);
                let history = match history {
                    "" => before,
                    earlier => format!("{earlier},{before}"),
                };
                annotate(&mut next, HISTORY, &history);
                annotate(&mut next, REVISION, &(newest_old + 1).to_string());
                let _full = state.put(&new.key, next);
            }
            None => self.add_replica_set(state, &sets, newest_old + 1),
        }
        let number = self.sets(state).new.map(|new| new.revision());
        if let (Some(number), Some(object)) = (number, state.get(self.key).cloned()) {
            let mut next = (*object).clone();
            annotate(&mut next, REVISION, &number.to_string());
            let _full = state.put(self.key, next);
        }
    }

    fn add_replica_set(&self, state: &mut State, sets: &Sets, revision: i64) {
        let Some((key, hash)) = self.free_name(state) else {
            return;
        };
        let total = sets.all().map(ReplicaSet::replicas).sum();
        let running = |set: &ReplicaSet| set.replicas() > 0;
        let replicas = if self.rollout.recreate && sets.old.iter().any(running) {
            0
        } else {
            self.rollout.new_replicas(0, total)
        };
        let object = self.replica_set(state, &key, &hash, (replicas, revision));
        if state.put(&key, object).is_err() {
            return;
        }
        self.note_new_revision(state, &key.name);
        if replicas > 0 {
            let message = format!("Scaled up replica set {} from 0 to {replicas}", key.name);
            let told = Told::normal(WHO, "ScalingReplicaSet", message);
            tell(state, &self.object, told, self.now);
        }
    }

    fn free_name(&self, state: &State) -> Option<(Key, String)> {
        let template = self.object.pointer("/spec/template")?;
        (0..MAX_COLLISIONS).find_map(|collisions| {
            let hash = template_hash(template, collisions);
            let name = format!("{}-{hash}", name(&self.object));
            let key = Key::new(&REPLICA_SETS, namespace(&self.object), &name);
            state.get(&key).is_none().then_some((key, hash))
        })
    }

    fn replica_set(
        &self,
        state: &mut State,
        key: &Key,
        hash: &str,
        (replicas, revision): (i64, i64),
    ) -> Value {
        let field = |pointer: &str| self.object.pointer(pointer).cloned().unwrap_or_default();
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": key.name, "namespace": key.namespace, "uid": state.next_uid(),
                "creationTimestamp": stamp(self.now), "generation": 1,
                "labels": field("/spec/template/metadata/labels"),
            },
            "spec": {
                "replicas": replicas, "selector": field("/spec/selector"),
                "template": field("/spec/template"),
            },
        });
        if let Some(seconds) = int(&self.object, "/spec/minReadySeconds") {
            set(&mut object, "/spec/minReadySeconds", seconds);
        }
        for place in [
            "/metadata/labels",
            "/spec/selector/matchLabels",
            "/spec/template/metadata/labels",
        ] {
            set(&mut object, &format!("{place}/pod-template-hash"), hash);
        }
        let copied = members(&self.object, "/metadata/annotations");
        for (name, value) in copied.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
            annotate(&mut object, name, value.as_str().unwrap_or_default());
        }
        annotate(&mut object, REVISION, &revision.to_string());
        annotate(&mut object, DESIRED, &self.rollout.replicas.to_string());
        annotate(&mut object, MAXIMUM, &self.rollout.maximum().to_string());
        set_owner(&mut object, &self.object);
        object
    }
}

fn annotate(object: &mut Value, name: &str, text: &str) {
    set(
        object,
        &format!("/metadata/annotations/{}", escape(name)),
        text,
    );
}
