//! How many samples a second does the idle rule judge, and how much does that cost against the
//! least that any rule has to do (read every sample once and keep the largest)?
//!
//! Input: one workload of 1, 10 and 100 pods, eight days of 5-minute samples of CPU and memory at
//! 5 % of the request. Run: `cargo bench -p cost-analyzer`. Only the ratio of one run means something.
//!
//! Found on two virtual cores, optimized:
//!
//! | pods | samples | idle rule, samples/s | largest, samples/s | ratio |
//! | --- | --- | --- | --- | --- |
//! | 1 | 4,608 | 87 million | 1,600 million | 0.06 |
//! | 10 | 46,080 | 344 million | 1,700 million | 0.20 |
//! | 100 | 460,800 | 423 million | 1,200 million | 0.35 |
//!
//! The largest question that is read (4 million samples) is judged in some 10 ms. Sums by point in
//! a `BTreeMap` took 20 times as long as in the vector along the window's grid that is used now.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{collections::BTreeMap, hint::black_box};

use cost_analyzer::domain::idle::{IdleRule, idle_time};
use tokio::time::Instant;
use usage::{
    ContainerUsage, NamespaceUsage, PodUsage, Resources, Sample, Window, WorkloadKind,
    WorkloadUsage,
};

const END: i64 = 8 * 86_400;

fn namespace(pods: usize, window: Window) -> NamespaceUsage {
    let series = |value: f64| {
        window
            .points()
            .skip(1)
            .map(|at| Sample { at, value })
            .collect()
    };
    let pod = |i: usize| PodUsage {
        pod: format!("app-{i}"),
        cpu: series(0.05),
        memory: series(5e7),
        ..PodUsage::default()
    };
    let container = ContainerUsage {
        name: String::from("app"),
        requests: Resources {
            cpu: Some(1.0),
            memory: Some(1e9),
        },
        pods: (0..pods).map(pod).collect(),
        ..ContainerUsage::default()
    };
    NamespaceUsage {
        namespace: String::from("shop"),
        window,
        workloads: vec![WorkloadUsage {
            kind: WorkloadKind::Deployment,
            name: String::from("app"),
            containers: vec![container],
        }],
        volumes: Vec::new(),
        services: Vec::new(),
        nodes: BTreeMap::new(),
    }
}

fn judge(usage: &NamespaceUsage) -> bool {
    usage
        .workloads
        .iter()
        .all(|w| idle_time(usage, w, &IdleRule::default()).is_ok_and(|idle| idle.is_some()))
}

fn largest(usage: &NamespaceUsage) -> bool {
    let containers = || usage.workloads.iter().flat_map(|w| &w.containers);
    containers()
        .flat_map(ContainerUsage::cpu)
        .fold(0.0, f64::max)
        < 0.2
        && containers()
            .flat_map(ContainerUsage::memory)
            .fold(0.0, f64::max)
            < 2e8
}

/// Samples a second of the fastest of several runs.
fn speed(usage: &NamespaceUsage, samples: usize, rule: impl Fn(&NamespaceUsage) -> bool) -> f64 {
    let run = || {
        let started = Instant::now();
        assert!(black_box(rule(black_box(usage))), "the workload is idle");
        started.elapsed().as_secs_f64()
    };
    usage::count(samples) / (0..20).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!(
        "{:>5}  {:>9}  {:>14}  {:>14}  {:>6}",
        "pods", "samples", "idle rule/s", "largest/s", "ratio"
    );
    for pods in [1, 10, 100] {
        let Ok(window) = Window::new(END, END, 300) else {
            return;
        };
        let usage = namespace(pods, window);
        let samples = pods * window.steps() * 2;
        let (ours, least) = (
            speed(&usage, samples, judge),
            speed(&usage, samples, largest),
        );
        println!(
            "{pods:>5}  {samples:>9}  {ours:>14.0}  {least:>14.0}  {:>6.3}",
            ours / least
        );
    }
}
