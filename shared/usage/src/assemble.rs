//! Puts the series of the signals together into workloads, volumes and services.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    CapacityType, ContainerUsage, Node, PodUsage, Resources, Sample, Service, Volume, Window,
    WorkloadKind, WorkloadUsage,
    signal::{Series, increases, rates, shares},
};

/// Which workload each pod belongs to.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    pods: HashMap<String, (WorkloadKind, String)>,
}

impl Owners {
    /// Follows pod -> `ReplicaSet` -> Deployment and pod -> Job -> `CronJob`.
    pub(crate) fn new(pods: &[Series], replicasets: &[Series], jobs: &[Series]) -> Self {
        let above = |series: &[Series]| -> HashMap<String, (WorkloadKind, String)> {
            series
                .iter()
                .map(|s| {
                    (
                        s.label(0).to_owned(),
                        (WorkloadKind::from_owner(s.label(1)), s.label(2).to_owned()),
                    )
                })
                .collect()
        };
        let (replicasets, jobs) = (above(replicasets), above(jobs));
        let topmost = |(pod, (kind, name)): (String, (WorkloadKind, String))| {
            let next = match kind {
                WorkloadKind::ReplicaSet => replicasets.get(&name),
                WorkloadKind::Job => jobs.get(&name),
                _ => None,
            };
            let owner = match next.filter(|(kind, _)| *kind != WorkloadKind::Pod) {
                Some(owner) => owner.clone(),
                None if kind == WorkloadKind::Pod => (kind, pod.clone()),
                None => (kind, name),
            };
            (pod, owner)
        };
        Self {
            pods: above(pods).into_iter().map(topmost).collect(),
        }
    }

    /// The workload of a pod; a pod of unknown owner stands for itself.
    pub(crate) fn of(&self, pod: &str) -> (WorkloadKind, String) {
        self.pods
            .get(pod)
            .cloned()
            .unwrap_or_else(|| (WorkloadKind::Pod, pod.to_owned()))
    }

    /// Pods of the workloads with this name (and kind).
    pub(crate) fn pods_of(&self, name: &str, kind: Option<WorkloadKind>) -> Vec<String> {
        let wanted =
            |(k, n): &(WorkloadKind, String)| n == name && kind.is_none_or(|kind| kind == *k);
        let pods: BTreeSet<&String> = self
            .pods
            .iter()
            .filter(|(_, owner)| wanted(owner))
            .map(|(pod, _)| pod)
            .collect();
        pods.into_iter().cloned().collect()
    }
}

/// The series of all container signals.
#[derive(Debug, Default)]
pub(crate) struct ContainerSeries {
    pub cpu: Vec<Series>,
    pub memory: Vec<Series>,
    pub periods: Vec<Series>,
    pub throttled: Vec<Series>,
    pub restarts: Vec<Series>,
    pub oom_killed: Vec<Series>,
    pub requests: Vec<Series>,
    pub limits: Vec<Series>,
    pub nodes: Vec<Series>,
}

type Key = (String, String);

fn by_container(series: &[Series]) -> BTreeMap<Key, &[Sample]> {
    series
        .iter()
        .map(|s| {
            (
                (s.label(0).to_owned(), s.label(1).to_owned()),
                s.samples.as_slice(),
            )
        })
        .collect()
}

fn resources(series: &[Series]) -> BTreeMap<Key, Resources> {
    let mut all: BTreeMap<Key, Resources> = BTreeMap::new();
    for s in series {
        let entry = all
            .entry((s.label(0).to_owned(), s.label(1).to_owned()))
            .or_default();
        match s.label(2) {
            "cpu" => entry.cpu = s.last().map(|s| s.value),
            "memory" => entry.memory = s.last().map(|s| s.value),
            _ => {}
        }
    }
    all
}

/// The sample series of all containers, by pod and container.
struct Samples<'a> {
    window: Window,
    memory: BTreeMap<Key, &'a [Sample]>,
    periods: BTreeMap<Key, &'a [Sample]>,
    throttled: BTreeMap<Key, &'a [Sample]>,
    restarts: BTreeMap<Key, &'a [Sample]>,
    killed: BTreeMap<Key, &'a [Sample]>,
    nodes: HashMap<&'a str, &'a str>,
}

impl<'a> Samples<'a> {
    fn new(series: &'a ContainerSeries, window: Window) -> Self {
        let node = |s: &'a Series| (s.label(0), s.label(1));
        Self {
            window,
            memory: by_container(&series.memory),
            periods: by_container(&series.periods),
            throttled: by_container(&series.throttled),
            restarts: by_container(&series.restarts),
            killed: by_container(&series.oom_killed),
            nodes: series.nodes.iter().map(node).collect(),
        }
    }

