//! What was used, requested and reserved, in plain types: cores, bytes, Unix seconds.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest window: a quarter (92 days).
const MAX_WINDOW: i64 = 92 * 86_400;
/// Shortest step: below it a scrape interval (15 s) has no second sample.
const MIN_STEP: i64 = 30;
/// Most points of one series. A longer window gets a longer step: 92 days at 3,000 points is a
/// step of 45 minutes. Prometheus itself refuses above 11,000.
const MAX_POINTS: i64 = 3_000;

/// One measurement: Unix seconds, and cores, bytes or a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// End of the step that it describes, Unix seconds.
    pub at: i64,
    /// Value in the series' unit.
    pub value: f64,
}

/// A regular grid of points in time that ends at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: i64,
    end: i64,
    step: i64,
}

/// A window that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Too long, or not even one step.
    #[error("a window lasts from two steps to {} days", MAX_WINDOW / 86_400)]
    Length,
    /// Too fine.
    #[error("a step lasts at least {MIN_STEP} s")]
    Step,
}

impl Window {
    /// The window of `length` seconds up to `end`, both rounded down to a whole `step`. The step
    /// grows when there would be more than [`MAX_POINTS`] points.
    ///
    /// # Errors
    /// A length over 92 days or under two steps; a step under 30 s.
    pub fn new(end: i64, length: i64, step: i64) -> Result<Self, WindowError> {
        if step < MIN_STEP {
            return Err(WindowError::Step);
        }
        if length > MAX_WINDOW || length < step.saturating_mul(2) {
            return Err(WindowError::Length);
        }
        let coarsest = (length + MAX_POINTS - 1) / MAX_POINTS;
        let step = if coarsest > step {
            (coarsest + 59) / 60 * 60
        } else {
            step
        };
        let end = end - end.rem_euclid(step);
        Ok(Self {
            start: end - length / step * step,
            end,
            step,
        })
    }

    /// Start, Unix seconds; the first step ends one step later.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// End, Unix seconds.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Seconds between points.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// Length in seconds.
    pub fn length(&self) -> i64 {
        self.end - self.start
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        usize::try_from(self.length() / self.step).unwrap_or(0)
    }

    /// The points in time, `start` included.
    pub fn points(self) -> impl Iterator<Item = i64> {
        (0..=self.length() / self.step).map(move |i| self.start + i * self.step)
    }
}

/// CPU and memory of one container, as requested or limited.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Resources {
    /// Cores.
    pub cpu: Option<f64>,
    /// Bytes.
    pub memory: Option<f64>,
}

/// Kinds of workload, as Kubernetes names them. The bounded label `workload_type`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs, reason = "the names are the Kubernetes kinds")]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    CronJob,
    Job,
    /// A pod without owner.
    Pod,
    /// Owned by a kind that Kubernetes does not bring along (a custom resource).
    Other,
}

impl WorkloadKind {
    /// Reads the owner kind of a pod.
    pub fn from_owner(kind: &str) -> Self {
        match kind {
            "Deployment" => Self::Deployment,
            "StatefulSet" => Self::StatefulSet,
            "DaemonSet" => Self::DaemonSet,
            "ReplicaSet" => Self::ReplicaSet,
            "CronJob" => Self::CronJob,
            "Job" => Self::Job,
            "" | "<none>" | "Pod" => Self::Pod,
            _ => Self::Other,
        }
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::Other => "Other",
        }
    }

    /// Whether it serves for good (and may be scaled), unlike a job that ends.
    pub fn is_scalable(self) -> bool {
        matches!(
            self,
            Self::Deployment | Self::StatefulSet | Self::ReplicaSet
        )
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one container in one pod used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodUsage {
    /// Name of the pod.
    pub pod: String,
    /// Node that it ran on, when known.
    pub node: Option<String>,
    /// Cores, mean of each step.
    pub cpu: Vec<Sample>,
    /// Working set in bytes, peak of each step.
    pub memory: Vec<Sample>,
    /// Share (0 to 1) of the scheduler periods in which the container was throttled.
    pub throttled: Vec<Sample>,
    /// When the container was killed for memory, Unix seconds (end of the step).
    pub ooms: Vec<i64>,
}

/// One container of a workload over all its pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerUsage {
    /// Name of the container.
    pub name: String,
    /// What the newest pod requests.
    pub requests: Resources,
    /// What the newest pod is limited to.
    pub limits: Resources,
    /// Each pod that ran in the window, by name.
    pub pods: Vec<PodUsage>,
}

