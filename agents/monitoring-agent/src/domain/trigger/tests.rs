//! Whole stories through the model: which of them open an incident, whom they blame, and which are rolled back.

mod story;

use story::*;

use super::*;
use crate::domain::{
    Container, ContainerState, Current, Node, NodeTrouble, Pod, Probes, Surrounding, Warning,
    World, messages::Homeless,
};

#[test]
fn a_release_that_fails_is_blamed_at_once_whatever_its_fault() {
    for fault in [
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ] {
        let mut story = Story::new(&["api"]);
        story.pass(5_000);
        story.release(waiting(fault));
        assert_eq!(
            story.judge("web"),
            Some((Attribution::Release, Severity::Sev1)),
            "{fault}"
        );
        assert_eq!(story.judge("api"), None);
    }
}

#[test]
fn a_release_that_is_never_ready_is_blamed_after_one_and_a_half_seconds() {
    let mut story = Story::new(&[]);
    let running = container(ContainerState::Running(T0));
    let pod = story.release(running);
    story.pass(200);
    story
        .world
        .apply_warning(&pod.uid, &Warning::ProbeFailed, story.now);
    let decision = story.decide("web");
    assert_eq!(
        (decision.finding, decision.wake_at),
        (None, Some(T0.plus(1_500)))
    );
    story.pass(1_300);
    let finding = story.decide("web").finding.unwrap();
    assert_eq!(
        (finding.attribution, finding.trigger, finding.revision),
        (Attribution::Release, Trigger::NewRevisionFailing, Some(2))
    );
    assert_eq!(finding.fingerprint, "shop/web/d-web/s-web-2");
    assert_eq!(finding.began_at, T0.plus(200), "the first failed probe");
}

#[test]
fn a_release_that_turns_bad_after_it_was_complete_is_still_blamed() {
    let mut story = Story::new(&[]);
    story.set("web", 2, story.now);
    story.deployment("web", (2, 3, 3, 3, 3));
    for uid in ["p1", "p2", "p3"] {
        story.world.remove_pod(uid);
    }
    let pods = ["n1", "n2", "n3"].map(|node| story.pod("web", 2, node, ready()));
    assert_eq!(story.judge("web"), None);
    story.pass(120_000);
    story.deployment("web", (2, 3, 3, 3, 0));
    for pod in &pods {
        story.change(pod, container(ContainerState::Running(T0)));
    }
    assert_eq!(story.judge("web"), None, "not yet");
    story.pass(1_500);
    assert_eq!(
        story.judge("web"),
        Some((Attribution::Release, Severity::Sev1))
    );
}

#[test]
fn a_part_of_a_release_is_sev2_once_it_is_as_large_as_the_rest() {
    let mut story = Story::new(&[]);
    story.release(ready());
    story.pod("web", 2, "n2", ready());
    story.pod("web", 2, "n3", waiting("CrashLoopBackOff"));
    assert_eq!(story.judge("web"), None, "one of three");
    story.pod("web", 2, "n1", waiting("CrashLoopBackOff"));
    assert_eq!(
        story.judge("web"),
        Some((Attribution::Release, Severity::Sev2))
    );
}

#[test]
fn a_rollout_that_its_controller_gave_up_is_blamed_on_the_release() {
    let mut story = Story::new(&[]);
    story.release(waiting("ContainerCreating"));
    let given_up = Workload {
        deadline_exceeded: true,
        ..deployment_of(&mut story)
    };
    story.world.apply_workload(given_up, story.now);
    let finding = story.decide("web").finding.unwrap();
    assert_eq!(finding.trigger, Trigger::ProgressDeadlineExceeded);
    assert_eq!(finding.attribution, Attribution::Release);
}

fn deployment_of(_: &mut Story) -> Workload {
    Workload {
        key: key("web"),
        uid: "d-web".into(),
        generation: 1,
        observed_generation: 1,
        desired: 3,
        total: 4,
        updated: 1,
        ready: 3,
        available: 3,
        current: Current::Number(2),
        ..Workload::default()
    }
}

