//! What is to blame? Only a release is rolled back, so everything else is ruled out first.

mod rules;
mod scene;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Key, Reason, trigger::Trigger, trigger::View};

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
    /// More is asked of the workload than its autoscaler may give it.
    Load,
    /// A quota of the namespace is used up.
    Quota,
    /// The cluster has no room.
    Capacity,
    /// Configuration that changed, or went away, without a rollout.
    Configuration,
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
            Self::Load => "load",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Configuration => "configuration",
            Self::Unknown => "unknown",
        }
    }
}

/// What is to blame, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The kind of cause.
    pub attribution: Attribution,
    /// What it is, when it has a name: `node/n1`, `resourcequota/shop/compute`. Workloads with the same subject
    /// share one incident.
    pub subject: Option<String>,
    /// Why, in one sentence.
    pub because: String,
}

impl Cause {
    fn new(
        attribution: Attribution,
        subject: impl Into<Option<String>>,
        because: impl Into<String>,
    ) -> Self {
        Self {
            attribution,
            subject: subject.into(),
            because: because.into(),
        }
    }
}

/// A pod that is bad now, kept for the judgement of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its workload.
    pub key: Key,
    /// Why it is bad; `None` for one that is ready and fails its probes.
    pub reason: Option<Reason>,
    /// Its node.
    pub node: Option<String>,
    /// Since when it is bad.
    pub since: At,
    /// Whether its workload is outside the window after a change, so that no release explains it.
    pub stable: bool,
}

/// Names the cause of what is wrong with a workload since `began`: the first rule that holds.
pub fn attribute(view: &View<'_>, trigger: Trigger, began: At) -> Cause {
    let scene = scene::Scene::of(view, trigger, began);
    let unknown = || Cause::new(Attribution::Unknown, None, "no rule names a cause");
    rules::RULES
        .iter()
        .find_map(|rule| rule(&scene))
        .unwrap_or_else(unknown)
}

#[cfg(test)]
mod tests;
