//! A cluster played by hand: workloads, their revisions and pods, told to the model as the watches would.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    At, Attribution, Container, ContainerState, Current, Finding, Key, Node, NodeTrouble, Pod,
    Probes, Refusal, Requests, Revision, Surrounding, Template, Thresholds, Warning, Workload,
    WorkloadKind, World,
    messages::{Homeless, Reference, ReferenceKind, WaitFault},
    surroundings::{Autoscaler, Config},
};

/// Nodes of the cluster.
pub(super) const NODES: usize = 6;

/// What a story does to one pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate {
    pub(super) waits: Option<&'static str>,
    pub(super) fault: Option<WaitFault>,
    pub(super) homeless: Option<Homeless>,
    pub(super) out_of_memory: bool,
    pub(super) init: bool,
}

/// A workload and its pods.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub(super) workload: Workload,
    pub(super) revision: u64,
    pub(super) template: Template,
    pub(super) pods: Vec<(u64, Pod)>,
}

/// The cluster; workload 0 is the one that the story is about.
pub(super) struct Sim {
    world: World,
    pub(super) now: At,
    state: u64,
    serial: u32,
    pub(super) actors: Vec<Actor>,
    findings: Vec<Finding>,
}

impl Sim {
    /// One workload of a random kind that is the story's, and some others, all healthy for a day.
    pub(super) fn new(seed: u64) -> Self {
        let mut sim = Self {
            world: World::default(),
            now: At::from_millis(1_700_000_000_000),
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03,
            serial: 0,
            actors: Vec::new(),
            findings: Vec::new(),
        };
        for node in 0..NODES {
            sim.node(node, &[]);
        }
        let others = sim.pick(2, 5);
        for number in 0..=others {
            let kind = WorkloadKind::ALL[sim.below(3)];
            sim.workload(&format!("app-{number}"), kind);
        }
        sim.tick(86_400_000);
        sim.findings.clear();
        sim
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    pub(super) fn pick(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(super) fn millis(&mut self, low: usize, high: usize) -> i64 {
        i64::try_from(self.pick(low, high)).unwrap()
    }

    fn workload(&mut self, name: &str, kind: WorkloadKind) {
        let replicas = self.pick(2, NODES);
        let template = Template {
            images: BTreeMap::from([("app".into(), "app:1".into())]),
            needs: BTreeSet::from([reference(ReferenceKind::ConfigMap, "settings")]),
            requests: BTreeMap::from([("cpu".into(), 500), ("memory".into(), 1_000_000)]),
            labels: BTreeMap::from([("app".into(), name.into())]),
            whole: 1,
            ..Template::default()
        };
        let workload = Workload {
            key: Key {
                namespace: "shop".into(),
                kind,
                name: name.into(),
            },
            uid: format!("w-{name}"),
            desired: u32::try_from(replicas).unwrap(),
            generation: 1,
            observed_generation: 1,
            ..Workload::default()
        };
        self.actors.push(Actor {
            workload,
            revision: 1,
            template,
            pods: Vec::new(),
        });
        let actor = self.actors.len() - 1;
        self.tell_revision(actor);
        for node in 0..replicas {
            let pod = self.add(actor, 1, Some(node), Fate::default());
            self.ready(actor, &pod);
        }
        self.sync(actor);
    }

    fn tell_revision(&mut self, actor: usize) {
        let Actor {
            workload,
            revision,
            template,
            ..
        } = &self.actors[actor];
        let name = format!("{}-{revision}", workload.key.name);
        self.world.apply_revision(Revision {
            uid: format!("r-{name}"),
            namespace: "shop".into(),
            owner: workload.uid.clone(),
            number: *revision,
            created: self.now,
            replica_set: workload.key.kind == WorkloadKind::Deployment,
            template: template.clone(),
            name,
        });
    }

    /// A new revision, which differs as told; its controller has seen it.
    pub(super) fn change(&mut self, actor: usize, change: impl FnOnce(&mut Template)) {
        let target = &mut self.actors[actor];
        target.revision += 1;
        target.template.whole += 1;
        change(&mut target.template);
        self.tell_revision(actor);
        self.sync(actor);
    }

    /// A new image.
    pub(super) fn release(&mut self, actor: usize) {
        self.change(actor, |template| {
            template.images.insert("app".into(), "app:2".into());
        });
    }

    /// Makes the first pods of the newest revision as a rollout does: beside the old ones for a Deployment, in the
    /// place of old ones for the others.
    pub(super) fn roll(&mut self, actor: usize, fate: &Fate) -> Vec<String> {
        let surge = self.actors[actor].workload.key.kind == WorkloadKind::Deployment;
        let count = if surge { self.pick(1, 2) } else { 1 };
        let mut made = Vec::new();
        for _ in 0..count {
            let node = if surge {
                self.below(NODES)
            } else {
                self.take_old(actor).unwrap_or(0)
            };
            let place = fate.homeless.is_none().then_some(node);
            let revision = self.actors[actor].revision;
            made.push(self.add(actor, revision, place, fate.clone()));
        }
        self.sync(actor);
        made
    }

    /// Removes a pod of an earlier revision; gives its node.
    pub(super) fn take_old(&mut self, actor: usize) -> Option<usize> {
        let newest = self.actors[actor].revision;
        let pods = &self.actors[actor].pods;
        let at = pods
            .iter()
            .rposition(|(revision, _)| *revision < newest)
            .or_else(|| pods.len().checked_sub(1))?;
        Some(self.remove(actor, at))
    }

    /// Removes a pod; gives its node.
    pub(super) fn remove(&mut self, actor: usize, at: usize) -> usize {
        let (_, pod) = self.actors[actor].pods.remove(at);
        self.world.remove_pod(&pod.uid);
        self.sync(actor);
        let node = pod.node.and_then(|name| name[1..].parse().ok());
        node.unwrap_or(0)
    }

    /// Makes a pod; gives its uid.
    pub(super) fn add(
        &mut self,
        actor: usize,
        revision: u64,
        node: Option<usize>,
        fate: Fate,
    ) -> String {
        self.serial += 1;
        let Workload { key, uid, .. } = &self.actors[actor].workload;
        let name = format!("{}-{revision}", key.name);
        let of_set = key.kind == WorkloadKind::Deployment;
        let container = Container {
            name: "app".into(),
            started: true,
            probes: Probes {
                startup_ms: Some(30_000),
                readiness_ms: Some(10_000),
            },
            state: ContainerState::Waiting(fate.waits.unwrap_or("ContainerCreating").into()),
            fault: fate.fault,
            last_end: fate.out_of_memory.then(|| "OOMKilled".into()),
            init: fate.init,
            ..Container::default()
        };
        let pod = Pod {
            uid: format!("p{}", self.serial),
            namespace: "shop".into(),
            name: format!("{name}-{}", self.serial),
            owner: if of_set {
                format!("r-{name}")
            } else {
                uid.clone()
            },
            revision: (!of_set).then_some(name),
            node: node.map(|node| format!("n{node}")),
            created: self.now,
            homeless: fate.homeless,
            containers: vec![container],
            ..Pod::default()
        };
        self.world.apply_pod(pod.clone(), self.now);
        let uid = pod.uid.clone();
        self.actors[actor].pods.push((revision, pod));
        uid
    }

    /// Changes a pod.
    pub(super) fn edit(&mut self, actor: usize, uid: &str, edit: impl FnOnce(&mut Pod)) {
        let pods = &mut self.actors[actor].pods;
        let Some((_, pod)) = pods.iter_mut().find(|(_, pod)| pod.uid == uid) else {
            return;
        };
        edit(pod);
        self.world.apply_pod(pod.clone(), self.now);
        self.sync(actor);
    }

    pub(super) fn ready(&mut self, actor: usize, uid: &str) {
        let now = self.now;
        self.edit(actor, uid, |pod| {
            pod.ready = true;
            pod.homeless = None;
            for container in &mut pod.containers {
                container.ready = true;
                container.started = true;
                container.fault = None;
                container.state = ContainerState::Running(now);
            }
        });
    }

    /// Runs, and fails its readiness probe.
    pub(super) fn unready(&mut self, actor: usize, uid: &str) {
        let now = self.now;
        self.edit(actor, uid, |pod| {
            pod.ready = false;
            for container in &mut pod.containers {
                container.ready = false;
                container.state = ContainerState::Running(now);
            }
        });
        self.warn(uid, &Warning::ProbeFailed);
    }

    pub(super) fn crash(&mut self, actor: usize, uid: &str, out_of_memory: bool) {
        self.edit(actor, uid, |pod| {
            pod.ready = false;
            for container in &mut pod.containers {
                container.ready = false;
                container.restarts += 1;
                container.state = ContainerState::Waiting("CrashLoopBackOff".into());
                container.last_end = out_of_memory.then(|| "OOMKilled".into());
            }
        });
    }

    /// Its process exits with an error and is started again.
    pub(super) fn exit(&mut self, actor: usize, uid: &str) {
        let now = self.now;
        self.edit(actor, uid, |pod| {
            pod.ready = false;
            for container in &mut pod.containers {
                container.ready = false;
                container.restarts += 1;
                container.state = ContainerState::Running(now);
                container.last_end = Some("Error".into());
            }
        });
    }

    pub(super) fn uids(&self, actor: usize) -> Vec<String> {
        let pods = self.actors[actor].pods.iter();
        pods.map(|(_, pod)| pod.uid.clone()).collect()
    }

    pub(super) fn warn(&mut self, uid: &str, warning: &Warning) {
        self.world.apply_warning(uid, warning, self.now);
    }

    pub(super) fn node(&mut self, node: usize, troubles: &[NodeTrouble]) {
        let node = Node {
            name: format!("n{node}"),
            troubles: troubles.iter().copied().collect(),
            on_demand: false,
            cordoned: false,
            allocatable: BTreeMap::from([("cpu".into(), 8_000), ("memory".into(), 32_000_000)]),
        };
        self.world
            .apply_surrounding(Surrounding::Node(node), self.now);
    }

    pub(super) fn autoscaler(&mut self, actor: usize, limited: bool) {
        let autoscaler = Autoscaler {
            uid: format!("h{actor}"),
            name: "app".into(),
            target: self.actors[actor].workload.key.clone(),
            limited,
        };
        self.world
            .apply_surrounding(Surrounding::Autoscaler(autoscaler), self.now);
    }

    pub(super) fn config(&mut self, digest: u64) {
        let config = Config {
            uid: "c".into(),
            namespace: "shop".into(),
            name: "settings".into(),
            digest,
        };
        self.world
            .apply_surrounding(Surrounding::Config(config), self.now);
    }

    pub(super) fn requests(&mut self, actor: usize, requests: Requests) {
        let key = self.actors[actor].workload.key.clone();
        self.world.apply_requests(&key, Some(requests));
    }

    /// The controller cannot make pods: by condition for Deployments, by events for the others.
    pub(super) fn refuse(&mut self, actor: usize, refusal: Refusal) {
        let workload = &mut self.actors[actor].workload;
        let (kind, uid) = (workload.key.kind, workload.uid.clone());
        if kind == WorkloadKind::Deployment {
            workload.refusal = Some(refusal);
        } else {
            self.take_old(actor);
            self.warn(&uid, &Warning::CreateRefused(refusal));
        }
        self.sync(actor);
    }

    pub(super) fn scale(&mut self, actor: usize, replicas: usize) {
        self.actors[actor].workload.desired = u32::try_from(replicas).unwrap();
        self.sync(actor);
    }

    /// Tells the workload with the counts that its controller would write.
    pub(super) fn sync(&mut self, actor: usize) {
        let Actor {
            workload,
            revision,
            pods,
            ..
        } = &mut self.actors[actor];
        let count = |fits: &dyn Fn(&(u64, Pod)) -> bool| {
            u32::try_from(pods.iter().filter(|pod| fits(pod)).count()).unwrap()
        };
        workload.total = count(&|_| true);
        workload.updated = count(&|(of, _)| of == revision);
        workload.ready = count(&|(_, pod)| pod.ready);
        workload.available = workload.ready;
        workload.current = match workload.key.kind {
            WorkloadKind::Deployment => Current::Number(*revision),
            WorkloadKind::StatefulSet => Current::Name(format!("{}-{revision}", workload.key.name)),
            WorkloadKind::DaemonSet => Current::Newest,
        };
        self.world.apply_workload(workload.clone(), self.now);
    }

    /// Time passes, and every workload is judged.
    pub(super) fn tick(&mut self, millis: i64) {
        self.now = self.now.plus(millis);
        for actor in 0..self.actors.len() {
            let key = self.actors[actor].workload.key.clone();
            let found = self.world.evaluate(&key, self.now, &Thresholds::default());
            self.findings.extend(found.unwrap().decision.finding);
        }
    }

    /// Time passes in steps of a second.
    pub(super) fn seconds(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.tick(1_000);
        }
    }

    /// The last cause that was named for the story's workload, or for any other when that one is well.
    pub(super) fn verdict(&self) -> Option<Attribution> {
        let own = &self.actors[0].workload.key;
        let mut named = self.findings.iter().rev();
        let last = named.clone().find(|finding| finding.key == *own);
        last.or_else(|| named.next()).map(|f| f.attribution)
    }

    pub(super) fn because(&self) -> Vec<String> {
        let last = self.findings.iter().rev().take(3);
        last.map(|f| format!("{} {}: {}", f.key, f.trigger.as_str(), f.because))
            .collect()
    }

    pub(super) fn wants_rollback(&self) -> bool {
        self.findings.iter().any(Finding::wants_rollback)
    }
}

pub(super) fn reference(kind: ReferenceKind, name: &str) -> Reference {
    Reference {
        kind,
        name: name.into(),
    }
}
