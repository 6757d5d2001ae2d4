//! Releases that fail some time after their rollout was complete.

use super::sim::{Fate, Sim};

/// The rollout completes, and all new pods fail a while later.
pub(super) fn later(sim: &mut Sim) {
    sim.release(0);
    complete(sim);
    let lives = sim.pick(10, 1_200);
    sim.seconds(lives);
    for pod in sim.uids(0) {
        sim.unready(0, &pod);
    }
    sim.seconds(4);
}

/// The processes exit once each, and are ready again a second later.
pub(super) fn exits(sim: &mut Sim) {
    sim.release(0);
    complete(sim);
    let lives = sim.pick(3, 600);
    sim.seconds(lives);
    exit_all(sim, 0);
    sim.seconds(2);
}

/// Those of another workload follow within a second.
pub(super) fn exits_together(sim: &mut Sim) {
    sim.release(0);
    complete(sim);
    sim.seconds(60);
    exit_all(sim, 0);
    exit_all(sim, 1);
    sim.seconds(2);
}

fn exit_all(sim: &mut Sim, actor: usize) {
    for pod in sim.uids(actor) {
        sim.exit(actor, &pod);
        let pause = sim.millis(10, 120);
        sim.tick(pause);
    }
    for pod in sim.uids(actor) {
        sim.ready(actor, &pod);
    }
}

pub(super) fn complete(sim: &mut Sim) {
    let revision = sim.actors[0].revision;
    for _ in 0..sim.uids(0).len() {
        let node = sim.take_old(0);
        let pod = sim.add(0, revision, node, Fate::default());
        sim.tick(700);
        sim.ready(0, &pod);
        sim.tick(100);
    }
}
