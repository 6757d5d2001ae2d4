//! How many trigger evaluations a second, and what does the index buy over judging everything again?
//!
//! Input: workloads of ten ready pods each on 50 nodes; one change in a hundred takes a pod's readiness, the others
//! touch pods that are ready; the same in both variants. `indexed` judges the workload that a change touches; `rescan`
//! judges all workloads after each change. Run: `cargo bench -p monitoring-agent`. Only ratios of one run mean
//! something.
//! Found (two virtual cores under other load, test profile): 38 times the rescan's rate with 500 pods, 680 times
//! with 5,000, 4,000 times with 50,000; the indexed rate itself falls by less than three over that range.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;

use monitoring_agent::domain::{
    At, Container, ContainerState, Current, Key, Pod, Probes, Revision, Thresholds, Workload, World,
};
use tokio::time::Instant;

const T0: At = At::from_millis(1_700_000_000_000);
const PODS_EACH: u32 = 10;

fn key(workload: u32) -> Key {
    Key::deployment("shop", &format!("web-{workload}"))
}

fn pod(number: u32, ready: bool) -> Pod {
    let probes = Probes {
        startup_ms: Some(30_000),
        readiness_ms: Some(10_000),
    };
    let state = ContainerState::Running(T0);
    Pod {
        uid: format!("p{number}"),
        namespace: "shop".into(),
        name: format!("web-{number}"),
        owner: format!("s{}", number / PODS_EACH),
        node: Some(format!("n{}", number % 50)),
        created: T0,
        ready,
        containers: vec![Container {
            name: "web".into(),
            ready,
            started: true,
            state,
            probes,
            ..Container::default()
        }],
        ..Pod::default()
    }
}

fn world(pods: u32) -> World {
    let mut world = World::default();
    for workload in 0..pods / PODS_EACH {
        let known = Workload {
            key: key(workload),
            uid: format!("d{workload}"),
            generation: 1,
            observed_generation: 1,
            desired: PODS_EACH,
            total: PODS_EACH,
            updated: PODS_EACH,
            ready: PODS_EACH,
            available: PODS_EACH,
            current: Current::Number(1),
            ..Workload::default()
        };
        world.apply_workload(known, T0);
        world.apply_revision(Revision {
            uid: format!("s{workload}"),
            namespace: "shop".into(),
            name: format!("web-{workload}-1"),
            owner: format!("d{workload}"),
            number: 1,
            created: T0,
            replica_set: true,
            ..Revision::default()
        });
    }
    for number in 0..pods {
        world.apply_pod(pod(number, true), T0);
    }
    world
}

/// Changes a second, when `judge` runs after each of `changes`.
fn rate(pods: u32, changes: u32, mut judge: impl FnMut(&mut World, Key, At)) -> f64 {
    let mut world = world(pods);
    let began = Instant::now();
    for change in 0..changes {
        let now = T0.plus(i64::from(change));
        // A prime step visits workloads in no order that a cache could like.
        let number = change.wrapping_mul(7_919) % pods;
        let touched = world.apply_pod(pod(number, change % 100 != 0), now);
        judge(&mut world, touched.unwrap_or_else(|| key(0)), now);
    }
    f64::from(changes) / began.elapsed().as_secs_f64()
}

fn main() {
    let thresholds = Thresholds::default();
    println!(
        "{:>8} {:>16} {:>16} {:>8}",
        "pods", "indexed/s", "rescan/s", "ratio"
    );
    for (pods, rescans) in [(500, 2_000), (5_000, 200), (50_000, 10)] {
        let indexed = rate(pods, 20_000, |world, key, now| {
            black_box(world.evaluate(&key, now, &thresholds));
        });
        let rescan = rate(pods, rescans, |world, _, now| {
            for key in world.keys() {
                black_box(world.evaluate(&key, now, &thresholds));
            }
        });
        println!(
            "{pods:>8} {indexed:>16.0} {rescan:>16.1} {:>8.0}",
            indexed / rescan
        );
    }
}