impl ContainerUsage {
    /// All CPU samples in cores, pod by pod.
    pub fn cpu(&self) -> impl Iterator<Item = f64> {
        self.pods.iter().flat_map(|p| p.cpu.iter().map(|s| s.value))
    }

    /// All memory samples in bytes, pod by pod.
    pub fn memory(&self) -> impl Iterator<Item = f64> {
        self.pods
            .iter()
            .flat_map(|p| p.memory.iter().map(|s| s.value))
    }

    /// Pods with a CPU sample at each point in time.
    pub fn replicas(&self) -> BTreeMap<i64, u32> {
        let mut at = BTreeMap::new();
        for sample in self.pods.iter().flat_map(|p| &p.cpu) {
            *at.entry(sample.at).or_default() += 1;
        }
        at
    }
}

/// One workload.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadUsage {
    /// Kind of the topmost owner that is known.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Its containers by name.
    pub containers: Vec<ContainerUsage>,
}

/// A claimed volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Name of the claim.
    pub claim: String,
    /// Requested bytes.
    pub requested: Option<f64>,
    /// When a pod last mounted it, within the window.
    pub last_mounted: Option<i64>,
    /// Used bytes, peak of each step; empty when the kubelet reports none.
    pub used: Vec<Sample>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub service_type: String,
    /// When it last had an endpoint address, within the window.
    pub last_endpoint: Option<i64>,
    /// Whether endpoint addresses were reported for the namespace at all.
    pub endpoints_known: bool,
}

/// How a node is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapacityType {
    /// May be reclaimed at short notice, for a lower price.
    Spot,
    /// The list price; also assumed when nothing is known.
    OnDemand,
}

/// A node that a pod ran on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `node.kubernetes.io/instance-type`, when known.
    pub instance_type: Option<String>,
    /// How it is bought.
    pub capacity: CapacityType,
}

/// Everything known of one namespace in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceUsage {
    /// The namespace.
    pub namespace: String,
    /// The window that was read.
    pub window: Window,
    /// Its workloads, by kind and name.
    pub workloads: Vec<WorkloadUsage>,
    /// Its claims, by name; only when asked for.
    pub volumes: Vec<Volume>,
    /// Its Services, by name; only when asked for.
    pub services: Vec<Service>,
    /// The nodes that are known, by name.
    pub nodes: BTreeMap<String, Node>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_aligned_to_its_step() {
        let window = Window::new(1_000_000_123, 86_400, 300).unwrap();
        assert_eq!(
            (window.end(), window.start(), window.steps()),
            (999_999_900, 999_999_900 - 86_400, 288)
        );
        assert_eq!(window.points().count(), 289);
    }

    #[test]
    fn a_long_window_gets_a_longer_step() {
        let window = Window::new(1_800_000_000, MAX_WINDOW, 300).unwrap();
        assert_eq!(window.step(), 2_700);
        assert!(window.steps() <= usize::try_from(MAX_POINTS).unwrap());
    }

    #[test]
    fn a_window_outside_its_bounds_is_refused() {
        assert_eq!(
            Window::new(0, MAX_WINDOW + 1, 300),
            Err(WindowError::Length)
        );
        assert_eq!(Window::new(0, 599, 300), Err(WindowError::Length));
        assert_eq!(Window::new(0, 86_400, 29), Err(WindowError::Step));
    }
}
