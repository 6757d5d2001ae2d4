//! What workloads depend on: nodes, autoscalers, disruption budgets, claims, configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    At, Key, Template,
    messages::{Reference, ReferenceKind},
};

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeTrouble {
    /// Its `Ready` condition is not true.
    NotReady,
    /// `NetworkUnavailable`.
    NoNetwork,
    /// `MemoryPressure`.
    MemoryPressure,
    /// `DiskPressure`.
    DiskPressure,
    /// `PIDPressure`.
    PidPressure,
}

impl NodeTrouble {
    /// The condition of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not ready",
            Self::NoNetwork => "NetworkUnavailable",
            Self::MemoryPressure => "MemoryPressure",
            Self::DiskPressure => "DiskPressure",
            Self::PidPressure => "PIDPressure",
        }
    }

    /// Whether pods on the node cannot work, whatever they do. Pressure can be their own doing.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::NotReady | Self::NoNetwork)
    }
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub troubles: BTreeSet<NodeTrouble>,
    /// Whether it takes no new pods (cordoned, also while it is drained).
    pub cordoned: bool,
    /// Whether it belongs to a pool whose nodes are made on demand.
    pub on_demand: bool,
    /// What it has for pods, in thousandths.
    pub allocatable: BTreeMap<String, i64>,
}

/// A horizontal autoscaler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// What it scales.
    pub target: Key,
    /// Whether it has as many replicas as it may, and wants more (`ScalingLimited`, `TooManyReplicas`).
    pub limited: bool,
}

/// A disruption budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels of the pods that it covers; one without labels covers nothing here.
    pub labels: BTreeMap<String, String>,
    /// Whether it allows no disruption because too few pods are healthy.
    pub exhausted: bool,
}

/// A claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Since when it waits for a volume.
    pub pending_since: Option<At>,
}

/// A `ConfigMap`: what is in it is kept as a digest only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Digest of its data.
    pub digest: u64,
}

/// A change of something in the surroundings.
#[derive(Debug, Clone, PartialEq)]
pub enum Surrounding {
    /// A node.
    Node(Node),
    /// An autoscaler.
    Autoscaler(Autoscaler),
    /// A disruption budget.
    Budget(Budget),
    /// A claim.
    Claim(Claim),
    /// A `ConfigMap`.
    Config(Config),
    /// What has this uid (a node: this name) is gone.
    Gone(String),
    /// A complete list: what is not in it is gone.
    Listed(Listed),
}

/// What is there of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The kind.
    pub kind: SurroundingKind,
    /// The namespace; none for nodes.
    pub namespace: Option<String>,
    /// Uids, or names of nodes.
    pub ids: HashSet<String>,
}

/// Kinds of surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurroundingKind {
    /// Nodes.
    Node,
    /// Autoscalers.
    Autoscaler,
    /// Disruption budgets.
    Budget,
    /// Claims.
    Claim,
    /// `ConfigMaps`.
    Config,
}