    /// Everything of one container of one pod.
    fn of(&self, key: &Key, cpu: &[Sample]) -> PodUsage {
        let at =
            |map: &BTreeMap<Key, &[Sample]>| map.get(key).map_or_else(Vec::new, |s| s.to_vec());
        let (start, step) = (self.window.start(), self.window.step());
        let node = self.nodes.get(key.0.as_str()).filter(|n| !n.is_empty());
        PodUsage {
            pod: key.0.clone(),
            node: node.map(|n| (*n).to_owned()),
            cpu: rates(cpu, step),
            memory: at(&self.memory)
                .into_iter()
                .filter(|s| s.at > start)
                .collect(),
            throttled: shares(&at(&self.throttled), &at(&self.periods), step),
            ooms: ooms(&at(&self.restarts), &at(&self.killed), step),
        }
    }
}

/// Groups pods by workload and container.
pub(crate) fn workloads(
    series: &ContainerSeries,
    owners: &Owners,
    window: Window,
) -> Vec<WorkloadUsage> {
    type Containers = BTreeMap<String, Vec<PodUsage>>;
    let samples = Samples::new(series, window);
    let (requests, limits) = (resources(&series.requests), resources(&series.limits));
    let mut grouped: BTreeMap<(WorkloadKind, String), Containers> = BTreeMap::new();
    for (key, cpu) in by_container(&series.cpu) {
        let containers = grouped.entry(owners.of(&key.0)).or_default();
        containers
            .entry(key.1.clone())
            .or_default()
            .push(samples.of(&key, cpu));
    }
    let container = |(name, pods): (String, Vec<PodUsage>)| {
        let newest = newest(&pods).map(|pod| (pod.to_owned(), name.clone()));
        let of = |all: &BTreeMap<Key, Resources>| {
            newest
                .as_ref()
                .and_then(|key| all.get(key))
                .copied()
                .unwrap_or_default()
        };
        ContainerUsage {
            requests: of(&requests),
            limits: of(&limits),
            name,
            pods,
        }
    };
    let workload =
        |((kind, name), containers): ((WorkloadKind, String), Containers)| WorkloadUsage {
            kind,
            name,
            containers: containers.into_iter().map(container).collect(),
        };
    grouped.into_iter().map(workload).collect()
}

/// The pod that was measured last: the one whose requests are in force.
fn newest(pods: &[PodUsage]) -> Option<&str> {
    pods.iter()
        .max_by_key(|p| (p.cpu.last().map(|s| s.at), &p.pod))
        .map(|p| p.pod.as_str())
}

/// A restart whose reason is memory is a kill for memory.
fn ooms(restarts: &[Sample], killed: &[Sample], step: i64) -> Vec<i64> {
    let killed: BTreeSet<i64> = killed
        .iter()
        .filter(|s| s.value > 0.0)
        .map(|s| s.at)
        .collect();
    increases(restarts, step)
        .filter(|s| s.value > 0.0 && killed.contains(&s.at))
        .map(|s| s.at)
        .collect()
}

/// Claims with what is known of their use.
pub(crate) fn volumes(
    claims: &[Series],
    mounts: &[Series],
    used: &[Series],
    window: Window,
) -> Vec<Volume> {
    let find = |all: &[Series], claim: &str| {
        all.iter()
            .find(|s| s.label(0) == claim)
            .map_or_else(Vec::new, |s| s.samples.clone())
    };
    claims
        .iter()
        .map(|s| Volume {
            claim: s.label(0).to_owned(),
            requested: s.last().map(|s| s.value),
            last_mounted: last_positive(&find(mounts, s.label(0))),
            used: find(used, s.label(0))
                .into_iter()
                .filter(|s| s.at > window.start())
                .collect(),
        })
        .collect()
}

/// Services with what is known of their endpoints.
pub(crate) fn services(services: &[Series], endpoints: &[Series]) -> Vec<Service> {
    services
        .iter()
        .map(|s| Service {
            name: s.label(0).to_owned(),
            service_type: s.label(1).to_owned(),
            last_endpoint: endpoints
                .iter()
                .find(|e| e.label(0) == s.label(0))
                .and_then(|e| last_positive(&e.samples)),
            endpoints_known: !endpoints.is_empty(),
        })
        .collect()
}