#[test]
fn a_slow_start_opens_nothing() {
    let mut story = Story::new(&[]);
    let starting = Container {
        started: false,
        ..container(ContainerState::Running(T0))
    };
    let pod = story.release(starting);
    for _ in 0..25 {
        story.pass(1_000);
        assert_eq!(story.judge("web"), None, "within its startup probe");
    }
    story.change(&pod, ready());
    assert_eq!(story.judge("web"), None);
    let mut plain = Story::new(&[]);
    let probes = Probes {
        startup_ms: None,
        readiness_ms: Some(30_000),
    };
    let pod = plain.release(Container {
        probes,
        ..container(ContainerState::Running(T0))
    });
    for _ in 0..28 {
        plain.pass(1_000);
        plain
            .world
            .apply_warning(&pod.uid, &Warning::ProbeFailed, plain.now);
        assert_eq!(
            plain.judge("web"),
            None,
            "within its readiness probe, which fails meanwhile"
        );
    }
}

#[test]
fn a_rolling_restart_opens_nothing() {
    let mut story = Story::new(&[]);
    let mut pod = story.release(waiting("ContainerCreating"));
    for old in ["p1", "p2", "p3"] {
        story.pass(400);
        story.change(&pod, ready());
        assert_eq!(story.judge("web"), None);
        story.world.remove_pod(old);
        pod = story.pod("web", 2, "n2", waiting("ContainerCreating"));
        assert_eq!(story.judge("web"), None);
    }
}

#[test]
fn a_node_drain_opens_nothing() {
    let mut story = Story::new(&["api"]);
    story.pass(1_000);
    story.deployment("web", (1, 3, 3, 3, 2));
    story.world.remove_pod("p1");
    let pod = story.pod("web", 1, "n2", waiting("ContainerCreating"));
    assert_eq!(story.judge("web"), None);
    story.pass(20_000);
    story.change(&pod, ready());
    story.deployment("web", (1, 3, 3, 3, 3));
    assert_eq!(story.judge("web"), None);
}

#[test]
fn trouble_that_others_share_is_a_dependency_and_not_rolled_back() {
    let mut story = Story::new(&["api"]);
    story.pass(60_000);
    // The database goes away: pods of `api`, which nobody released, are not ready any more.
    story.change(&api_pod("p5", "n2"), container(ContainerState::Running(T0)));
    story.pass(1_500);
    assert_eq!(
        story.judge("api"),
        None,
        "only a person is told, by the reference triggers"
    );
    story.release(waiting("CrashLoopBackOff"));
    assert_eq!(
        story.judge("web"),
        Some((Attribution::Dependency, Severity::Sev4))
    );
}

fn api_pod(uid: &str, node: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: uid.into(),
        owner: "s-api-1".into(),
        node: Some(node.into()),
        created: T0,
        ..Pod::default()
    }
}

#[test]
fn a_release_that_takes_its_old_pods_down_too_is_not_the_simple_case() {
    let mut story = Story::new(&[]);
    story.release(waiting("CrashLoopBackOff"));
    let old = Pod {
        name: "web-1-1".into(),
        owner: "s-web-1".into(),
        ..api_pod("p1", "n1")
    };
    story.change(&old, waiting("CrashLoopBackOff"));
    assert_eq!(
        story.judge("web").map(|(cause, _)| cause),
        Some(Attribution::Dependency)
    );
}

#[test]
fn a_node_that_is_not_ready_is_blamed_before_the_release() {
    let mut story = Story::new(&[]);
    story.release(waiting("CreateContainerError"));
    let node = |troubles: &[NodeTrouble]| {
        Surrounding::Node(Node {
            name: "n1".into(),
            troubles: troubles.iter().copied().collect(),
            ..Node::default()
        })
    };
    let touched = story
        .world
        .apply_surrounding(node(&[NodeTrouble::NotReady]), story.now);
    assert!(touched.is_empty(), "nothing was marked bad yet");
    assert_eq!(
        story.judge("web").map(|(cause, _)| cause),
        Some(Attribution::Node)
    );
    let touched = story.world.apply_surrounding(node(&[]), story.now);
    assert!(
        touched.contains(&key("web")),
        "its recovery is judged again"
    );
    assert_eq!(
        story.judge("web").map(|(cause, _)| cause),
        Some(Attribution::Release)
    );
}

