//! Eight days of a small shop, made up but shaped like the real thing, from a fixed seed. Only
//! additions and multiplications are used, so every machine writes the same text.

use std::fmt::Write;

/// Monday 2026-01-05 00:00 UTC.
const START: i64 = 1_767_571_200;
/// Eight days.
const LENGTH: i64 = 8 * 86_400;
/// Scrapes are thinned to one in five minutes.
const STEP: i64 = 300;
/// Objects that do not change are recorded once an hour.
const SLOW_STEP: i64 = 3_600;
/// Web was released anew on day 5 at 09:00: other pods from then on.
const RELEASE: i64 = START + 4 * 86_400 + 9 * 3_600;
const MIB: f64 = 1_048_576.0;

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    /// Uniform in 0..1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)) / 4_294_967_296.0
    }
}

/// How a pod behaves.
#[derive(Clone, Copy)]
struct Behaviour {
    /// Cores at night and at noon.
    cores: (f64, f64),
    /// Mebibytes after the start and at most.
    memory: (f64, f64),
    /// Throttled periods of the 3,000 in five minutes, at most; `None` without a CPU limit.
    throttled: Option<f64>,
    /// Requested and limited cores (0 for no limit) and mebibytes.
    requests: (f64, f64),
    limits: (f64, f64),
}

struct Pod {
    name: String,
    replicaset: &'static str,
    workload: &'static str,
    node: &'static str,
    from: i64,
    to: i64,
    behaviour: Behaviour,
}

/// Requests four times what it needs, at noon of the busiest day.
const WEB: Behaviour = Behaviour {
    cores: (0.05, 0.21),
    memory: (170.0, 260.0),
    throttled: None,
    requests: (1.0, 1024.0),
    limits: (0.0, 1024.0),
};
/// Requests what it needs.
const WORKER: Behaviour = Behaviour {
    cores: (0.24, 0.36),
    memory: (330.0, 420.0),
    throttled: Some(20.0),
    requests: (0.5, 512.0),
    limits: (1.0, 512.0),
};
/// Has nothing to do.
const REPORT_BATCH: Behaviour = Behaviour {
    cores: (0.004, 0.009),
    memory: (48.0, 62.0),
    throttled: None,
    requests: (0.5, 1024.0),
    limits: (0.0, 1024.0),
};

/// Name behind the `ReplicaSet`'s, `ReplicaSet`, workload, node.
type Row = (&'static str, &'static str, &'static str, &'static str);

const BEFORE_RELEASE: [Row; 3] = [
    ("4kq2x", "web-6c5d8f7b9", "web", "node-a"),
    ("9mzt7", "web-6c5d8f7b9", "web", "node-a"),
    ("hw8vl", "web-6c5d8f7b9", "web", "node-b"),
];
const SINCE_RELEASE: [Row; 3] = [
    ("2xj5r", "web-7f9b6d4c58", "web", "node-a"),
    ("c7n4p", "web-7f9b6d4c58", "web", "node-a"),
    ("vq6dk", "web-7f9b6d4c58", "web", "node-b"),
];
const OTHERS: [Row; 3] = [
    ("8rlsn", "worker-5b8c7d9f64", "worker", "node-a"),
    ("tz9gm", "worker-5b8c7d9f64", "worker", "node-b"),
    ("jx2wq", "report-batch-85d4f6c7b", "report-batch", "node-a"),
];

fn pods() -> Vec<Pod> {
    let end = START + LENGTH;
    let pod = |(suffix, replicaset, workload, node): Row, from, to| Pod {
        name: format!("{replicaset}-{suffix}"),
        replicaset,
        workload,
        node,
        from,
        to,
        behaviour: match workload {
            "web" => WEB,
            "worker" => WORKER,
            _ => REPORT_BATCH,
        },
    };
    let before = BEFORE_RELEASE.map(|row| pod(row, START, RELEASE));
    let since = SINCE_RELEASE.map(|row| pod(row, RELEASE, end));
    let others = OTHERS.map(|row| pod(row, START, end));
    before.into_iter().chain(since).chain(others).collect()
}

/// Load of the day from 0 (night) to 1 (13:00), a parabola; weekends have 70 % of it, and the
/// Saturday has a sale from 18:00 to 20:00.
fn load(at: i64) -> f64 {
    let minute = i32::try_from((at - START).rem_euclid(86_400) / 60).unwrap_or(0);
    let day = (at - START) / 86_400;
    let from_noon = (f64::from(minute) - 780.0) / 480.0;
    let base =
        (1.0 - from_noon * from_noon).max(0.0) * if matches!(day, 5 | 6) { 0.7 } else { 1.0 };
    let is_sale = day == 5 && (1_080..1_200).contains(&minute);
    if is_sale { 1.15 } else { base }
}

/// The whole recording as OpenMetrics text.
pub(crate) fn record() -> String {
    let mut text = String::new();
    let mut random = Random(20_260_105);
    for pod in pods() {
        usage(&mut text, &pod, &mut random);
        objects(&mut text, &pod);
    }
    for (replicaset, deployment) in [
        ("web-6c5d8f7b9", "web"),
        ("web-7f9b6d4c58", "web"),
        ("worker-5b8c7d9f64", "worker"),
        ("report-batch-85d4f6c7b", "report-batch"),
    ] {
        let labels = format!(
            "replicaset=\"{replicaset}\",owner_kind=\"Deployment\",owner_name=\"{deployment}\""
        );
        slow(
            &mut text,
            "kube_replicaset_owner",
            &labels,
            1.0,
            (START, START + LENGTH),
        );
    }
    for (node, capacity) in [("node-a", "on-demand"), ("node-b", "spot")] {
        let labels = format!(
            "node=\"{node}\",label_node_kubernetes_io_instance_type=\"m6i.xlarge\",label_karpenter_sh_capacity_type=\"{capacity}\""
        );
        slow(
            &mut text,
            "kube_node_labels",
            &labels,
            1.0,
            (START, START + LENGTH),
        );
    }
    volumes_and_services(&mut text);
    text.push_str("# EOF\n");
    text
}

