use super::*;
use crate::domain::{Container, ContainerState, Probes};

const T0: At = At::from_millis(1_000_000_000);

fn key() -> Key {
    Key {
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn deployment(revision: u64, (updated, total, available): (u32, u32, u32)) -> Deployment {
    Deployment {
        key: key(),
        uid: "d".into(),
        generation: 2,
        observed_generation: 2,
        desired: 2,
        total,
        updated,
        ready: available,
        available,
        revision: Some(revision),
        paused: false,
        deadline_exceeded: false,
        traceparent: None,
    }
}

fn set(revision: u64) -> ReplicaSet {
    ReplicaSet {
        uid: format!("s{revision}"),
        namespace: "shop".into(),
        name: format!("web-{revision}"),
        owner: "d".into(),
        revision,
        created: T0,
    }
}

fn pod(uid: &str, owner: &str, waits: Option<&str>) -> Pod {
    let running = ContainerState::Running(T0);
    Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: uid.into(),
        owner: owner.into(),
        node: None,
        created: T0,
        leaving: false,
        ready: waits.is_none(),
        unschedulable: false,
        containers: vec![Container {
            name: "web".into(),
            ready: waits.is_none(),
            started: true,
            restarts: 0,
            state: waits.map_or(running, |reason| ContainerState::Waiting(reason.into())),
            last_end: None,
            probes: Probes::default(),
        }],
    }
}

fn verdict(world: &mut World) -> Verdict {
    let evaluation = world.evaluate(&key(), T0, &Thresholds::default());
    evaluation.expect("the workload is known").health.verdict
}

#[test]
fn the_verdict_follows_the_rollout() {
    let crash = Some("CrashLoopBackOff");
    let creating = Some("ContainerCreating");
    for (name, deployment, pods, expected) in [
        (
            "complete",
            deployment(1, (2, 2, 2)),
            [None, None],
            Verdict::Healthy,
        ),
        (
            "coming up",
            deployment(1, (2, 2, 0)),
            [creating, creating],
            Verdict::Progressing,
        ),
        (
            "one of two bad",
            deployment(1, (2, 2, 1)),
            [None, crash],
            Verdict::Failing,
        ),
        (
            "old pods still there",
            deployment(1, (2, 3, 2)),
            [None, None],
            Verdict::Progressing,
        ),
        (
            "not observed",
            Deployment {
                generation: 3,
                ..deployment(1, (2, 2, 2))
            },
            [None, None],
            Verdict::Progressing,
        ),
        (
            "given up",
            Deployment {
                deadline_exceeded: true,
                ..deployment(1, (1, 2, 1))
            },
            [None, creating],
            Verdict::Failing,
        ),
    ] {
        let mut world = World::default();
        world.apply_deployment(deployment);
        world.apply_set(set(1));
        for (at, waits) in pods.into_iter().enumerate() {
            world.apply_pod(pod(&format!("p{at}"), "s1", waits), T0);
        }
        assert_eq!(verdict(&mut world), expected, "{name}");
    }
}

#[test]
fn a_bad_pod_of_an_old_revision_degrades() {
    let mut world = World::default();
    world.apply_deployment(deployment(2, (2, 3, 2)));
    world.apply_set(set(1));
    world.apply_set(set(2));
    for (uid, owner, waits) in [
        ("a", "s2", None),
        ("b", "s2", None),
        ("c", "s1", Some("CrashLoopBackOff")),
    ] {
        world.apply_pod(pod(uid, owner, waits), T0);
    }
    assert_eq!(verdict(&mut world), Verdict::Degraded);
}

/// Whatever the order in which the watches deliver, the judgement is the same.
#[test]
fn the_order_of_arrival_does_not_matter() {
    type Step = fn(&mut World);
    let steps: [Step; 5] = [
        |world| drop(world.apply_deployment(deployment(2, (1, 3, 2)))),
        |world| drop(world.apply_set(set(1))),
        |world| drop(world.apply_set(set(2))),
        |world| drop(world.apply_pod(pod("old", "s1", None), T0)),
        |world| drop(world.apply_pod(pod("new", "s2", Some("CrashLoopBackOff")), T0)),
    ];
    for first in 0..steps.len() {
        let mut world = World::default();
        for offset in 0..steps.len() {
            steps[(first + offset) % steps.len()](&mut world);
        }
        let evaluation = world.evaluate(&key(), T0, &Thresholds::default()).unwrap();
        let finding = evaluation.decision.finding.unwrap();
        assert!(finding.wants_rollback(), "starting with step {first}");
    }
}

#[test]
fn what_is_gone_leaves_nothing_behind() {
    let mut world = World::default();
    world.apply_deployment(deployment(1, (2, 2, 1)));
    world.apply_set(set(1));
    world.apply_pod(pod("a", "s1", Some("CrashLoopBackOff")), T0);
    verdict(&mut world);
    assert_eq!(world.marks.len(), 1);
    world.remove_pod("a");
    world.remove_set("s1");
    assert_eq!(world.remove_deployment("d"), Some(key()));
    assert!(world.evaluate(&key(), T0, &Thresholds::default()).is_none());
    let World {
        workloads,
        keys,
        sets,
        sets_of,
        pods,
        pods_of,
        healthy,
        marks,
        ..
    } = &world;
    assert!(workloads.is_empty() && keys.is_empty() && sets.is_empty() && sets_of.is_empty());
    assert!(pods.is_empty() && pods_of.is_empty() && healthy.is_empty() && marks.is_empty());
}
