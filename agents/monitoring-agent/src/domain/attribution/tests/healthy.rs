//! Stories in which nothing is wrong that a rollback could cure.

use super::sim::{Fate, Sim, reference};
use crate::domain::{
    ContainerState, Refusal, Warning, WorkloadKind,
    messages::{Homeless, MountFault, ReferenceKind, WaitFault},
};

type Story = (&'static str, fn(&mut Sim));

pub(super) const STORIES: [Story; 14] = [
    ("rolling restart", rolling_restart),
    ("release", release),
    ("slow start", slow_start),
    ("autoscaler burst", burst),
    ("node drain", drain),
    ("configuration reload", reload),
    ("scale to zero and back", to_zero),
    ("eviction", eviction),
    ("preemption", preemption),
    (
        "configuration applied after its Deployment",
        late_configuration,
    ),
    ("quota makes room", quota_makes_room),
    ("one restart", one_restart),
    ("one exit", one_exit),
    ("a node restarts its containers", node_restarts),
];

/// Pods of the newest revision take the place of all others, each ready after its time.
fn roll_out(sim: &mut Sim, (fastest, slowest): (usize, usize)) {
    let revision = sim.actors[0].revision;
    let surge = sim.actors[0].workload.key.kind == WorkloadKind::Deployment;
    for _ in 0..sim.uids(0).len() {
        let old = if surge { None } else { sim.take_old(0) };
        let node = old.unwrap_or_else(|| sim.below(super::sim::NODES));
        let pod = sim.add(0, revision, Some(node), Fate::default());
        sim.sync(0);
        start(sim, 0, &pod, (fastest, slowest));
        if surge {
            sim.take_old(0);
        }
        sim.tick(200);
    }
    sim.seconds(5);
}

/// A pod comes up within its startup probe, with failing probes on the way.
fn start(sim: &mut Sim, actor: usize, pod: &str, (fastest, slowest): (usize, usize)) {
    let makes = sim.millis(100, 2_000);
    sim.tick(makes);
    let now = sim.now;
    sim.edit(actor, pod, |pod| {
        for container in &mut pod.containers {
            container.started = false;
            container.state = ContainerState::Running(now);
        }
    });
    let takes = sim.pick(fastest, slowest);
    for _ in 0..takes / 1_000 {
        sim.tick(1_000);
    }
    sim.tick(i64::try_from(takes % 1_000).unwrap());
    sim.ready(actor, pod);
}

fn rolling_restart(sim: &mut Sim) {
    sim.change(0, |_| {});
    roll_out(sim, (300, 4_000));
}

fn release(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 8_000));
}

fn slow_start(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (10_000, 29_000));
}

fn burst(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 1_000));
    let pods = sim.uids(0).len();
    let more = sim.pick(3, 12);
    sim.scale(0, pods + more);
    // Large bursts reach the limit for a while.
    sim.autoscaler(0, more > 8);
    let revision = sim.actors[0].revision;
    let new: Vec<String> = (0..more)
        .map(|at| sim.add(0, revision, Some(at % super::sim::NODES), Fate::default()))
        .collect();
    sim.sync(0);
    sim.tick(500);
    for pod in new {
        start(sim, 0, &pod, (300, 6_000));
    }
    sim.scale(0, pods);
    sim.autoscaler(0, false);
    while sim.uids(0).len() > pods {
        sim.remove(0, pods);
    }
    sim.seconds(30);
}

fn drain(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 1_000));
    let node = format!("n{}", sim.below(3));
    for actor in 0..sim.actors.len() {
        let pods = sim.actors[actor].pods.clone();
        for (revision, pod) in pods.iter().filter(|(_, p)| p.node.as_ref() == Some(&node)) {
            if sim.actors[actor].workload.key.kind == WorkloadKind::DaemonSet {
                continue;
            }
            let at = sim.uids(actor).iter().position(|uid| *uid == pod.uid);
            sim.remove(actor, at.unwrap());
            sim.tick(100);
            let pod = sim.add(actor, *revision, Some(4), Fate::default());
            sim.sync(actor);
            start(sim, actor, &pod, (300, 9_000));
        }
    }
    sim.seconds(5);
}

fn reload(sim: &mut Sim) {
    sim.config(1);
    sim.release(0);
    roll_out(sim, (300, 1_000));
    sim.seconds(70);
    sim.config(2);
    // One readiness check is missed while it reads its files.
    for pod in sim.uids(0) {
        sim.warn(&pod, &Warning::ProbeFailed);
        sim.tick(400);
    }
    sim.seconds(60);
}

