//! Pods that were ready until a container of theirs ended with an error: one alone is forgiven, most of a revision are not.

use std::collections::BTreeSet;

use super::PodState;
use crate::domain::{At, Pod, Reason, Thresholds, health::Seen, objects::ContainerState};

/// Fewer are no pattern.
const FEWEST: usize = 2;

/// Whether the end of a run was an error of its own. What a lost node leaves (`Unknown`) is none.
fn is_error(reason: &str) -> bool {
    matches!(reason, "Error" | "OOMKilled")
}

/// Whether a container's last run, or the one just over, ended with an error.
pub(super) fn has_failed(pod: &Pod) -> bool {
    let lasting = pod.containers.iter().filter(|container| !container.init);
    lasting.into_iter().any(|container| match &container.state {
        ContainerState::Ended(reason) => is_error(reason),
        _ => container.last_end.as_deref().is_some_and(is_error),
    })
}

/// Calls the crashed pods of the current revision bad when they are at least half of those wanted and do not share one
/// node. That takes `unready_after_ms`, in which the pods of others tell whether they fell too.
pub fn convict(pods: &mut [Seen<'_>], wanted: u32, now: At, thresholds: &Thresholds) {
    let crashed = |seen: &Seen<'_>| seen.crashed.filter(|_| seen.current && !seen.pod.leaving);
    let mut times: Vec<At> = pods.iter().filter_map(crashed).collect();
    let fallen = pods.iter().filter(|seen| crashed(seen).is_some());
    let nodes: BTreeSet<Option<&str>> = fallen.map(|seen| seen.pod.node.as_deref()).collect();
    times.sort_unstable();
    let half = usize::try_from(wanted.div_ceil(2)).unwrap_or(usize::MAX);
    let Some(decisive) = times.get(half.max(FEWEST) - 1) else {
        return;
    };
    if nodes.len() < 2 {
        return;
    }
    let due = decisive.plus(thresholds.unready_after_ms);
    for seen in pods.iter_mut().filter(|seen| crashed(seen).is_some()) {
        if matches!(seen.state, PodState::Ready | PodState::Starting(_)) {
            seen.state = if now < due {
                PodState::Starting(due)
            } else {
                PodState::Bad(Reason::Crashed)
            };
        }
    }
}
