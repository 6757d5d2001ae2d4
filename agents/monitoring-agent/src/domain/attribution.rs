//! What is to blame? Only a release is rolled back, so everything else is ruled out first.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Key, PodState, Reason, health::Seen, thresholds::SHARED_WINDOW_MS, trigger::View};

/// The cause of an incident, as far as the cluster shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The current revision: its pods are bad, those of the revision before were good.
    Release,
    /// A node: the bad pods sit on it, their sisters elsewhere are well or it says itself that it is not ready.
    Node,
    /// Something that several workloads need: others are bad too, or the old revision is.
    Dependency,
    /// The cluster has no room.
    Capacity,
    /// Nothing of these.
    Unknown,
}

impl Attribution {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Node => "node",
            Self::Dependency => "dependency",
            Self::Capacity => "capacity",
            Self::Unknown => "unknown",
        }
    }
}

/// A pod that is bad now, kept for the judgement of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its workload.
    pub key: Key,
    /// Its node.
    pub node: Option<String>,
    /// Since when it is bad.
    pub since: At,
    /// Whether its workload is outside the window after a change, so that no release explains it.
    pub stable: bool,
}

/// Names the cause of what is wrong with a workload since `began`.
pub fn attribute(view: &View<'_>, began: At) -> Attribution {
    let bad: Vec<&Seen<'_>> = view
        .pods
        .iter()
        .filter(|seen| seen.bad().is_some())
        .collect();
    if !bad.is_empty()
        && bad
            .iter()
            .all(|seen| seen.bad() == Some(Reason::Unschedulable))
    {
        return Attribution::Capacity;
    }
    let nodes: HashSet<&str> = bad
        .iter()
        .filter_map(|seen| seen.pod.node.as_deref())
        .collect();
    let placed = bad.iter().all(|seen| seen.pod.node.is_some());
    if placed && !nodes.is_empty() && nodes.iter().all(|node| view.sick_nodes.contains(*node)) {
        return Attribution::Node;
    }
    if let Some(cause) = shared_cause(view, (&nodes, placed), began) {
        return cause;
    }
    let current_bad = bad.iter().any(|seen| seen.current);
    if current_bad && bad.iter().any(|seen| !seen.current) {
        return Attribution::Dependency;
    }
    let old_good = view
        .pods
        .iter()
        .any(|seen| !seen.current && seen.state == PodState::Ready);
    let new = view.in_release_window && !view.relapse;
    let blamed = current_bad || (bad.is_empty() && view.deployment.deadline_exceeded);
    if blamed && new && (old_good || view.baseline) {
        Attribution::Release
    } else {
        Attribution::Unknown
    }
}

/// The cause that trouble of other workloads points to, when there is such trouble.
fn shared_cause(
    view: &View<'_>,
    (nodes, placed): (&HashSet<&str>, bool),
    began: At,
) -> Option<Attribution> {
    let sick = |node: &String| view.sick_nodes.contains(node);
    let recent = |mark: &&Mark| mark.stable && mark.since >= began.plus(-SHARED_WINDOW_MS);
    let elsewhere = view.elsewhere().filter(recent);
    let shared: Vec<_> = elsewhere
        .filter(|mark| !mark.node.as_ref().is_some_and(sick))
        .collect();
    if shared.is_empty() {
        return None;
    }
    let here = |node: Option<&str>| node.is_some_and(|node| nodes.contains(node));
    let same_node =
        nodes.len() == 1 && placed && shared.iter().all(|mark| here(mark.node.as_deref()));
    let well_elsewhere = view.pods.iter().any(|seen| {
        let node = seen.pod.node.as_deref();
        seen.state == PodState::Ready && node.is_some() && !here(node)
    });
    let node = same_node && well_elsewhere;
    Some(if node {
        Attribution::Node
    } else {
        Attribution::Dependency
    })
}
