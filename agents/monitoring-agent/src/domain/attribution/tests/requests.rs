//! Pods that are well, and requests that are not.

use super::sim::Sim;
use crate::domain::{Attribution, Requests, requests::RequestSign};

fn failing(sim: &Sim) -> Requests {
    Requests {
        sign: RequestSign::FastBurn,
        since: sim.now,
        failing_share: 0.3,
        worse_than_before: Some(true),
        traffic_ratio: Some(1.0),
        evidence: Vec::new(),
    }
}

/// The story's workload was released, and all its pods are ready.
fn released() -> Sim {
    let mut sim = Sim::new(1);
    sim.release(0);
    let revision = sim.actors[0].revision;
    for _ in 0..sim.uids(0).len() {
        let node = sim.take_old(0);
        let pod = sim.add(0, revision, node, super::sim::Fate::default());
        sim.ready(0, &pod);
    }
    sim.seconds(30);
    assert_eq!(sim.verdict(), None);
    sim
}

/// The cause when requests fail a minute after the release.
fn cause(change: impl FnOnce(&mut Sim, &mut Requests)) -> Option<Attribution> {
    let mut sim = released();
    let mut requests = failing(&sim);
    change(&mut sim, &mut requests);
    sim.requests(0, requests);
    sim.tick(1_000);
    let found = sim.verdict();
    assert_eq!(sim.wants_rollback(), found == Some(Attribution::Release));
    found
}

#[test]
fn a_release_is_to_blame_when_requests_got_worse_with_it() {
    assert_eq!(cause(|_, _| {}), Some(Attribution::Release));
}

#[test]
fn what_was_as_bad_before_is_not_its_fault() {
    let before = cause(|_, requests| requests.worse_than_before = Some(false));
    assert_eq!(before, Some(Attribution::Unknown));
    let few = cause(|_, requests| requests.worse_than_before = None);
    assert_eq!(few, Some(Attribution::Unknown));
}

#[test]
fn twice_the_requests_are_load() {
    let busy = cause(|_, requests| requests.traffic_ratio = Some(2.5));
    assert_eq!(busy, Some(Attribution::Load));
}

#[test]
fn a_workload_that_nobody_released_and_that_fails_too_is_a_dependency() {
    let shared = cause(|sim, requests| {
        let same = requests.clone();
        sim.requests(1, same);
    });
    assert_eq!(shared, Some(Attribution::Dependency));
}

#[test]
fn trouble_from_before_the_last_change_waits_for_its_windows() {
    let old = cause(|sim, requests| requests.since = sim.now.plus(-3_600_000));
    assert_eq!(old, None, "the release may be the cure");
    let mut sim = released();
    let requests = Requests {
        since: sim.now.plus(-3_600_000),
        ..failing(&sim)
    };
    sim.requests(0, requests);
    sim.tick(11 * 60_000);
    assert_eq!(sim.verdict(), Some(Attribution::Unknown));
}
