//! A story's cluster, played by hand.

use super::*;

/// When the stories begin.
pub(super) const T0: At = At::from_millis(1_000_000_000);

/// A cluster with workloads of three replicas, played by hand.
pub(super) struct Story {
    pub(super) world: World,
    pub(super) now: At,
    pub(super) pods: u32,
}

impl Story {
    /// Workload `web` has been healthy in revision 1 for a day, and so have `others`.
    pub(super) fn new(others: &[&str]) -> Self {
        let mut story = Self {
            world: World::default(),
            now: T0,
            pods: 0,
        };
        for name in ["web"].iter().chain(others) {
            story.deployment(name, (1, 3, 3, 3, 3));
            story.set(name, 1, T0.plus(-86_400_000));
            for node in ["n1", "n2", "n3"] {
                story.pod(name, 1, node, ready());
            }
            assert_eq!(story.judge(name), None, "healthy at the start");
        }
        story
    }

    /// Revision, desired, total, updated, available.
    pub(super) fn deployment(&mut self, name: &str, counts: (u64, u32, u32, u32, u32)) {
        let (revision, desired, total, updated, available) = counts;
        let workload = Workload {
            key: key(name),
            uid: format!("d-{name}"),
            generation: 1,
            observed_generation: 1,
            desired,
            total,
            updated,
            ready: available,
            available,
            current: Current::Number(revision),
            ..Workload::default()
        };
        self.world.apply_workload(workload, self.now);
    }

    pub(super) fn set(&mut self, name: &str, revision: u64, created: At) {
        self.world.apply_revision(Revision {
            uid: format!("s-{name}-{revision}"),
            namespace: "shop".into(),
            name: format!("{name}-{revision}"),
            owner: format!("d-{name}"),
            number: revision,
            created,
            replica_set: true,
            ..Revision::default()
        });
    }

    pub(super) fn pod(
        &mut self,
        name: &str,
        revision: u64,
        node: &str,
        container: Container,
    ) -> Pod {
        self.pods += 1;
        let pod = Pod {
            uid: format!("p{}", self.pods),
            namespace: "shop".into(),
            name: format!("{name}-{revision}-{}", self.pods),
            owner: format!("s-{name}-{revision}"),
            node: Some(node.into()),
            created: self.now,
            ready: container.ready,
            containers: vec![container],
            ..Pod::default()
        };
        self.world.apply_pod(pod.clone(), self.now);
        pod
    }

    pub(super) fn change(&mut self, pod: &Pod, container: Container) {
        let ready = container.ready;
        let pod = Pod {
            ready,
            containers: vec![container],
            ..pod.clone()
        };
        self.world.apply_pod(pod, self.now);
    }

    /// Revision 2 is released, with its first pod beside the three old ones.
    pub(super) fn release(&mut self, container: Container) -> Pod {
        self.set("web", 2, self.now);
        self.deployment("web", (2, 3, 4, 1, 3));
        self.pod("web", 2, "n1", container)
    }

    pub(super) fn pass(&mut self, millis: i64) {
        self.now = self.now.plus(millis);
    }

    pub(super) fn decide(&mut self, name: &str) -> Decision {
        let evaluation = self
            .world
            .evaluate(&key(name), self.now, &Thresholds::default());
        evaluation.expect("the workload is known").decision
    }

    /// Attribution and severity of what is wrong.
    pub(super) fn judge(&mut self, name: &str) -> Option<(Attribution, Severity)> {
        let finding = self.decide(name).finding?;
        assert_eq!(
            finding.wants_rollback(),
            finding.attribution == Attribution::Release
        );
        Some((finding.attribution, finding.severity))
    }
}

pub(super) fn key(name: &str) -> Key {
    Key::deployment("shop", name)
}

pub(super) fn container(state: ContainerState) -> Container {
    Container {
        name: "web".into(),
        ready: false,
        started: true,
        state,
        probes: Probes {
            startup_ms: Some(30_000),
            readiness_ms: Some(10_000),
        },
        ..Container::default()
    }
}

pub(super) fn ready() -> Container {
    Container {
        ready: true,
        ..container(ContainerState::Running(T0))
    }
}

pub(super) fn waiting(reason: &str) -> Container {
    container(ContainerState::Waiting(reason.into()))
}
