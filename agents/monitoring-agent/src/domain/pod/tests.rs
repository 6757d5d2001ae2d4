use super::*;
use crate::domain::{Probes, messages::Homeless};

const T0: At = At::from_millis(1_000_000_000);

fn at(millis: i64) -> At {
    T0.plus(millis)
}

/// A container with a startup probe of 30 s and a readiness probe of 10 s.
fn container(state: ContainerState) -> Container {
    Container {
        name: "web".into(),
        ready: false,
        started: true,
        restarts: 0,
        state,
        probes: Probes {
            startup_ms: Some(30_000),
            readiness_ms: Some(10_000),
        },
        ..Container::default()
    }
}

fn pod(container: Container) -> Pod {
    Pod {
        uid: "p".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        owner: "s".into(),
        node: Some("n1".into()),
        created: T0,
        leaving: false,
        ready: container.ready,
        containers: vec![container],
        ..Pod::default()
    }
}

/// The state of a pod that was first seen at 0.
fn state(pod: &Pod, probe_failed: Option<i64>, now: i64) -> PodState {
    let mut signals = Signals::default();
    signals.see(pod, T0);
    if let Some(millis) = probe_failed {
        signals.warn(&Warning::ProbeFailed, at(millis));
    }
    assess(pod, &signals, at(now), &Thresholds::default())
}

#[test]
fn each_broken_container_is_bad_at_once_with_its_reason() {
    for (waiting, reason) in [
        ("CrashLoopBackOff", Reason::CrashLoop),
        ("ImagePullBackOff", Reason::ImagePull),
        ("InvalidImageName", Reason::ImagePull),
        ("ErrImageNeverPull", Reason::ImagePull),
        ("CreateContainerConfigError", Reason::Config),
        ("CreateContainerError", Reason::Config),
        ("RunContainerError", Reason::Config),
    ] {
        let pod = pod(container(ContainerState::Waiting(waiting.into())));
        assert_eq!(state(&pod, None, 0), PodState::Bad(reason), "{waiting}");
    }
    for waiting in ["ContainerCreating", "PodInitializing", "ErrImagePull", ""] {
        let pod = pod(container(ContainerState::Waiting(waiting.into())));
        assert!(
            matches!(state(&pod, None, 0), PodState::Starting(_)),
            "{waiting} may pass"
        );
    }
}

#[test]
fn a_kill_for_memory_is_told_apart_from_a_crash() {
    let killed = |state| Container {
        last_end: Some("OOMKilled".into()),
        ..container(state)
    };
    for now in [
        ContainerState::Running(T0),
        ContainerState::Waiting("CrashLoopBackOff".into()),
    ] {
        assert_eq!(
            state(&pod(killed(now)), None, 0),
            PodState::Bad(Reason::OutOfMemory)
        );
    }
    let back = Container {
        ready: true,
        ..killed(ContainerState::Running(T0))
    };
    assert_eq!(
        state(&pod(back), None, 0),
        PodState::Ready,
        "one kill that it survived"
    );
}

#[test]
fn a_failing_probe_counts_only_when_the_start_is_over() {
    let running = || container(ContainerState::Running(T0));
    let past_startup = pod(running());
    assert_eq!(
        state(&past_startup, Some(200), 1_499),
        PodState::Starting(at(1_500))
    );
    assert_eq!(
        state(&past_startup, Some(200), 1_500),
        PodState::Bad(Reason::ProbeFailing)
    );
    assert_eq!(
        state(&past_startup, None, 11_499),
        PodState::Starting(at(11_500)),
        "no event"
    );
    assert_eq!(
        state(&past_startup, None, 11_500),
        PodState::Bad(Reason::NotReadyInTime)
    );
    let starting = pod(Container {
        started: false,
        ..running()
    });
    assert!(matches!(
        state(&starting, Some(200), 41_499),
        PodState::Starting(_)
    ));
    assert_eq!(
        state(&starting, Some(200), 41_500),
        PodState::Bad(Reason::NotReadyInTime)
    );
    let probes = Probes {
        startup_ms: None,
        readiness_ms: Some(10_000),
    };
    let undeclared = pod(Container {
        probes,
        ..running()
    });
    assert!(
        matches!(state(&undeclared, Some(200), 11_000), PodState::Starting(_)),
        "without a startup probe a failing readiness probe may still be the start"
    );
    assert_eq!(
        state(&undeclared, Some(200), 11_500),
        PodState::Bad(Reason::ProbeFailing)
    );
}

#[test]
fn a_pod_that_was_ready_is_bad_soon_after_it_no_longer_is() {
    let ready = pod(Container {
        ready: true,
        ..container(ContainerState::Running(T0))
    });
    let mut signals = Signals::default();
    signals.see(&ready, T0);
    let unready = pod(container(ContainerState::Running(T0)));
    signals.see(&unready, at(60_000));
    let state = |now| assess(&unready, &signals, at(now), &Thresholds::default());
    assert_eq!(state(61_000), PodState::Starting(at(61_500)));
    assert_eq!(state(61_500), PodState::Bad(Reason::ProbeFailing));
}

#[test]
fn the_reference_trigger_counts_more_than_three_restarts_in_five_minutes() {
    let with = |restarts| {
        let ready = Container {
            ready: true,
            restarts,
            ..container(ContainerState::Running(T0))
        };
        Pod {
            created: at(-86_400_000),
            ..pod(ready)
        }
    };
    let mut signals = Signals::default();
    // Seven old restarts, then one a minute.
    for (minute, restarts) in [(0, 7), (1, 8), (2, 9), (3, 10)] {
        signals.see(&with(restarts), at(minute * 60_000));
    }
    let judge = |signals: &Signals, restarts, now| {
        assess(&with(restarts), signals, at(now), &Thresholds::default())
    };
    assert_eq!(judge(&signals, 10, 180_000), PodState::Ready, "three");
    signals.see(&with(11), at(240_000));
    assert_eq!(
        judge(&signals, 11, 240_000),
        PodState::Bad(Reason::Restarts),
        "four"
    );
    assert_eq!(
        judge(&signals, 11, 420_001),
        PodState::Ready,
        "they leave the window"
    );
}

#[test]
fn a_pod_that_leaves_says_nothing_and_an_unschedulable_one_gets_thirty_seconds() {
    let crashed = pod(container(ContainerState::Waiting(
        "CrashLoopBackOff".into(),
    )));
    assert_eq!(
        state(
            &Pod {
                leaving: true,
                ..crashed
            },
            None,
            0
        ),
        PodState::Leaving
    );
    let homeless = Pod {
        homeless: Some(Homeless::default()),
        node: None,
        containers: Vec::new(),
        ..pod(container(ContainerState::Waiting(String::new())))
    };
    assert_eq!(
        state(&homeless, None, 29_999),
        PodState::Starting(at(30_000))
    );
    assert_eq!(
        state(&homeless, None, 30_000),
        PodState::Bad(Reason::Unschedulable)
    );
}
