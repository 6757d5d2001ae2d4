use super::*;
use crate::domain::{Container, ContainerState, Current, Thresholds, Verdict};

const T0: At = At::from_millis(1_000_000_000);

fn key() -> Key {
    Key::deployment("shop", "web")
}

fn deployment(revision: u64, (updated, total, available): (u32, u32, u32)) -> Workload {
    Workload {
        key: key(),
        uid: "d".into(),
        generation: 2,
        observed_generation: 2,
        desired: 2,
        total,
        updated,
        ready: available,
        available,
        current: Current::Number(revision),
        ..Workload::default()
    }
}

fn set(revision: u64) -> Revision {
    Revision {
        uid: format!("s{revision}"),
        namespace: "shop".into(),
        name: format!("web-{revision}"),
        owner: "d".into(),
        number: revision,
        created: T0,
        replica_set: true,
        ..Revision::default()
    }
}

fn pod(uid: &str, owner: &str, waits: Option<&str>) -> Pod {
    let running = ContainerState::Running(T0);
    Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: uid.into(),
        owner: owner.into(),
        created: T0,
        ready: waits.is_none(),
        containers: vec![Container {
            name: "web".into(),
            ready: waits.is_none(),
            started: true,
            state: waits.map_or(running, |reason| ContainerState::Waiting(reason.into())),
            ..Container::default()
        }],
        ..Pod::default()
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
            Workload {
                generation: 3,
                ..deployment(1, (2, 2, 2))
            },
            [None, None],
            Verdict::Progressing,
        ),
        (
            "given up",
            Workload {
                deadline_exceeded: true,
                ..deployment(1, (1, 2, 1))
            },
            [None, creating],
            Verdict::Failing,
        ),
    ] {
        let mut world = World::default();
        world.apply_workload(deployment, T0);
        world.apply_revision(set(1));
        for (at, waits) in pods.into_iter().enumerate() {
            world.apply_pod(pod(&format!("p{at}"), "s1", waits), T0);
        }
        assert_eq!(verdict(&mut world), expected, "{name}");
    }
}

#[test]
fn a_bad_pod_of_an_old_revision_degrades() {
    let mut world = World::default();
    world.apply_workload(deployment(2, (2, 3, 2)), T0);
    world.apply_revision(set(1));
    world.apply_revision(set(2));
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
        |world| drop(world.apply_workload(deployment(2, (1, 3, 2)), T0)),
        |world| drop(world.apply_revision(set(1))),
        |world| drop(world.apply_revision(set(2))),
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
    world.apply_workload(deployment(1, (2, 2, 1)), T0);
    world.apply_revision(set(1));
    world.apply_pod(pod("a", "s1", Some("CrashLoopBackOff")), T0);
    verdict(&mut world);
    assert_eq!(world.marks.len(), 1);
    world.remove_pod("a");
    world.remove_revision("s1");
    assert_eq!(world.remove_workload("d"), Some(key()));
    assert!(world.evaluate(&key(), T0, &Thresholds::default()).is_none());
    let World {
        workloads,
        keys,
        revisions,
        revisions_of,
        pods,
        pods_of,
        healthy,
        marks,
        ..
    } = &world;
    assert!(
        workloads.is_empty() && keys.is_empty() && revisions.is_empty() && revisions_of.is_empty()
    );
    assert!(pods.is_empty() && pods_of.is_empty() && healthy.is_empty() && marks.is_empty());
}

fn stateful(held: u32, update: &str, (updated, ready): (u32, u32)) -> Workload {
    Workload {
        key: Key {
            kind: WorkloadKind::StatefulSet,
            ..key()
        },
        held,
        total: 3,
        desired: 3,
        ready,
        available: ready,
        updated,
        current: Current::Name(update.into()),
        ..deployment(0, (0, 0, 0))
    }
}

fn stateful_pod(uid: &str, revision: &str, waits: Option<&str>, now: At) -> Pod {
    Pod {
        revision: Some(revision.into()),
        created: now,
        ..pod(uid, "d", waits)
    }
}

/// A `StatefulSet` that was healthy in its first revision for a day.
fn old_stateful_set() -> (World, Key, At) {
    let mut world = World::default();
    let key = world.apply_workload(stateful(0, "web-1", (3, 3)), T0);
    let revision = |number: u64, created| Revision {
        name: format!("web-{number}"),
        replica_set: false,
        created,
        ..set(number)
    };
    world.apply_revision(revision(1, T0));
    for uid in ["a", "b", "c"] {
        world.apply_pod(stateful_pod(uid, "web-1", None, T0), T0);
    }
    let found = world.evaluate(&key, T0, &Thresholds::default()).unwrap();
    assert_eq!(found.health.verdict, Verdict::Healthy);
    assert_eq!(found.health.revision, Some(1));
    let now = T0.plus(86_400_000);
    world.apply_revision(revision(2, now));
    (world, key, now)
}

#[test]
fn the_first_bad_pod_of_a_stateful_set_s_new_revision_is_blamed() {
    let (mut world, key, now) = old_stateful_set();
    world.apply_workload(stateful(0, "web-2", (1, 2)), now);
    world.remove_pod("c");
    world.apply_pod(
        stateful_pod("c2", "web-2", Some("CrashLoopBackOff"), now),
        now,
    );
    let found = world.evaluate(&key, now, &Thresholds::default()).unwrap();
    let finding = found.decision.finding.unwrap();
    assert!(finding.wants_rollback(), "{finding:?}");
    assert_eq!(
        (finding.revision, finding.change.previous),
        (Some(2), Some(1))
    );
    assert_eq!(finding.key.kind, WorkloadKind::StatefulSet);
}

#[test]
fn a_revision_that_no_pod_runs_yet_is_not_learned_as_healthy() {
    let (mut world, key, now) = old_stateful_set();
    // OnDelete: complete by the strategy, and nothing runs the new revision.
    world.apply_workload(stateful(3, "web-2", (0, 3)), now);
    let found = world.evaluate(&key, now, &Thresholds::default()).unwrap();
    assert_eq!(found.health.verdict, Verdict::Healthy);
    assert_eq!(world.healthy_revision(&key), None);
    // Hours later somebody deletes a pod, and the new revision fails: that is when its window begins.
    let later = now.plus(6 * 3_600_000);
    world.remove_pod("c");
    world.apply_workload(stateful(3, "web-2", (1, 2)), later);
    world.apply_pod(
        stateful_pod("c2", "web-2", Some("CrashLoopBackOff"), later),
        later,
    );
    let found = world.evaluate(&key, later, &Thresholds::default()).unwrap();
    assert!(found.decision.finding.unwrap().wants_rollback());
}

#[test]
fn a_partition_that_is_lowered_begins_the_window_again() {
    let (mut world, key, now) = old_stateful_set();
    world.apply_workload(stateful(2, "web-2", (1, 3)), now);
    world.remove_pod("c");
    world.apply_pod(stateful_pod("c2", "web-2", None, now), now);
    let found = world.evaluate(&key, now, &Thresholds::default()).unwrap();
    assert_eq!(
        found.health.verdict,
        Verdict::Healthy,
        "as far as the partition goes"
    );
    let later = now.plus(3 * 3_600_000);
    world.apply_workload(stateful(0, "web-2", (2, 2)), later);
    world.remove_pod("b");
    world.apply_pod(
        stateful_pod("b2", "web-2", Some("CrashLoopBackOff"), later),
        later,
    );
    world.evaluate(&key, later, &Thresholds::default()).unwrap();
    assert_eq!(world.changed_at(&key), Some(later));
}