fn to_zero(sim: &mut Sim) {
    let pods = sim.uids(0).len();
    sim.release(0);
    roll_out(sim, (300, 1_000));
    sim.scale(0, 0);
    while !sim.uids(0).is_empty() {
        sim.remove(0, 0);
        sim.tick(100);
    }
    sim.seconds(300);
    sim.scale(0, pods);
    let revision = sim.actors[0].revision;
    for node in 0..pods {
        let pod = sim.add(0, revision, Some(node), Fate::default());
        sim.sync(0);
        start(sim, 0, &pod, (300, 5_000));
    }
    sim.seconds(5);
}

fn eviction(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 1_000));
    let revision = sim.actors[0].revision;
    let uid = sim.uids(0).remove(0);
    sim.edit(0, &uid, |pod| {
        pod.leaving = true;
        pod.evicted = true;
        pod.ready = false;
    });
    sim.tick(300);
    let pod = sim.add(0, revision, Some(5), Fate::default());
    sim.sync(0);
    start(sim, 0, &pod, (300, 9_000));
    sim.seconds(5);
}

fn preemption(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 1_000));
    let revision = sim.actors[0].revision;
    sim.take_old(0);
    let homeless = Homeless {
        resources: ["cpu".to_owned()].into(),
        ..Homeless::default()
    };
    let fate = Fate {
        homeless: Some(homeless),
        ..Fate::default()
    };
    let pod = sim.add(0, revision, None, fate);
    sim.sync(0);
    let waits = sim.pick(1, 25);
    sim.seconds(waits);
    sim.ready(0, &pod);
    sim.seconds(5);
}

/// A volume waits a moment for its `ConfigMap`, which comes.
fn late_configuration(sim: &mut Sim) {
    let new = reference(ReferenceKind::ConfigMap, "new");
    sim.change(0, |template| {
        template.needs.insert(new.clone());
    });
    let pods = sim.roll(0, &Fate::default());
    for pod in &pods {
        let fault = MountFault::Missing(new.clone());
        sim.warn(pod, &Warning::Mount(fault));
    }
    let comes = sim.millis(200, 1_200);
    sim.tick(comes);
    for pod in &pods {
        start(sim, 0, pod, (100, 200));
    }
    sim.seconds(3);
    // A registry that answers at the second try is no trouble either.
    sim.release(0);
    let fate = Fate {
        waits: Some("ErrImagePull"),
        fault: Some(WaitFault::Registry),
        ..Fate::default()
    };
    for pod in sim.roll(0, &fate) {
        sim.tick(900);
        start(sim, 0, &pod, (100, 2_000));
    }
    sim.seconds(3);
}

fn quota_makes_room(sim: &mut Sim) {
    sim.release(0);
    if sim.actors[0].workload.key.kind == WorkloadKind::Deployment {
        sim.refuse(0, Refusal::Quota("compute".into()));
        let waits = sim.pick(1, 20);
        sim.seconds(waits);
        sim.actors[0].workload.refusal = None;
        sim.sync(0);
    }
    roll_out(sim, (300, 2_000));
}

fn one_restart(sim: &mut Sim) {
    sim.release(0);
    roll_out(sim, (300, 1_000));
    let uid = sim.uids(0).remove(0);
    sim.edit(0, &uid, |pod| {
        for container in &mut pod.containers {
            container.restarts = 1;
            container.ready = false;
            container.state = ContainerState::Ended("Error".into());
        }
        pod.ready = false;
    });
    sim.tick(700);
    sim.ready(0, &uid);
    sim.seconds(30);
}

/// One pod of a new revision exits once.
fn one_exit(sim: &mut Sim) {
    release(sim);
    let pod = sim.uids(0).remove(0);
    sim.exit(0, &pod);
    sim.tick(900);
    sim.ready(0, &pod);
    sim.seconds(10);
}

/// A new revision has its pods on one node, whose containers are started again.
fn node_restarts(sim: &mut Sim) {
    release(sim);
    let pods = sim.uids(0);
    for pod in &pods {
        sim.edit(0, pod, |pod| pod.node = Some("n0".into()));
    }
    for pod in &pods {
        sim.exit(0, pod);
    }
    sim.tick(900);
    for pod in &pods {
        sim.ready(0, pod);
    }
    sim.seconds(10);
}
