//! What the messages of Kubernetes' components say about a cause. Messages are read for what they name, and are
//! not passed on: they may hold anything.

use std::collections::BTreeSet;

/// Longest part of a message that is read.
const MOST_TEXT: usize = 4_096;

/// An object that a pod needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// What it is.
    pub kind: ReferenceKind,
    /// Its name, in the pod's namespace.
    pub name: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// Kinds of objects that pods need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A Secret.
    Secret,
    /// A `PersistentVolumeClaim`.
    Claim,
    /// A `ServiceAccount`.
    ServiceAccount,
}

impl ReferenceKind {
    /// Kubernetes' name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Claim => "PersistentVolumeClaim",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

/// Why a container waits, as its message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitFault {
    /// An object, or a key of it, is not there.
    Missing(Reference),
    /// The registry does not answer, or turns everybody away.
    Registry,
}

/// Why the scheduler finds no node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homeless {
    /// Some node does not fit the selector, the affinity or the tolerations.
    pub placement: bool,
    /// Resources of which some node has too little left.
    pub resources: BTreeSet<String>,
    /// A claim is missing or unbound, or its volume is elsewhere.
    pub claims: bool,
}

/// Why a volume is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFault {
    /// An object, or a key of it, is not there.
    Missing(Reference),
    /// The storage does not attach or mount.
    Storage,
}

/// Why a controller cannot make pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A `ResourceQuota` of this name is used up.
    Quota(String),
    /// A rule of the cluster forbids these pods: pod security, a limit range, a policy.
    Denied,
    /// A webhook that has to be asked does not answer.
    Webhook,
    /// An object that the pod names is not there.
    Missing(Reference),
    /// Something else.
    Other,
}

impl Refusal {
    /// The words for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Quota(name) => format!("ResourceQuota {name} is used up"),
            Self::Denied => "a rule of the cluster forbids these pods".into(),
            Self::Webhook => "an admission webhook does not answer".into(),
            Self::Missing(reference) => format!("{reference} does not exist"),
            Self::Other => "the API server refuses to make them".into(),
        }
    }
}

/// A warning event about a pod or about a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A readiness or liveness probe failed.
    ProbeFailed,
    /// A volume was not mounted.
    Mount(MountFault),
    /// No sandbox could be made: the node's runtime or network.
    Sandbox,
    /// A controller could not make a pod.
    CreateRefused(Refusal),
}

/// Reads a warning event by its reason and message; `None` when it says nothing that matters here.
/// Failing startup probes are part of starting, and the container that exhausts them is restarted.
pub fn warning(reason: &str, message: &str) -> Option<Warning> {
    let message = head(message);
    match reason {
        "Unhealthy" if message.starts_with("Readiness") || message.starts_with("Liveness") => {
            Some(Warning::ProbeFailed)
        }
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => {
            // The kubelet's summary after two minutes says no more than its first messages did.
            let summary = message.starts_with("Unable to attach or mount volumes");
            let fault = missing(message).map_or(MountFault::Storage, MountFault::Missing);
            (!summary || matches!(fault, MountFault::Missing(_))).then_some(Warning::Mount(fault))
        }
        "FailedCreatePodSandBox" => Some(Warning::Sandbox),
        "FailedCreate" => Some(Warning::CreateRefused(refusal(message))),
        _ => None,
    }
}

/// Reads why a controller could not make a pod.
pub fn refusal(message: &str) -> Refusal {
    let message = head(message);
    if let Some(rest) = after(message, "exceeded quota: ") {
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        return Refusal::Quota(name);
    }
    if message.contains("failed calling webhook") || message.contains("failed to call webhook") {
        return Refusal::Webhook;
    }
    if let Some(reference) = missing(message) {
        return Refusal::Missing(reference);
    }
    let rules = [
        "violates PodSecurity",
        "denied the request",
        "is forbidden",
        "Invalid value",
        "is invalid",
    ];
    if rules.iter().any(|rule| message.contains(rule)) {
        Refusal::Denied
    } else {
        Refusal::Other
    }
}

/// Reads why the scheduler finds no node.
pub fn homeless(message: &str) -> Homeless {
    let message = head(message);
    let placement = [
        "node affinity",
        "node selector",
        "pod affinity",
        "anti-affinity",
        "topology spread",
        "taint",
    ];
    let claims = ["PersistentVolumeClaim", "persistentvolumeclaim", "volume"];
    let mut resources = BTreeSet::new();
    let mut rest = message;
    while let Some(found) = after(rest, "Insufficient ") {
        let name: String = found
            .chars()
            .take_while(|c| is_name(*c) || *c == '/')
            .collect();
        resources.insert(name.trim_end_matches('.').to_owned());
        rest = found;
    }
    if message.contains("Too many pods") {
        resources.insert("pods".into());
    }
    Homeless {
        placement: placement.iter().any(|rule| message.contains(rule)),
        resources,
        claims: claims.iter().any(|word| message.contains(word)),
    }
}

/// Reads why a container waits.
pub fn wait_fault(reason: &str, message: &str) -> Option<WaitFault> {
    let message = head(message);
    match reason {
        "CreateContainerConfigError" | "CreateContainerError" => {
            missing(message).map(WaitFault::Missing)
        }
        "ImagePullBackOff" | "ErrImagePull" | "RegistryUnavailable" => {
            let down = [
                "i/o timeout",
                "connection refused",
                "no such host",
                "TLS handshake timeout",
                "toomanyrequests",
                "Too Many Requests",
                "503 Service Unavailable",
                "502 Bad Gateway",
                "500 Internal Server Error",
                "context deadline exceeded",
                "connection reset",
                "network is unreachable",
            ];
            let down = down.iter().any(|words| message.contains(words));
            down.then_some(WaitFault::Registry)
        }
        _ => None,
    }
}

