//! What can be wrong with a release.

use control_plane::simulation::{self, Behaviour};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};

/// One way to fail, as a change of a pod template that was fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process exits at once, each time.
    CrashLoop,
    /// The process exits each time after some seconds in which it was ready: the rollout is over by then.
    CrashLater,
    /// The second container exits at once.
    SidecarCrash,
    /// The kernel kills the process.
    OutOfMemory,
    /// The image does not exist.
    ImagePull,
    /// A `ConfigMap` that an environment variable needs does not exist.
    ConfigError,
    /// The start is over, and the readiness probe fails for ever.
    NeverReady,
    /// There is no startup probe, and the readiness probe's own budget runs out.
    SlowStart,
    /// The liveness probe fails after each start.
    Liveness,
    /// The process is ready, and no longer after some seconds.
    Unready,
    /// The template asks for a node that does not exist.
    Unschedulable,
    /// The namespace's pod security standard refuses the pods.
    Refused,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::CrashLoop,
        Self::CrashLater,
        Self::SidecarCrash,
        Self::OutOfMemory,
        Self::ImagePull,
        Self::ConfigError,
        Self::NeverReady,
        Self::SlowStart,
        Self::Liveness,
        Self::Unready,
        Self::Unschedulable,
        Self::Refused,
    ];

    /// A name for objects and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash-loop",
            Self::CrashLater => "crash-later",
            Self::SidecarCrash => "sidecar-crash",
            Self::OutOfMemory => "out-of-memory",
            Self::ImagePull => "image-pull",
            Self::ConfigError => "config-error",
            Self::NeverReady => "never-ready",
            Self::SlowStart => "slow-start",
            Self::Liveness => "liveness",
            Self::Unready => "unready",
            Self::Unschedulable => "unschedulable",
            Self::Refused => "refused",
        }
    }

    /// What the simulated kubelet does.
    pub fn behaviour(self) -> Behaviour {
        use simulation::Fault as Kubelet;
        match self {
            Self::CrashLoop => Behaviour::failing(Kubelet::CrashLoop),
            Self::CrashLater => Behaviour::failing(Kubelet::Liveness)
                .after(6.0)
                .backs_off(20.0),
            Self::SidecarCrash => Behaviour::failing(Kubelet::CrashLoop).in_container("sidecar"),
            Self::OutOfMemory => Behaviour::failing(Kubelet::OutOfMemory),
            Self::ImagePull => Behaviour::failing(Kubelet::ImagePull).backs_off(1.0),
            Self::ConfigError => Behaviour::failing(Kubelet::ConfigError),
            Self::NeverReady | Self::SlowStart => Behaviour::failing(Kubelet::NeverReady),
            Self::Liveness => Behaviour::failing(Kubelet::Liveness)
                .after(1.0)
                .backs_off(20.0),
            Self::Unready => Behaviour::failing(Kubelet::Unready).after(5.0),
            Self::Unschedulable | Self::Refused => Behaviour::healthy(),
        }
    }

    /// Changes the spec of a pod and of its first container where the fault is one of the template itself.
    pub fn spoil(self, pod: &mut Value, container: &mut Value) {
        match self {
            Self::Unschedulable => pod["nodeSelector"] = json!({"disk": "tape"}),
            Self::Refused => pod["hostNetwork"] = true.into(),
            Self::NeverReady => {
                let probe =
                    json!({"httpGet": {"path": "/started", "port": 8080}, "periodSeconds": 1});
                container["startupProbe"] = probe;
            }
            _ => {}
        }
    }

    /// Whether Kubernetes shows by this pod of the bad revision that something is wrong.
    pub fn shows(self, pod: &Pod, was_ready: bool) -> bool {
        let Some(status) = &pod.status else {
            return false;
        };
        let condition = |kind: &str| {
            let found = status
                .conditions
                .iter()
                .flatten()
                .find(|one| one.type_ == kind);
            found.map(|one| {
                (
                    one.status.as_str(),
                    one.reason.as_deref().unwrap_or_default(),
                )
            })
        };
        let ready = condition("Ready").is_some_and(|(status, _)| status == "True");
        let unscheduled = matches!(condition("PodScheduled"), Some(("False", "Unschedulable")));
        let runs = |one: &ContainerStatus| {
            one.state
                .as_ref()
                .is_some_and(|state| state.running.is_some())
        };
        let statuses = || status.container_statuses.iter().flatten();
        let never = matches!(self, Self::NeverReady | Self::SlowStart);
        unscheduled
            || (was_ready && !ready)
            || statuses().any(broken)
            || (never && !ready && statuses().any(runs))
    }
}

/// Whether a container has ended, or waits for something else than its start.
fn broken(status: &ContainerStatus) -> bool {
    let Some(state) = &status.state else {
        return false;
    };
    let reason = state
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.reason.as_deref());
    state.terminated.is_some()
        || reason.is_some_and(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing"))
}
