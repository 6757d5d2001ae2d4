use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Deployment;
use super::plan::Rollout;
use super::sets::{ReplicaSet, Sets};
use crate::domain::object::{condition, int, list, parse_stamp, set, stamp, text};
use crate::domain::state::State;

/// What a condition says: status, reason, message.
type Saying = (&'static str, &'static str, String);

impl Deployment<'_> {
    /// Writes the status that follows from the replica sets; `saying` overrules the progress.
    pub(super) fn write_status(&self, state: &mut State, saying: Option<Saying>) {
        let Some(before) = state.get(self.key).cloned() else {
            return;
        };
        let sets = self.sets(state);
        let mut next = (*before).clone();
        set(&mut next, "/status", self.counts(&before, &sets));
        set(
            &mut next,
            "/status/conditions",
            list(&before, "/status/conditions").to_vec(),
        );
        let available = self.availability(&next);
        set_condition(&mut next, "Available", available, self.now);
        let progress = saying.or_else(|| self.progress(&before, &next, &sets));
        if let Some(progress) = progress {
            set_condition(&mut next, "Progressing", progress, self.now);
        }
        let deadline = deadline(&next, &self.rollout);
        let _full = state.put(self.key, next);
        if let Some(at) = deadline.filter(|at| *at > self.now) {
            state.wake(self.key, at);
        }
    }

    /// Notes that a rollout has begun.
    pub(super) fn note_new_revision(&self, state: &mut State, set: &str) {
        let message = format!("Created new replica set {set:?}");
        self.write_status(state, Some(("True", "NewReplicaSetCreated", message)));
    }

    fn counts(&self, before: &Value, sets: &Sets) -> Value {
        let sum = |field: fn(&ReplicaSet) -> i64| sets.all().map(field).sum::<i64>();
        let (total, available) = (sum(ReplicaSet::current), sum(ReplicaSet::available));
        let wanted = sum(ReplicaSet::replicas);
        let mut status = json!({
            "observedGeneration": int(&self.object, "/metadata/generation").unwrap_or(1),
            "replicas": total,
            "updatedReplicas": sets.new.as_ref().map_or(0, ReplicaSet::current),
            "readyReplicas": sum(ReplicaSet::ready),
            "availableReplicas": available,
            "unavailableReplicas": (wanted - available).max(0),
        });
        if let Some(members) = status.as_object_mut() {
            members.retain(|name, value| name == "observedGeneration" || *value != json!(0));
            if let Some(count) = before.pointer("/status/collisionCount") {
                members.insert("collisionCount".to_owned(), count.clone());
            }
        }
        status
    }

    fn availability(&self, next: &Value) -> Saying {
        let available = int(next, "/status/availableReplicas").unwrap_or(0);
        if available >= self.rollout.replicas - self.rollout.unavailable {
            let message = "Deployment has minimum availability.".to_owned();
            ("True", "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            ("False", "MinimumReplicasUnavailable", message)
        }
    }

    /// What the `Progressing` condition has to say now; `None` leaves it as it is.
    fn progress(&self, before: &Value, next: &Value, sets: &Sets) -> Option<Saying> {
        let current = condition(before, "Progressing");
        let reason = current.map_or("", |current| text(current, "/reason"));
        if self.rollout.paused {
            let message = "Deployment is paused".to_owned();
            return (reason != "DeploymentPaused").then_some((
                "Unknown",
                "DeploymentPaused",
                message,
            ));
        }
        if reason == "DeploymentPaused" {
            let message = "Deployment is resumed".to_owned();
            return Some(("Unknown", "DeploymentResumed", message));
        }
        let of =
            |object: &Value, field: &str| int(object, &format!("/status/{field}")).unwrap_or(0);
        let finished = of(next, "replicas") == of(next, "updatedReplicas")
            && reason == "NewReplicaSetAvailable";
        if finished {
            return None;
        }
        let name = sets.new.as_ref().map_or("", |new| new.key.name.as_str());
        if is_complete(next, &self.rollout) {
            let message = format!("ReplicaSet {name:?} has successfully progressed.");
            return Some(("True", "NewReplicaSetAvailable", message));
        }
        let old = |object: &Value| of(object, "replicas") - of(object, "updatedReplicas");
        let moved = of(next, "updatedReplicas") > of(before, "updatedReplicas")
            || old(next) < old(before)
            || of(next, "readyReplicas") > of(before, "readyReplicas")
            || of(next, "availableReplicas") > of(before, "availableReplicas");
        if moved {
            let message = format!("ReplicaSet {name:?} is progressing.");
            return Some(("True", "ReplicaSetUpdated", message));
        }
        let late = deadline(before, &self.rollout).is_some_and(|at| at <= self.now);
        (late && reason != "ProgressDeadlineExceeded").then(|| {
            let message = format!("ReplicaSet {name:?} has timed out progressing.");
            ("False", "ProgressDeadlineExceeded", message)
        })
    }
}

/// Says whether every replica is of the newest template and available.
pub(super) fn is_complete(deployment: &Value, rollout: &Rollout) -> bool {
    let of = |field: &str| int(deployment, &format!("/status/{field}")).unwrap_or(0);
    of("updatedReplicas") == rollout.replicas
        && of("replicas") == rollout.replicas
        && of("availableReplicas") == rollout.replicas
        && of("observedGeneration") >= int(deployment, "/metadata/generation").unwrap_or(1)
}

/// When a rollout that makes no more progress counts as failed.
fn deadline(deployment: &Value, rollout: &Rollout) -> Option<OffsetDateTime> {
    let progressing = condition(deployment, "Progressing")?;
    let over = matches!(
        text(progressing, "/reason"),
        "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" | "DeploymentPaused"
    );
    if over || rollout.deadline >= i64::from(i32::MAX) {
        return None;
    }
    let since = parse_stamp(text(progressing, "/lastUpdateTime"))?;
    Some(since + time::Duration::seconds(rollout.deadline))
}

/// Sets a condition: the transition time moves with the status, the update time with any word.
fn set_condition(
    deployment: &mut Value,
    kind: &str,
    (status, reason, message): Saying,
    now: OffsetDateTime,
) {
    let before = condition(deployment, kind).cloned();
    let same = |field: &str, word: &str| {
        before
            .as_ref()
            .is_some_and(|before| text(before, field) == word)
    };
    if kind == "Available" && same("/status", status) && same("/reason", reason) {
        return;
    }
    let since = match &before {
        Some(before) if same("/status", status) => text(before, "/lastTransitionTime").to_owned(),
        _ => stamp(now),
    };
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": stamp(now), "lastTransitionTime": since,
    });
    let mut conditions = list(deployment, "/status/conditions").to_vec();
    conditions.retain(|other| text(other, "/type") != kind);
    conditions.push(condition);
    conditions.sort_by(|a, b| text(a, "/type").cmp(text(b, "/type")));
    set(deployment, "/status/conditions", conditions);
}