impl Surrounding {
    /// What identifies it in a list.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Node(node) => Some(&node.name),
            Self::Autoscaler(autoscaler) => Some(&autoscaler.uid),
            Self::Budget(budget) => Some(&budget.uid),
            Self::Claim(claim) => Some(&claim.uid),
            Self::Config(config) => Some(&config.uid),
            Self::Gone(_) | Self::Listed(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Since<T> {
    what: T,
    since: Option<At>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    nodes: HashMap<String, Node>,
    autoscalers: HashMap<String, Since<Autoscaler>>,
    /// Autoscalers (by uid) by what they scale.
    scaled: HashMap<Key, String>,
    /// Only those that are exhausted: few, so that looking through them is cheap.
    budgets: HashMap<String, Since<Budget>>,
    claims: HashMap<String, Claim>,
    /// With the time of its last change that was seen.
    configs: HashMap<String, Since<Config>>,
}

/// Keeps since when something holds.
fn since(holds: bool, before: Option<At>, now: At) -> Option<At> {
    holds.then(|| before.unwrap_or(now))
}

impl Surroundings {
    /// Takes in a change; says whether it is news for those who depend on it.
    pub fn apply(&mut self, change: Surrounding, now: At) -> bool {
        match change {
            Surrounding::Node(node) => {
                let before = self.nodes.insert(node.name.clone(), node.clone());
                before.is_none_or(|before| {
                    before.troubles != node.troubles || before.cordoned != node.cordoned
                })
            }
            Surrounding::Autoscaler(what) => {
                let before = self.autoscalers.get(&what.uid).and_then(|s| s.since);
                let since = since(what.limited, before, now);
                self.scaled.insert(what.target.clone(), what.uid.clone());
                self.autoscalers
                    .insert(what.uid.clone(), Since { what, since });
                since != before
            }
            Surrounding::Budget(what) => {
                let before = self.budgets.get(&what.uid).and_then(|s| s.since);
                let since = since(what.exhausted, before, now);
                if since.is_some() {
                    self.budgets.insert(what.uid.clone(), Since { what, since });
                } else {
                    self.budgets.remove(&what.uid);
                }
                since != before
            }
            Surrounding::Claim(claim) => {
                let pending = claim.pending_since.is_some();
                self.claims.insert(claim.uid.clone(), claim);
                pending
            }
            Surrounding::Config(what) => {
                let before = self.configs.get(&what.uid);
                let changed = before.is_some_and(|before| before.what.digest != what.digest);
                let earlier = before.and_then(|before| before.since);
                let since = if changed { Some(now) } else { earlier };
                self.configs.insert(what.uid.clone(), Since { what, since });
                changed
            }
            Surrounding::Gone(id) => self.forget(&id),
            Surrounding::Listed(listed) => {
                let mut news = false;
                for id in self.absent(&listed) {
                    news |= self.forget(&id);
                }
                news
            }
        }
    }

    fn forget(&mut self, id: &str) -> bool {
        let node = self.nodes.remove(id).is_some();
        if let Some(gone) = self.autoscalers.remove(id) {
            self.scaled.remove(&gone.what.target);
        }
        self.budgets.remove(id);
        self.claims.remove(id);
        self.configs.remove(id);
        node
    }

    /// What is known of a kind and was not listed.
    fn absent(&self, listed: &Listed) -> Vec<String> {
        let known: Vec<(&String, Option<&str>)> = match listed.kind {
            SurroundingKind::Node => self.nodes.keys().map(|name| (name, None)).collect(),
            SurroundingKind::Autoscaler => {
                let all = self.autoscalers.iter();
                all.map(|(id, s)| (id, Some(s.what.target.namespace.as_str())))
                    .collect()
            }
            SurroundingKind::Budget => {
                let all = self.budgets.iter();
                all.map(|(id, s)| (id, Some(s.what.namespace.as_str())))
                    .collect()
            }
            SurroundingKind::Claim => {
                let all = self.claims.iter();
                all.map(|(id, claim)| (id, Some(claim.namespace.as_str())))
                    .collect()
            }
            SurroundingKind::Config => {
                let all = self.configs.iter();
                all.map(|(id, s)| (id, Some(s.what.namespace.as_str())))
                    .collect()
            }
        };
        let gone = |(id, namespace): &(&String, Option<&str>)| {
            *namespace == listed.namespace.as_deref() && !listed.ids.contains(*id)
        };
        known
            .into_iter()
            .filter(gone)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// What is wrong with a node.
    pub fn troubles(&self, node: &str) -> BTreeSet<NodeTrouble> {
        let node = self.nodes.get(node);
        node.map(|node| node.troubles.clone()).unwrap_or_default()
    }

    /// Whether a node is cordoned.
    pub fn is_cordoned(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.cordoned)
    }

    /// Whether pods of a node cannot work.
    pub fn is_out(&self, node: &str) -> bool {
        let troubles = self.nodes.get(node).map(|node| &node.troubles);
        troubles.is_some_and(|troubles| troubles.iter().any(|t| t.is_outage()))
    }

    /// Whether some node could hold this much of a resource when it were empty; true when no node is known.
    pub fn fits_a_node(&self, resource: &str, amount: i64) -> bool {
        let mut known = self.nodes.values().filter(|n| !n.allocatable.is_empty());
        let fits = |n: &Node| n.allocatable.get(resource).copied().unwrap_or(0) >= amount;
        self.nodes.values().all(|n| n.allocatable.is_empty()) || known.any(fits)
    }

    /// Whether nodes may be made on demand, so that one that fits can still come.
    pub fn makes_nodes(&self) -> bool {
        self.nodes.values().any(|node| node.on_demand)
    }

    /// The autoscaler of a workload that is at its limit, and since when.
    pub fn limited(&self, key: &Key) -> Option<(&str, At)> {
        let own = self.autoscalers.get(self.scaled.get(key)?)?;
        Some((own.what.name.as_str(), own.since?))
    }

    /// The exhausted budget of pods with this template, and since when.
    pub fn exhausted(&self, namespace: &str, template: &Template) -> Option<(&str, At)> {
        let covers = |budget: &Budget| {
            budget.namespace == namespace
                && !budget.labels.is_empty()
                && budget
                    .labels
                    .iter()
                    .all(|(name, value)| template.labels.get(name) == Some(value))
        };
        let mut all = self.budgets.values();
        all.find_map(|s| covers(&s.what).then_some((s.what.name.as_str(), s.since?)))
    }

    /// Since when a claim waits for a volume.
    pub fn pending(&self, namespace: &str, claim: &str) -> Option<At> {
        let mut all = self.claims.values();
        all.find(|c| c.namespace == namespace && c.name == claim)?
            .pending_since
    }

    /// The newest change of a `ConfigMap` that a template needs.
    pub fn changed_config(&self, namespace: &str, template: &Template) -> Option<(Reference, At)> {
        let needed = |config: &Config| Reference {
            kind: ReferenceKind::ConfigMap,
            name: config.name.clone(),
        };
        let own = self
            .configs
            .values()
            .filter(|s| s.what.namespace == namespace);
        own.filter_map(|s| Some((needed(&s.what), s.since?)))
            .filter(|(reference, _)| template.needs.contains(reference))
            .max_by_key(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests;