/// CPU, memory and throttling of a pod, a sample every five minutes.
fn usage(text: &mut String, pod: &Pod, random: &mut Random) {
    let Behaviour {
        cores: (night, noon),
        memory: (fresh, full),
        throttled,
        ..
    } = pod.behaviour;
    let (mut cpu, mut memory, mut periods, mut held) = (0.0, fresh, 0.0, 0.0);
    let mut series = [const { Vec::new() }; 4];
    for at in (pod.from..=pod.to).step_by(300) {
        for (series, value) in series
            .iter_mut()
            .zip([cpu, memory.round() * MIB, periods, held])
        {
            series.push((at, value));
        }
        let busy = night + (noon - night) * load(at);
        cpu += (busy * (0.92 + 0.16 * random.uniform()) * 3_000.0).round() / 10.0;
        let wanted = fresh + (full - fresh) * (0.3 + 0.6 * load(at));
        memory =
            (memory + (wanted - memory) * 0.2 + (random.uniform() - 0.5) * 6.0).clamp(fresh, full);
        periods += 3_000.0;
        held += (throttled.unwrap_or(0.0) * load(at) * random.uniform()).floor();
    }
    let names = [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_cpu_cfs_periods_total",
        "container_cpu_cfs_throttled_periods_total",
    ];
    let kept = if throttled.is_some() { 4 } else { 2 };
    for (name, samples) in names.iter().zip(series).take(kept) {
        let labels = format!("pod=\"{}\",container=\"{}\"", pod.name, pod.workload);
        for (at, value) in samples {
            line(text, name, &labels, value, at);
        }
    }
}

/// Owner, node, restarts, requests and limits of a pod.
fn objects(text: &mut String, pod: &Pod) {
    let span = (pod.from, pod.to);
    let Pod {
        name,
        replicaset,
        workload,
        node,
        ..
    } = pod;
    slow(
        text,
        "kube_pod_owner",
        &format!("pod=\"{name}\",owner_kind=\"ReplicaSet\",owner_name=\"{replicaset}\""),
        1.0,
        span,
    );
    slow(
        text,
        "kube_pod_info",
        &format!("pod=\"{name}\",node=\"{node}\""),
        1.0,
        span,
    );
    slow(
        text,
        "kube_pod_container_status_restarts_total",
        &format!("pod=\"{name}\",container=\"{workload}\""),
        0.0,
        span,
    );
    for (metric, (cores, mebibytes)) in [
        (
            "kube_pod_container_resource_requests",
            pod.behaviour.requests,
        ),
        ("kube_pod_container_resource_limits", pod.behaviour.limits),
    ] {
        let labels = format!("pod=\"{name}\",container=\"{workload}\"");
        if cores > 0.0 {
            slow(
                text,
                metric,
                &format!("{labels},resource=\"cpu\",unit=\"core\""),
                cores,
                span,
            );
        }
        slow(
            text,
            metric,
            &format!("{labels},resource=\"memory\",unit=\"byte\""),
            mebibytes * MIB,
            span,
        );
    }
}

/// Leftovers: a volume that nothing mounts, one that is mostly empty, a load balancer without endpoints.
fn volumes_and_services(text: &mut String) {
    let span = (START, START + LENGTH);
    let mut put = |metric: &str, labels: &str, value: f64| slow(text, metric, labels, value, span);
    put(
        "kube_persistentvolumeclaim_resource_requests_storage_bytes",
        "persistentvolumeclaim=\"old-exports\"",
        200.0 * 1024.0 * MIB,
    );
    put(
        "kube_persistentvolumeclaim_resource_requests_storage_bytes",
        "persistentvolumeclaim=\"uploads\"",
        100.0 * 1024.0 * MIB,
    );
    put(
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        "persistentvolumeclaim=\"uploads\",volume=\"uploads\"",
        1.0,
    );
    put(
        "kubelet_volume_stats_used_bytes",
        "persistentvolumeclaim=\"uploads\"",
        9.0 * 1024.0 * MIB,
    );
    put(
        "kube_service_spec_type",
        "service=\"web\",type=\"ClusterIP\"",
        1.0,
    );
    put(
        "kube_service_spec_type",
        "service=\"legacy-web\",type=\"LoadBalancer\"",
        1.0,
    );
    put(
        "kube_endpoint_address",
        "endpoint=\"web\",ip=\"10.42.0.17\",ready=\"true\"",
        1.0,
    );
}

fn slow(text: &mut String, metric: &str, labels: &str, value: f64, (from, to): (i64, i64)) {
    let mut at = from;
    while at <= to {
        line(text, metric, labels, value, at);
        at += SLOW_STEP;
    }
    if (to - from) % SLOW_STEP != 0 {
        line(text, metric, labels, value, to - to % STEP);
    }
}

fn line(text: &mut String, metric: &str, labels: &str, value: f64, at: i64) {
    let value = (value * 10.0).round() / 10.0;
    let _ = writeln!(text, "{metric}{{namespace=\"shop\",{labels}}} {value} {at}");
}
