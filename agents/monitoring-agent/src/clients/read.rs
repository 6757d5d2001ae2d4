//! Kubernetes objects as domain types.

mod pod;
mod surroundings;
mod workload;

pub(super) use pod::{pod, warning};
pub(super) use surroundings::{autoscaler, budget, claim, config, node};
pub(super) use workload::{controller_revision, daemon_set, deployment, replica_set, stateful_set};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::domain::{At, WorkloadKind};

/// The controller that owns an object.
fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or_else(|| owners.first())
}

/// The watched kind of this name.
fn kind(name: &str) -> Option<WorkloadKind> {
    WorkloadKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

fn at(time: &Time) -> At {
    At::from_millis(time.0.as_millisecond())
}

fn count(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
