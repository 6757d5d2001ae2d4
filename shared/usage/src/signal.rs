//! Which metrics are read, and how each is folded into one value a step. Both adapters (the live
//! one and the recorded one) evaluate the same table, so they give the same answer to the same data.

use std::collections::BTreeMap;

use crate::{Sample, Window};

/// How the samples within one step become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The newest one (counters, requests).
    Last,
    /// The largest one (memory).
    Max,
}

/// How series that agree in the labels `by` become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The largest.
    Max,
    /// The sum.
    Sum,
}

/// One metric to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    /// Metric name as cAdvisor, the kubelet or kube-state-metrics exposes it.
    pub metric: &'static str,
    /// Further label tests: label, value, whether it must be equal (else different).
    pub only: &'static [(&'static str, &'static str, bool)],
    /// Labels to keep, in the order of [`Series::labels`].
    pub by: &'static [&'static str],
    /// Fold within a step.
    pub over: Over,
    /// Fold over series.
    pub group: Group,
    /// Whether the metric has a namespace.
    pub namespaced: bool,
}

const CONTAINERS: &[(&str, &str, bool)] = &[("container", "", false), ("container", "POD", false)];
const POD_CONTAINER: &[&str] = &["pod", "container"];

const fn container(metric: &'static str, over: Over) -> Signal {
    Signal {
        metric,
        only: CONTAINERS,
        by: POD_CONTAINER,
        over,
        group: Group::Max,
        namespaced: true,
    }
}

const fn object(metric: &'static str, by: &'static [&'static str], group: Group) -> Signal {
    Signal {
        metric,
        only: &[],
        by,
        over: Over::Last,
        group,
        namespaced: true,
    }
}

/// CPU time in seconds, a counter (cAdvisor).
pub(crate) const CPU: Signal = container("container_cpu_usage_seconds_total", Over::Last);
/// Working set in bytes: what the kubelet evicts by and the kernel kills by (cAdvisor).
pub(crate) const MEMORY: Signal = container("container_memory_working_set_bytes", Over::Max);
/// Scheduler periods (100 ms each) in which a limited container ran, a counter (cAdvisor).
pub(crate) const PERIODS: Signal = container("container_cpu_cfs_periods_total", Over::Last);
/// Those of them in which it was throttled, a counter (cAdvisor).
pub(crate) const THROTTLED: Signal =
    container("container_cpu_cfs_throttled_periods_total", Over::Last);
/// Restarts, a counter (kube-state-metrics).
pub(crate) const RESTARTS: Signal =
    container("kube_pod_container_status_restarts_total", Over::Last);
/// 1 while the last restart was for memory (kube-state-metrics).
pub(crate) const OOM_KILLED: Signal = Signal {
    only: &[("reason", "OOMKilled", true)],
    ..container(
        "kube_pod_container_status_last_terminated_reason",
        Over::Last,
    )
};
/// Requests in cores and bytes (kube-state-metrics).
pub(crate) const REQUESTS: Signal = object(
    "kube_pod_container_resource_requests",
    &["pod", "container", "resource"],
    Group::Max,
);
/// Limits in cores and bytes (kube-state-metrics).
pub(crate) const LIMITS: Signal = object(
    "kube_pod_container_resource_limits",
    &["pod", "container", "resource"],
    Group::Max,
);
/// Owner of each pod (kube-state-metrics).
pub(crate) const POD_OWNER: Signal = object(
    "kube_pod_owner",
    &["pod", "owner_kind", "owner_name"],
    Group::Max,
);
/// Owner of each `ReplicaSet`: its Deployment (kube-state-metrics).
pub(crate) const REPLICASET_OWNER: Signal = object(
    "kube_replicaset_owner",
    &["replicaset", "owner_kind", "owner_name"],
    Group::Max,
);
/// Owner of each Job: its `CronJob` (kube-state-metrics).
pub(crate) const JOB_OWNER: Signal = object(
    "kube_job_owner",
    &["job_name", "owner_kind", "owner_name"],
    Group::Max,
);
/// Node of each pod (kube-state-metrics).
pub(crate) const POD_NODE: Signal = object("kube_pod_info", &["pod", "node"], Group::Max);
/// Node labels; kube-state-metrics exposes those that `--metric-labels-allowlist` names.
pub(crate) const NODE_LABELS: Signal = Signal {
    namespaced: false,
    ..object(
        "kube_node_labels",
        &[
            "node",
            "label_node_kubernetes_io_instance_type",
            "label_karpenter_sh_capacity_type",
            "label_eks_amazonaws_com_capacityType",
            "label_cloud_google_com_gke_spot",
            "label_kubernetes_azure_com_scalesetpriority",
        ],
        Group::Max,
    )
};
/// Claimed bytes (kube-state-metrics).
pub(crate) const CLAIMS: Signal = object(
    "kube_persistentvolumeclaim_resource_requests_storage_bytes",
    &["persistentvolumeclaim"],
    Group::Max,
);
/// Pods that mount a claim (kube-state-metrics).
pub(crate) const MOUNTS: Signal = object(
    "kube_pod_spec_volumes_persistentvolumeclaims_info",
    &["persistentvolumeclaim"],
    Group::Sum,
);
/// Used bytes of a claim (kubelet).
pub(crate) const VOLUME_USED: Signal = Signal {
    over: Over::Max,
    ..object(
        "kubelet_volume_stats_used_bytes",
        &["persistentvolumeclaim"],
        Group::Max,
    )
};
/// Services with their type (kube-state-metrics).
pub(crate) const SERVICES: Signal =
    object("kube_service_spec_type", &["service", "type"], Group::Max);
/// Endpoint addresses of a Service (kube-state-metrics 2.6 and later).
pub(crate) const ENDPOINTS: Signal = object("kube_endpoint_address", &["endpoint"], Group::Sum);

/// What a signal is read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Namespace, a DNS label.
    pub namespace: String,
    /// Only these pods; all when `None`.
    pub pods: Option<Vec<String>>,
}

