//! What a pod or a node does, chosen by annotations, since no container runs.

use std::collections::BTreeMap;

/// Prefix of the annotations.
pub const PREFIX: &str = "kubelet.mesh";

/// How a pod fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process exits with 1 each time, 0.05 s after it started.
    CrashLoop,
    /// The kernel kills the process each time, 0.05 s after it started.
    OutOfMemory,
    /// The image cannot be pulled.
    ImagePull,
    /// A `ConfigMap` or Secret that the container needs is missing.
    ConfigError,
    /// The process runs and is ready after 5 s only.
    SlowStart,
    /// The process runs and is never ready.
    NeverReady,
    /// The liveness probe fails 10 s after each start, and the process is killed.
    Liveness,
    /// The process is ready and is no longer after 10 s.
    Unready,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CrashLoop,
        Self::OutOfMemory,
        Self::ImagePull,
        Self::ConfigError,
        Self::SlowStart,
        Self::NeverReady,
        Self::Liveness,
        Self::Unready,
    ];

    /// Value of the annotation `kubelet.mesh/fault`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash-loop",
            Self::OutOfMemory => "out-of-memory",
            Self::ImagePull => "image-pull",
            Self::ConfigError => "config-error",
            Self::SlowStart => "slow-start",
            Self::NeverReady => "never-ready",
            Self::Liveness => "liveness",
            Self::Unready => "unready",
        }
    }
}

/// The annotations of one behaviour.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    fault: Option<Fault>,
    container: Option<String>,
    seconds: BTreeMap<&'static str, f64>,
}

impl Behaviour {
    /// Running and ready 1 s after the pod is bound to a node.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Failing.
    pub fn failing(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    /// Fails this container instead of the first one.
    #[must_use]
    pub fn in_container(mut self, name: &str) -> Self {
        self.container = Some(name.to_owned());
        self
    }

    /// Time from bound to running; 1 s if not set.
    #[must_use]
    pub fn starts_after(self, seconds: f64) -> Self {
        self.with("start-seconds", seconds)
    }

    /// Time from running to what the fault does; a slow start is over then. A job's pod is complete then.
    #[must_use]
    pub fn after(self, seconds: f64) -> Self {
        self.with("after-seconds", seconds)
    }

    /// First delay between restarts, doubled each time up to 300 s, and between pulls; 10 s if not set.
    #[must_use]
    pub fn backs_off(self, seconds: f64) -> Self {
        self.with("back-off-seconds", seconds)
    }

    /// Time from the deletion to the end of the processes; 0.3 s if not set.
    #[must_use]
    pub fn stops_after(self, seconds: f64) -> Self {
        self.with("stop-seconds", seconds)
    }

    fn with(mut self, key: &'static str, seconds: f64) -> Self {
        self.seconds.insert(key, seconds);
        self
    }

    /// The annotations, for a pod or a pod template.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let fault = self.fault.map(|fault| ("fault", fault.name().to_owned()));
        let container = self.container.clone().map(|name| ("container", name));
        let seconds = self
            .seconds
            .iter()
            .map(|(key, value)| (*key, value.to_string()));
        fault
            .into_iter()
            .chain(container)
            .chain(seconds)
            .map(|(key, value)| (format!("{PREFIX}/{key}"), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_setting_with_its_unit() {
        let behaviour = Behaviour::failing(Fault::CrashLoop)
            .in_container("app")
            .backs_off(0.5)
            .after(2.0);
        let annotations: Vec<(String, String)> = behaviour.annotations().into_iter().collect();
        let expected = [
            ("kubelet.mesh/after-seconds", "2"),
            ("kubelet.mesh/back-off-seconds", "0.5"),
            ("kubelet.mesh/container", "app"),
            ("kubelet.mesh/fault", "crash-loop"),
        ];
        assert_eq!(
            annotations,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert!(Behaviour::healthy().annotations().is_empty());
    }
}