fn last_positive(samples: &[Sample]) -> Option<i64> {
    samples.iter().rev().find(|s| s.value > 0.0).map(|s| s.at)
}

/// Nodes by name; how a node is bought is read from the labels of Karpenter, EKS, GKE and AKS.
pub(crate) fn nodes(labels: &[Series]) -> BTreeMap<String, Node> {
    labels
        .iter()
        .map(|s| {
            let is_spot = s.label(2) == "spot"
                || s.label(3) == "SPOT"
                || s.label(4) == "true"
                || s.label(5) == "spot";
            let node = Node {
                instance_type: Some(s.label(1).to_owned()).filter(|t| !t.is_empty()),
                capacity: if is_spot {
                    CapacityType::Spot
                } else {
                    CapacityType::OnDemand
                },
            };
            (s.label(0).to_owned(), node)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[&str], values: &[(i64, f64)]) -> Series {
        Series {
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            samples: values
                .iter()
                .map(|(at, value)| Sample {
                    at: *at,
                    value: *value,
                })
                .collect(),
        }
    }

    #[test]
    fn pods_belong_to_their_topmost_owner() {
        let pods = [
            series(&["web-1-a", "ReplicaSet", "web-1"], &[]),
            series(&["batch-7-x", "Job", "batch-7"], &[]),
            series(&["db-0", "StatefulSet", "db"], &[]),
            series(&["lone", "<none>", "<none>"], &[]),
            series(&["old-1-a", "ReplicaSet", "old-1"], &[]),
        ];
        let owners = Owners::new(
            &pods,
            &[series(&["web-1", "Deployment", "web"], &[])],
            &[series(&["batch-7", "CronJob", "batch"], &[])],
        );
        assert_eq!(
            owners.of("web-1-a"),
            (WorkloadKind::Deployment, "web".into())
        );
        assert_eq!(
            owners.of("batch-7-x"),
            (WorkloadKind::CronJob, "batch".into())
        );
        assert_eq!(owners.of("db-0"), (WorkloadKind::StatefulSet, "db".into()));
        assert_eq!(owners.of("lone"), (WorkloadKind::Pod, "lone".into()));
        assert_eq!(
            owners.of("old-1-a"),
            (WorkloadKind::ReplicaSet, "old-1".into())
        );
        assert_eq!(owners.of("unknown"), (WorkloadKind::Pod, "unknown".into()));
        assert_eq!(
            owners.pods_of("web", Some(WorkloadKind::Deployment)),
            ["web-1-a"]
        );
    }

    #[test]
    fn requests_are_those_of_the_newest_pod() {
        let window = Window::new(240, 240, 60).unwrap();
        let all = ContainerSeries {
            cpu: vec![
                series(&["old", "app"], &[(0, 0.0), (60, 30.0)]),
                series(&["new", "app"], &[(120, 0.0), (180, 6.0)]),
            ],
            requests: vec![
                series(&["old", "app", "cpu"], &[(240, 2.0)]),
                series(&["new", "app", "cpu"], &[(240, 1.0)]),
            ],
            ..ContainerSeries::default()
        };
        let pods = [
            series(&["old", "StatefulSet", "db"], &[]),
            series(&["new", "StatefulSet", "db"], &[]),
        ];
        let found = workloads(&all, &Owners::new(&pods, &[], &[]), window);
        assert_eq!((found.len(), found[0].containers[0].pods.len()), (1, 2));
        assert_eq!(found[0].containers[0].requests.cpu, Some(1.0));
    }

    #[test]
    fn only_a_restart_for_memory_is_an_oom() {
        let restarts = [
            Sample { at: 0, value: 0.0 },
            Sample { at: 60, value: 1.0 },
            Sample {
                at: 120,
                value: 2.0,
            },
            Sample {
                at: 180,
                value: 2.0,
            },
        ];
        let killed = [
            Sample {
                at: 120,
                value: 1.0,
            },
            Sample {
                at: 180,
                value: 1.0,
            },
        ];
        assert_eq!(ooms(&restarts, &killed, 60), [120]);
    }

    #[test]
    fn a_volume_remembers_its_last_mount() {
        let window = Window::new(240, 240, 60).unwrap();
        let found = volumes(
            &[series(&["data"], &[(240, 10.0)])],
            &[series(&["data"], &[(60, 1.0), (120, 0.0)])],
            &[],
            window,
        );
        assert_eq!(
            (found[0].requested, found[0].last_mounted),
            (Some(10.0), Some(60))
        );
    }
}