/// The points in time at which a signal is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// Each point of the window, looking back one step.
    Each(Window),
    /// Its end, looking back over the whole window.
    Once(Window),
}

impl Times {
    /// First point, last point, distance between points, and how far each looks back.
    pub(crate) fn grid(self) -> (i64, i64, i64, i64) {
        match self {
            Self::Each(w) => (w.start(), w.end(), w.step(), w.step()),
            Self::Once(w) => (w.end(), w.end(), w.step(), w.length()),
        }
    }
}

/// A series after both folds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Values of the signal's `by` labels, empty where a label is missing.
    pub labels: Vec<String>,
    /// One value a point at most, in order of time.
    pub samples: Vec<Sample>,
}

impl Series {
    /// The `index`-th label.
    pub(crate) fn label(&self, index: usize) -> &str {
        self.labels.get(index).map_or("", String::as_str)
    }

    /// The newest value.
    pub(crate) fn last(&self) -> Option<Sample> {
        self.samples.last().copied()
    }
}

/// Where signals come from.
#[async_trait::async_trait]
pub(crate) trait SignalSource: std::fmt::Debug + Send + Sync {
    /// Reads one signal.
    async fn read(
        &self,
        signal: &Signal,
        scope: &Scope,
        times: Times,
    ) -> Result<Vec<Series>, crate::UsageError>;
    /// The newest point in time that it knows, Unix seconds.
    async fn latest(&self) -> Result<i64, crate::UsageError>;
}

/// Increase a second of a counter over each step. A counter that fell was reset: what it shows
/// then is the increase since. Steps with a gap before them have no rate.
pub(crate) fn rates(counter: &[Sample], step: i64) -> Vec<Sample> {
    increases(counter, step)
        .map(|s| Sample {
            at: s.at,
            value: s.value / crate::seconds(step),
        })
        .collect()
}

/// Increase of a counter over each step.
pub(crate) fn increases(counter: &[Sample], step: i64) -> impl Iterator<Item = Sample> {
    counter
        .iter()
        .zip(counter.iter().skip(1))
        .filter(move |(a, b)| b.at - a.at == step)
        .map(|(a, b)| Sample {
            at: b.at,
            value: if b.value >= a.value {
                b.value - a.value
            } else {
                b.value
            },
        })
}

/// Share of `part` in `whole` for each step in which `whole` grew.
pub(crate) fn shares(part: &[Sample], whole: &[Sample], step: i64) -> Vec<Sample> {
    let part: BTreeMap<i64, f64> = increases(part, step).map(|s| (s.at, s.value)).collect();
    increases(whole, step)
        .filter(|s| s.value > 0.0)
        .filter_map(|s| {
            part.get(&s.at).map(|p| Sample {
                at: s.at,
                value: (p / s.value).min(1.0),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[(i64, f64)]) -> Vec<Sample> {
        values
            .iter()
            .map(|(at, value)| Sample {
                at: *at,
                value: *value,
            })
            .collect()
    }

    #[test]
    fn a_rate_is_the_increase_over_the_step() {
        assert_eq!(
            rates(&samples(&[(0, 10.0), (60, 40.0), (120, 40.0)]), 60),
            samples(&[(60, 0.5), (120, 0.0)])
        );
    }

    #[test]
    fn a_reset_counts_what_grew_since() {
        assert_eq!(
            rates(&samples(&[(0, 1000.0), (60, 6.0)]), 60),
            samples(&[(60, 0.1)])
        );
    }

    #[test]
    fn a_gap_has_no_rate() {
        assert_eq!(
            rates(&samples(&[(0, 0.0), (120, 60.0), (180, 120.0)]), 60),
            samples(&[(180, 1.0)])
        );
    }

    #[test]
    fn a_share_needs_a_whole() {
        let part = samples(&[(0, 0.0), (60, 5.0), (120, 5.0)]);
        let whole = samples(&[(0, 0.0), (60, 20.0), (120, 20.0)]);
        assert_eq!(shares(&part, &whole, 60), samples(&[(60, 0.25)]));
    }
}
