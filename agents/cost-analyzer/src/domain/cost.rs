//! What workloads cost.

use usage::{
    ContainerUsage, NamespaceUsage, PodUsage, Prices, Rate, Resources, Sample, WorkloadUsage, count,
};

/// Dollars and cents.
pub fn cents(dollars: f64) -> f64 {
    (dollars * 100.0).round() / 100.0
}

/// What a workload costs a month, as `OpenCost` allocates it: for every pod and step the larger of
/// request and usage, at the price of the pod's node; scaled from the window to 730 hours.
pub fn monthly(usage: &NamespaceUsage, workload: &WorkloadUsage, prices: &Prices) -> f64 {
    let container = |container: &ContainerUsage| -> f64 {
        let pod = |pod: &PodUsage| {
            let cores = mean_charged(&pod.cpu, container.requests.cpu);
            let bytes = mean_charged(&pod.memory, container.requests.memory);
            rate(usage, pod, prices).monthly(cores, bytes) * presence(usage, pod)
        };
        container.pods.iter().map(pod).sum()
    };
    workload.containers.iter().map(container).sum()
}

/// What requests lowered by `freed` save a month. Usage above the new request stays charged, so
/// only what lies above both is saved; proposals lie above usage, which makes it the difference.
pub fn monthly_savings(
    usage: &NamespaceUsage,
    container: &ContainerUsage,
    freed: &Resources,
    prices: &Prices,
) -> f64 {
    let (cores, bytes) = (freed.cpu.unwrap_or(0.0), freed.memory.unwrap_or(0.0));
    container
        .pods
        .iter()
        .map(|pod| rate(usage, pod, prices).monthly(cores, bytes) * presence(usage, pod))
        .sum()
}

/// Mean over the steps of the larger of request and usage.
fn mean_charged(samples: &[Sample], request: Option<f64>) -> f64 {
    let request = request.unwrap_or(0.0);
    samples.iter().map(|s| s.value.max(request)).sum::<f64>() / count(samples.len().max(1))
}

/// Share of the window in which a pod ran.
fn presence(usage: &NamespaceUsage, pod: &PodUsage) -> f64 {
    count(pod.cpu.len()) / count(usage.window.steps().max(1))
}

fn rate(usage: &NamespaceUsage, pod: &PodUsage, prices: &Prices) -> Rate {
    prices.rate(pod.node.as_ref().and_then(|name| usage.nodes.get(name)))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use usage::{CapacityType, Node, Window, WorkloadKind};

    use super::*;

    pub(crate) const GIB: f64 = 1_073_741_824.0;

    /// A namespace of one workload with one container of one pod, sampled each hour.
    pub(crate) fn namespace(cpu: &[f64], memory: &[f64], requests: Resources) -> NamespaceUsage {
        let hours = i64::try_from(cpu.len()).unwrap();
        let samples = |values: &[f64]| {
            (1..)
                .zip(values)
                .map(|(i, value)| Sample {
                    at: i * 3600,
                    value: *value,
                })
                .collect()
        };
        let pod = PodUsage {
            pod: "app-1".into(),
            node: Some("n".into()),
            cpu: samples(cpu),
            memory: samples(memory),
            ..PodUsage::default()
        };
        let container = ContainerUsage {
            name: "app".into(),
            requests,
            pods: vec![pod],
            ..ContainerUsage::default()
        };
        NamespaceUsage {
            namespace: "shop".into(),
            window: Window::new(hours * 3600, hours * 3600, 3600).unwrap(),
            workloads: vec![WorkloadUsage {
                kind: WorkloadKind::Deployment,
                name: "app".into(),
                containers: vec![container],
            }],
            volumes: Vec::new(),
            services: Vec::new(),
            nodes: BTreeMap::new(),
        }
    }

    #[test]
    fn the_larger_of_request_and_usage_is_charged() {
        // 1 core requested; used 0.5 and 2: charged 1 and 2, mean 1.5. 2 GiB requested, 1 used: 2.
        // (1.5 * 0.031611 + 2 * 0.004237) * 730 = 40.80 US dollars.
        let requests = Resources {
            cpu: Some(1.0),
            memory: Some(2.0 * GIB),
        };
        let usage = namespace(&[0.5, 2.0], &[GIB, GIB], requests);
        assert_eq!(
            cents(monthly(&usage, &usage.workloads[0], &Prices::default())),
            40.80
        );
    }

    #[test]
    fn a_spot_node_is_cheaper_and_half_a_window_costs_half() {
        let requests = Resources {
            cpu: Some(1.0),
            memory: None,
        };
        let mut usage = namespace(&[0.5; 4], &[0.0; 4], requests);
        usage.nodes.insert(
            "n".into(),
            Node {
                instance_type: None,
                capacity: CapacityType::Spot,
            },
        );
        assert_eq!(
            cents(monthly(&usage, &usage.workloads[0], &Prices::default())),
            cents(0.006_655 * 730.0)
        );
        usage.workloads[0].containers[0].pods[0].cpu.truncate(2);
        assert_eq!(
            cents(monthly(&usage, &usage.workloads[0], &Prices::default())),
            cents(0.006_655 * 365.0)
        );
    }

    #[test]
    fn savings_are_priced_per_pod() {
        let requests = Resources {
            cpu: Some(2.0),
            memory: Some(4.0 * GIB),
        };
        let usage = namespace(&[0.1; 4], &[GIB; 4], requests);
        let freed = Resources {
            cpu: Some(1.0),
            memory: Some(2.0 * GIB),
        };
        let saved = monthly_savings(
            &usage,
            &usage.workloads[0].containers[0],
            &freed,
            &Prices::default(),
        );
        assert_eq!(cents(saved), cents((0.031_611 + 2.0 * 0.004_237) * 730.0));
    }
}
