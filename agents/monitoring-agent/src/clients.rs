//! The world: Kubernetes, read through watches and through fresh lists.

mod feed;
mod inventory;
mod prometheus;
mod read;

pub use feed::{Change, Place, feed};
pub use inventory::{Inventory, KubernetesInventory, Observed, Wanted};
pub use prometheus::{Prometheus, RequestSource};

use shared::SkillError;

/// A cluster's refusal or silence as a skill's outcome.
fn skill_error(error: cluster::ClusterError) -> SkillError {
    if error.is_retryable() {
        SkillError::unavailable("kubernetes", error)
    } else {
        SkillError::failed_with("cannot read the cluster", error)
    }
}