#[test]
fn pods_of_several_workloads_that_are_bad_on_one_node_blame_the_node() {
    let mut story = Story::new(&["api"]);
    story.pass(60_000);
    story.change(&api_pod("p4", "n1"), waiting("RunContainerError"));
    assert_eq!(story.judge("api"), None);
    story.release(waiting("RunContainerError"));
    assert_eq!(
        story.judge("web").map(|(cause, _)| cause),
        Some(Attribution::Node)
    );
}

#[test]
fn a_full_cluster_is_capacity() {
    let mut story = Story::new(&[]);
    let pod = story.release(waiting(""));
    let homeless = Pod {
        node: None,
        homeless: Some(Homeless::default()),
        containers: Vec::new(),
        ..pod
    };
    story.world.apply_pod(homeless, story.now);
    story.pass(30_000);
    assert_eq!(
        story.judge("web").map(|(cause, _)| cause),
        Some(Attribution::Capacity)
    );
}

#[test]
fn the_first_release_of_a_workload_has_nothing_to_go_back_to() {
    let mut story = Story {
        world: World::default(),
        now: T0,
        pods: 0,
    };
    story.set("web", 1, T0);
    story.deployment("web", (1, 3, 1, 1, 0));
    story.pod("web", 1, "n1", waiting("CrashLoopBackOff"));
    assert_eq!(
        story.judge("web"),
        Some((Attribution::Unknown, Severity::Sev3))
    );
}

#[test]
fn a_revision_that_was_rolled_back_to_is_not_rolled_back_itself() {
    let mut story = Story::new(&[]);
    story.release(waiting("CrashLoopBackOff"));
    assert!(story.judge("web").is_some());
    story.pass(3_000);
    // The rollback: revision 1 becomes revision 3, and its pods turn bad.
    story.world.remove_pod("p4");
    story.world.apply_revision(Revision {
        uid: "s-web-1".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        owner: "d-web".into(),
        number: 3,
        created: T0.plus(-86_400_000),
        replica_set: true,
        ..Revision::default()
    });
    story.deployment("web", (3, 3, 3, 3, 3));
    assert_eq!(story.judge("web"), None);
    story.deployment("web", (3, 3, 3, 3, 0));
    for (uid, node) in [("p1", "n1"), ("p2", "n2"), ("p3", "n3")] {
        let pod = Pod {
            owner: "s-web-1".into(),
            ..api_pod(uid, node)
        };
        story.change(&pod, waiting("CrashLoopBackOff"));
    }
    assert_eq!(
        story.judge("web"),
        Some((Attribution::Unknown, Severity::Sev3))
    );
}

#[test]
fn the_reference_trigger_fires_when_more_than_half_are_unready_for_three_minutes() {
    let mut story = Story::new(&[]);
    story.pass(3_600_000);
    story.deployment("web", (1, 3, 3, 3, 1));
    for (uid, node) in [("p1", "n1"), ("p2", "n2")] {
        let pod = Pod {
            owner: "s-web-1".into(),
            ..api_pod(uid, node)
        };
        story.change(&pod, container(ContainerState::Running(T0)));
    }
    assert_eq!(story.judge("web"), None);
    story.pass(179_000);
    let decision = story.decide("web");
    assert_eq!(
        (decision.finding, decision.wake_at),
        (None, Some(story.now.plus(1_000)))
    );
    story.pass(1_000);
    let finding = story.decide("web").finding.unwrap();
    assert_eq!(
        (finding.trigger, finding.attribution, finding.severity),
        (Trigger::PodsUnready, Attribution::Unknown, Severity::Sev3)
    );
}

#[test]
fn nothing_wanted_is_nothing_wrong() {
    let mut story = Story::new(&[]);
    story.release(waiting("CrashLoopBackOff"));
    story.deployment("web", (2, 0, 0, 0, 0));
    assert_eq!(story.judge("web"), None);
}