/// The object that a message says is missing: `configmap "x" not found`, `couldn't find key k in Secret ns/x`,
/// `references non-existent secret key`.
fn missing(message: &str) -> Option<Reference> {
    const KINDS: [(&str, ReferenceKind); 4] = [
        ("configmap", ReferenceKind::ConfigMap),
        ("secret", ReferenceKind::Secret),
        ("persistentvolumeclaim", ReferenceKind::Claim),
        ("serviceaccount", ReferenceKind::ServiceAccount),
    ];
    let lower = message.to_ascii_lowercase();
    for (word, kind) in KINDS {
        let quoted = after(&lower, &format!("{word} \""))
            .or_else(|| after(&lower, &format!("{word}s \"")))
            .filter(|rest| rest.contains("not found"));
        let keyed = after(&lower, "couldn't find key ")
            .and_then(|rest| after(rest, &format!("in {word} ")))
            .map(|rest| rest.split_once('/').map_or(rest, |(_, name)| name));
        if let Some(rest) = quoted.or(keyed) {
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            return (!name.is_empty()).then_some(Reference { kind, name });
        }
    }
    None
}

fn head(message: &str) -> &str {
    let end = message
        .char_indices()
        .nth(MOST_TEXT)
        .map_or(message.len(), |(at, _)| at);
    message.get(..end).unwrap_or_default()
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.split_once(words).map(|(_, rest)| rest)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(kind: ReferenceKind, name: &str) -> Reference {
        Reference {
            kind,
            name: name.into(),
        }
    }

    #[test]
    fn mount_messages_name_what_is_missing() {
        let map = reference(ReferenceKind::ConfigMap, "web-settings");
        for (message, fault) in [
            (
                "MountVolume.SetUp failed for volume \"settings\" : configmap \"web-settings\" not found",
                MountFault::Missing(map.clone()),
            ),
            (
                "AttachVolume.Attach failed for volume \"pvc-1\" : rpc error: code = DeadlineExceeded",
                MountFault::Storage,
            ),
        ] {
            assert_eq!(
                warning("FailedMount", message),
                Some(Warning::Mount(fault)),
                "{message}"
            );
        }
        let summary = "Unable to attach or mount volumes: unmounted volumes=[data]";
        assert_eq!(warning("FailedMount", summary), None);
    }

    #[test]
    fn a_failing_startup_probe_is_no_sign_and_a_failing_readiness_probe_is() {
        let read = |message| warning("Unhealthy", message);
        assert_eq!(
            read("Readiness probe failed: 503"),
            Some(Warning::ProbeFailed)
        );
        assert_eq!(
            read("Liveness probe failed: 503"),
            Some(Warning::ProbeFailed)
        );
        assert_eq!(read("Startup probe failed: 503"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let forbidden = "Error creating: pods \"web-1\" is forbidden: ";
        for (rest, expected) in [
            (
                "exceeded quota: compute, requested: limits.memory=2Gi, used: limits.memory=7Gi",
                Refusal::Quota("compute".into()),
            ),
            (
                "violates PodSecurity \"restricted:latest\": privileged",
                Refusal::Denied,
            ),
            (
                "error looking up service account shop/web: serviceaccount \"web\" not found",
                Refusal::Missing(reference(ReferenceKind::ServiceAccount, "web")),
            ),
        ] {
            assert_eq!(refusal(&format!("{forbidden}{rest}")), expected, "{rest}");
        }
        let webhook = "Internal error occurred: failed calling webhook \"policy.example.com\": connection refused";
        assert_eq!(refusal(webhook), Refusal::Webhook);
        assert_eq!(
            refusal("admission webhook \"policy\" denied the request: no latest tag"),
            Refusal::Denied
        );
    }

    #[test]
    fn the_scheduler_s_message_is_taken_apart() {
        let message = "0/4 nodes are available: 1 Insufficient memory, 2 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available";
        let read = homeless(message);
        assert!(read.placement && !read.claims);
        let resources: Vec<&str> = read.resources.iter().map(String::as_str).collect();
        assert_eq!(resources, ["memory", "nvidia.com/gpu"]);
        let cordoned = homeless("0/4 nodes are available: 4 node(s) were unschedulable.");
        assert_eq!(cordoned, Homeless::default());
        let claims =
            homeless("0/4 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
        assert!(claims.claims);
    }

    #[test]
    fn a_registry_that_does_not_answer_is_not_a_missing_image() {
        let read = |message| wait_fault("ImagePullBackOff", message);
        let down = "Back-off pulling image \"r/web:2\": ErrImagePull: failed to do request: dial tcp 10.0.0.1:443: i/o timeout";
        assert_eq!(read(down), Some(WaitFault::Registry));
        assert_eq!(
            read("Back-off pulling image \"r/web:2\": ErrImagePull: not found"),
            None
        );
        let key = wait_fault(
            "CreateContainerConfigError",
            "couldn't find key PASSWORD in Secret shop/db",
        );
        assert_eq!(
            key,
            Some(WaitFault::Missing(reference(ReferenceKind::Secret, "db")))
        );
    }
}
