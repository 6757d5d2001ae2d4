//! Faults, with the cause that is right.

use super::{
    late,
    sim::{Fate, NODES, Sim, reference},
};
use crate::domain::{
    Attribution, NodeTrouble, Refusal, Template, Warning,
    messages::{Homeless, MountFault, ReferenceKind, WaitFault},
};

type Fault = (&'static str, Attribution, fn(&mut Sim));

pub(super) const FAULTS: &[Fault] = &[
    ("crash loop", Attribution::Release, |s| {
        waits(s, "CrashLoopBackOff");
    }),
    ("image is not there", Attribution::Release, |s| {
        waits(s, "ImagePullBackOff");
    }),
    ("image name", Attribution::Release, |s| {
        waits(s, "InvalidImageName");
    }),
    ("container error", Attribution::Release, |s| {
        waits(s, "RunContainerError");
    }),
    ("out of memory", Attribution::Release, out_of_memory),
    ("init crash loop", Attribution::Release, init),
    ("never ready", Attribution::Release, never_ready),
    (
        "unready after the rollout",
        Attribution::Release,
        late::later,
    ),
    (
        "exits some time after its start",
        Attribution::Release,
        late::exits,
    ),
    ("deadline exceeded", Attribution::Release, deadline),
    (
        "new reference is missing",
        Attribution::Release,
        new_reference,
    ),
    ("new volume is missing", Attribution::Release, new_volume),
    ("new selector fits nothing", Attribution::Release, selector),
    (
        "request larger than any node",
        Attribution::Release,
        too_large,
    ),
    ("new claim is unbound", Attribution::Release, new_claim),
    ("forbidden by pod security", Attribution::Release, forbidden),
    (
        "release asks for more than the quota",
        Attribution::Release,
        greedy,
    ),
    ("quota is used up", Attribution::Quota, quota),
    ("node is not ready", Attribution::Node, |s| {
        sick(s, NodeTrouble::NotReady);
    }),
    ("disk pressure", Attribution::Node, |s| {
        sick(s, NodeTrouble::DiskPressure);
    }),
    ("no sandboxes on a node", Attribution::Node, sandbox),
    (
        "release onto a node that fails",
        Attribution::Node,
        release_on_sick_node,
    ),
    ("shared database is down", Attribution::Dependency, outage),
    (
        "all exit as their database restarts",
        Attribution::Dependency,
        late::exits_together,
    ),
    (
        "release while the database is down",
        Attribution::Dependency,
        release_in_outage,
    ),
    ("registry is down", Attribution::Dependency, registry),
    ("storage does not attach", Attribution::Dependency, storage),
    (
        "admission webhook is down",
        Attribution::Dependency,
        webhook,
    ),
    ("cluster is full", Attribution::Capacity, full),
    ("preempted for long", Attribution::Capacity, preempted),
    ("autoscaler at its limit", Attribution::Load, load),
    (
        "memory of all runs out under load",
        Attribution::Load,
        load_out_of_memory,
    ),
    (
        "configuration was edited",
        Attribution::Configuration,
        edited,
    ),
    (
        "configuration was deleted",
        Attribution::Configuration,
        deleted,
    ),
    (
        "secret was deleted before a release",
        Attribution::Configuration,
        deleted_before_release,
    ),
];

fn fate(reason: &'static str) -> Fate {
    Fate {
        waits: Some(reason),
        ..Fate::default()
    }
}

fn released(sim: &mut Sim, fate: &Fate) -> Vec<String> {
    let pause = sim.millis(0, 600_000);
    sim.tick(pause);
    sim.release(0);
    sim.tick(300);
    let made = sim.roll(0, fate);
    sim.tick(200);
    made
}

fn waits(sim: &mut Sim, reason: &'static str) {
    released(sim, &fate(reason));
    sim.seconds(3);
}

fn out_of_memory(sim: &mut Sim) {
    let pods = released(sim, &Fate::default());
    let lives = sim.pick(1, 90);
    for pod in &pods {
        sim.ready(0, pod);
    }
    sim.seconds(lives);
    for pod in &pods {
        sim.crash(0, pod, true);
    }
    sim.seconds(3);
}

fn init(sim: &mut Sim) {
    let init = Fate {
        init: true,
        ..fate("CrashLoopBackOff")
    };
    released(sim, &init);
    sim.seconds(2);
}

fn never_ready(sim: &mut Sim) {
    let pods = released(sim, &Fate::default());
    for pod in &pods {
        sim.unready(0, pod);
    }
    sim.seconds(45);
}

fn deadline(sim: &mut Sim) {
    released(sim, &Fate::default());
    sim.seconds(600);
    sim.actors[0].workload.deadline_exceeded = true;
    sim.sync(0);
    sim.tick(100);
}

fn changed(sim: &mut Sim, fate: &Fate, change: impl FnOnce(&mut Template)) -> Vec<String> {
    sim.seconds(5);
    sim.change(0, change);
    sim.tick(300);
    let made = sim.roll(0, fate);
    sim.tick(200);
    made
}

fn new_reference(sim: &mut Sim) {
    let missing = reference(ReferenceKind::Secret, "new");
    let fate = Fate {
        fault: Some(WaitFault::Missing(missing.clone())),
        ..fate("CreateContainerConfigError")
    };
    changed(sim, &fate, |template| {
        template.needs.insert(missing);
    });
    sim.seconds(2);
}

fn new_volume(sim: &mut Sim) {
    let missing = reference(ReferenceKind::ConfigMap, "new");
    let needed = missing.clone();
    let pods = changed(sim, &Fate::default(), |template| {
        template.volumes += 1;
        template.needs.insert(needed);
    });
    for pod in &pods {
        let fault = MountFault::Missing(missing.clone());
        sim.warn(pod, &Warning::Mount(fault));
    }
    sim.seconds(7);
}

fn homeless(placement: bool, resources: &[&str], claims: bool) -> Fate {
    Fate {
        homeless: Some(Homeless {
            placement,
            resources: resources.iter().map(ToString::to_string).collect(),
            claims,
        }),
        ..fate("")
    }
}

fn selector(sim: &mut Sim) {
    let fate = homeless(true, &[], false);
    changed(sim, &fate, |template| template.placement += 1);
    sim.seconds(35);
}

fn too_large(sim: &mut Sim) {
    let fate = homeless(false, &["cpu"], false);
    changed(sim, &fate, |template| {
        template.requests.insert("cpu".into(), 64_000);
    });
    // Somebody else lacks room too: the request is still larger than any node.
    sim.add(1, 1, None, homeless(false, &["cpu"], false));
    sim.seconds(40);
}

fn new_claim(sim: &mut Sim) {
    let fate = homeless(false, &[], true);
    changed(sim, &fate, |template| {
        template.volumes += 1;
        template
            .needs
            .insert(reference(ReferenceKind::Claim, "data"));
    });
    sim.seconds(35);
}

fn forbidden(sim: &mut Sim) {
    sim.change(0, |template| template.security += 1);
    sim.tick(300);
    sim.refuse(0, Refusal::Denied);
    sim.seconds(4);
}

fn greedy(sim: &mut Sim) {
    sim.change(0, |template| {
        template.requests.insert("memory".into(), 4_000_000);
    });
    sim.refuse(0, Refusal::Quota("compute".into()));
    sim.seconds(35);
}

fn quota(sim: &mut Sim) {
    if sim.below(2) == 0 {
        sim.release(0);
    } else {
        let more = sim.actors[0].pods.len() + 2;
        sim.scale(0, more);
    }
    sim.refuse(0, Refusal::Quota("compute".into()));
    sim.seconds(35);
}

/// All pods of a node turn unready; their workloads have sisters elsewhere.
fn sick(sim: &mut Sim, trouble: NodeTrouble) {
    let node = sim.below(2);
    if sim.below(2) == 0 {
        sim.release(0);
        late::complete(sim);
        sim.seconds(60);
    }
    let first = sim.pick(0, 2_000);
    sim.node(node, &[trouble]);
    sim.tick(i64::try_from(first).unwrap());
    let name = format!("n{node}");
    for actor in 0..sim.actors.len() {
        for uid in sim.uids(actor) {
            let pods = &sim.actors[actor].pods;
            let here = pods
                .iter()
                .any(|(_, pod)| pod.uid == uid && pod.node.as_ref() == Some(&name));
            if here {
                for _ in 0..5 {
                    sim.crash(actor, &uid, false);
                }
            }
        }
    }
    sim.seconds(5);
}

fn sandbox(sim: &mut Sim) {
    let node = sim.below(NODES);
    let revision = sim.actors[0].revision;
    for _ in 0..sim.uids(0).len() {
        sim.remove(0, 0);
        let pod = sim.add(0, revision, Some(node), Fate::default());
        sim.warn(&pod, &Warning::Sandbox);
    }
    sim.sync(0);
    sim.seconds(260);
}

fn release_on_sick_node(sim: &mut Sim) {
    sim.release(0);
    let revision = sim.actors[0].revision;
    let node = sim.below(NODES);
    let trouble = [NodeTrouble::NotReady, NodeTrouble::NoNetwork][sim.below(2)];
    sim.node(node, &[trouble]);
    sim.take_old(0);
    sim.add(0, revision, Some(node), fate("RunContainerError"));
    sim.seconds(5);
}

/// Everything turns unready within some seconds, nothing was released.
fn outage(sim: &mut Sim) {
    for actor in 0..sim.actors.len() {
        for uid in sim.uids(actor) {
            sim.unready(actor, &uid);
        }
        let pause = sim.millis(100, 4_000);
        sim.tick(pause);
    }
    sim.seconds(200);
}

fn release_in_outage(sim: &mut Sim) {
    for actor in 1..sim.actors.len() {
        for uid in sim.uids(actor) {
            sim.unready(actor, &uid);
        }
    }
    let pause = sim.pick(3, 50);
    sim.seconds(pause);
    sim.release(0);
    sim.roll(0, &fate("CrashLoopBackOff"));
    sim.seconds(5);
}

fn registry(sim: &mut Sim) {
    let fate = Fate {
        fault: Some(WaitFault::Registry),
        ..fate("ImagePullBackOff")
    };
    released(sim, &fate);
    sim.seconds(5);
}

fn storage(sim: &mut Sim) {
    sim.release(0);
    let pods = sim.roll(0, &Fate::default());
    for pod in &pods {
        sim.warn(pod, &Warning::Mount(MountFault::Storage));
    }
    sim.seconds(35);
}

fn webhook(sim: &mut Sim) {
    sim.release(0);
    sim.refuse(0, Refusal::Webhook);
    sim.seconds(35);
}

fn full(sim: &mut Sim) {
    sim.release(0);
    // The scheduler also names taints of other nodes, which say nothing here.
    sim.roll(0, &homeless(true, &["memory"], false));
    sim.seconds(40);
}

fn preempted(sim: &mut Sim) {
    sim.release(0);
    late::complete(sim);
    let revision = sim.actors[0].revision;
    for _ in 0..sim.uids(0).len() {
        sim.remove(0, 0);
        sim.add(0, revision, None, homeless(false, &["cpu"], false));
    }
    sim.sync(0);
    sim.seconds(40);
}

fn load(sim: &mut Sim) {
    sim.autoscaler(0, true);
    let pause = sim.pick(1, 500);
    sim.seconds(pause);
    for uid in sim.uids(0) {
        sim.unready(0, &uid);
        sim.tick(500);
    }
    sim.seconds(200);
}

fn load_out_of_memory(sim: &mut Sim) {
    sim.seconds(60);
    sim.autoscaler(0, true);
    sim.seconds(20);
    for uid in sim.uids(0) {
        for _ in 0..5 {
            sim.crash(0, &uid, true);
            sim.tick(200);
        }
    }
    sim.seconds(185);
}

fn edited(sim: &mut Sim) {
    sim.config(1);
    if sim.below(2) == 0 {
        sim.release(0);
        late::complete(sim);
        sim.seconds(120);
    }
    sim.config(2);
    let pause = sim.pick(1, 120);
    sim.seconds(pause);
    for uid in sim.uids(0) {
        sim.crash(0, &uid, false);
    }
    sim.seconds(185);
}

fn deleted(sim: &mut Sim) {
    let fate = Fate {
        fault: Some(WaitFault::Missing(reference(
            ReferenceKind::ConfigMap,
            "settings",
        ))),
        ..fate("CreateContainerConfigError")
    };
    let revision = sim.actors[0].revision;
    for _ in 0..sim.uids(0).len() {
        let node = sim.remove(0, 0);
        sim.add(0, revision, Some(node), fate.clone());
    }
    sim.sync(0);
    sim.seconds(185);
}

fn deleted_before_release(sim: &mut Sim) {
    let fate = Fate {
        fault: Some(WaitFault::Missing(reference(
            ReferenceKind::ConfigMap,
            "settings",
        ))),
        ..fate("CreateContainerConfigError")
    };
    released(sim, &fate);
    sim.seconds(3);
}
