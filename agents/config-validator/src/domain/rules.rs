//! Every rule: its id, how bad a violation is, and where the rule comes from.

use super::finding::Severity::{self, Error, Info, Warning};

/// A rule of this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Stable id.
    pub id: &'static str,
    /// Severity unless the request's Pod Security level says otherwise.
    pub severity: Severity,
    /// Document that the rule follows.
    pub source: Option<&'static str>,
}

const OBJECTS: &str = "https://kubernetes.io/docs/concepts/overview/working-with-objects/";
const NAMES: &str = "https://kubernetes.io/docs/concepts/overview/working-with-objects/names/";
const LABELS: &str = "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/";
const DEPRECATION: &str = "https://kubernetes.io/docs/reference/using-api/deprecation-guide/";
const RESOURCES: &str =
    "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/";
const IMAGES: &str = "https://kubernetes.io/docs/concepts/containers/images/#image-names";
const ACCOUNTS: &str = "https://kubernetes.io/docs/concepts/security/service-accounts/";
const RBAC: &str = "https://kubernetes.io/docs/concepts/security/rbac-good-practices/";
const SERVICES: &str = "https://kubernetes.io/docs/concepts/services-networking/service/";
const PROBES: &str =
    "https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/";
const POD_SECURITY: &str = "https://kubernetes.io/docs/concepts/security/pod-security-standards/";
const ISTIO: &str = "https://istio.io/latest/docs/reference/config/analysis/";
const LINKERD: &str = "https://linkerd.io/2/reference/proxy-configuration/";

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, $source:expr;)*) => {
        $($(#[$doc])* pub const $name: Rule = Rule { id: $id, severity: $severity, source: $source };)*
        /// All rules, for documentation and for the test that holds ids unique.
        pub const ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    /// The file is not YAML from some line on.
    YAML_SYNTAX = "yaml-syntax", Error, None;
    /// A mapping has a field twice; the API server's strict field validation refuses it.
    YAML_DUPLICATE_FIELD = "yaml-duplicate-field", Error, None;
    /// A file without any object.
    YAML_NO_OBJECT = "yaml-no-object", Warning, None;
    /// `apiVersion` or `kind` is missing or no text.
    SCHEMA_NO_KIND = "schema-no-kind", Error, Some(OBJECTS);
    /// A kind that the schema does not have: a custom resource without its definition, or a misspelt kind.
    SCHEMA_UNKNOWN_KIND = "schema-unknown-kind", Warning, Some(OBJECTS);
    /// An API version that is no longer served.
    SCHEMA_REMOVED_API = "schema-removed-api", Error, Some(DEPRECATION);
    /// An API version that is going to be removed.
    SCHEMA_DEPRECATED_API = "schema-deprecated-api", Warning, Some(DEPRECATION);
    /// A field that the kind does not have.
    SCHEMA_UNKNOWN_FIELD = "schema-unknown-field", Error, None;
    /// A field that must be there.
    SCHEMA_MISSING_FIELD = "schema-missing-field", Error, None;
    /// Text where a number belongs, and the like.
    SCHEMA_WRONG_TYPE = "schema-wrong-type", Error, None;
    /// A word that is none of the field's values.
    SCHEMA_UNKNOWN_VALUE = "schema-unknown-value", Error, None;
    /// A value of the right type in the wrong form: quantity, base64, time, range.
    SCHEMA_FORMAT = "schema-format", Error, None;
    /// No `metadata.name` and no `metadata.generateName`.
    NAME_MISSING = "name-missing", Error, Some(NAMES);
    /// A name that the kind does not allow.
    NAME_INVALID = "name-invalid", Error, Some(NAMES);
    /// A label or annotation with a malformed key or value.
    LABEL_INVALID = "label-invalid", Error, Some(LABELS);
    /// A namespace on an object that lives in none.
    NAMESPACE_UNEXPECTED = "namespace-unexpected", Warning, Some(OBJECTS);
    /// The same object twice among the manifests.
    OBJECT_DUPLICATE = "object-duplicate", Error, None;
    /// A selector that does not match the labels of its own pod template.
    SELECTOR_MISMATCH = "selector-mismatch", Error, Some(LABELS);
    /// Two containers of a pod with the same name.
    CONTAINER_DUPLICATE = "container-duplicate", Error, None;
    /// A volume mount without its volume.
    VOLUME_MISSING = "volume-missing", Error, None;
    /// A port outside 1 to 65535, or a malformed port name.
    PORT_INVALID = "port-invalid", Error, Some(SERVICES);
    /// A probe that names a port its container does not have.
    PROBE_PORT_MISSING = "probe-port-missing", Error, Some(PROBES);
    /// A request above its limit.
    REQUEST_OVER_LIMIT = "request-over-limit", Error, Some(RESOURCES);
    /// A container without requests for CPU and memory or without a memory limit.
    RESOURCES_MISSING = "resources-missing", Warning, Some(RESOURCES);
    /// An image without a tag or digest, or with `latest`.
    IMAGE_LATEST = "image-latest", Warning, Some(IMAGES);
    /// A long-running container without a readiness probe.
    READINESS_MISSING = "readiness-missing", Info, Some(PROBES);
    /// A workload that runs as the namespace's `default` account.
    DEFAULT_SERVICE_ACCOUNT = "default-service-account", Warning, Some(ACCOUNTS);
    /// A pod that gets an API token although nobody said that it needs one.
    TOKEN_AUTOMOUNT = "token-automount", Warning, Some(ACCOUNTS);
    /// A role with `*` as verb or resource.
    RBAC_WILDCARD = "rbac-wildcard", Error, Some(RBAC);
    /// A `ServiceAccount`, `ConfigMap`, Secret, claim or role that is not among the manifests.
    REFERENCE_MISSING = "reference-missing", Warning, None;
    /// A Service, `PodDisruptionBudget` or the like that selects no pod among the manifests.
    SELECTS_NOTHING = "selects-nothing", Warning, Some(SERVICES);
    /// A Service's target port that its pods do not have.
    TARGET_PORT_MISSING = "target-port-missing", Warning, Some(SERVICES);
    /// User 1337, which Istio's sidecar uses.
    MESH_RESERVED_USER = "mesh-reserved-user", Warning, Some(ISTIO);
    /// Two Services that give the same port of the same pods different protocols.
    MESH_PORT_CONFLICT = "mesh-port-conflict", Warning, Some(ISTIO);
    /// An `appProtocol` that Istio and Linkerd read differently.
    MESH_APP_PROTOCOL = "mesh-app-protocol", Info, Some(ISTIO);
    /// A mesh annotation on a workload instead of its pod template, where it has no effect.
    MESH_ANNOTATION_PLACE = "mesh-annotation-place", Warning, Some(LINKERD);
    /// A secret in plain text, found by security-scanner.
    SECRET_DETECTED = "secret-detected", Error, None;
    /// Pod Security, baseline: Windows `HostProcess` containers.
    POD_HOST_PROCESS = "pod-security-host-process", Error, Some(POD_SECURITY);
    /// Baseline: the host's network, process ids or IPC.
    POD_HOST_NAMESPACES = "pod-security-host-namespaces", Error, Some(POD_SECURITY);
    /// Baseline: privileged containers.
    POD_PRIVILEGED = "pod-security-privileged", Error, Some(POD_SECURITY);
    /// Baseline: added capabilities beyond the container runtimes' default set.
    POD_CAPABILITIES = "pod-security-capabilities", Error, Some(POD_SECURITY);
    /// Baseline: `hostPath` volumes.
    POD_HOST_PATH = "pod-security-host-path", Error, Some(POD_SECURITY);
    /// Baseline: host ports.
    POD_HOST_PORTS = "pod-security-host-ports", Error, Some(POD_SECURITY);
    /// Baseline: a host in probes and lifecycle hooks.
    POD_HOST_PROBES = "pod-security-host-probes", Error, Some(POD_SECURITY);
    /// Baseline: `AppArmor` turned off.
    POD_APPARMOR = "pod-security-apparmor", Error, Some(POD_SECURITY);
    /// Baseline: `SELinux` user, role or an unusual type.
    POD_SELINUX = "pod-security-selinux", Error, Some(POD_SECURITY);
    /// Baseline: an unmasked /proc.
    POD_PROC_MOUNT = "pod-security-proc-mount", Error, Some(POD_SECURITY);
    /// Baseline: seccomp turned off.
    POD_SECCOMP = "pod-security-seccomp", Error, Some(POD_SECURITY);
    /// Baseline: sysctls beyond the safe set.
    POD_SYSCTLS = "pod-security-sysctls", Error, Some(POD_SECURITY);
    /// Restricted: volumes other than the ephemeral and claimed ones.
    POD_RESTRICTED_VOLUMES = "pod-security-restricted-volumes", Warning, Some(POD_SECURITY);
    /// Restricted: privilege escalation not ruled out.
    POD_PRIVILEGE_ESCALATION = "pod-security-privilege-escalation", Warning, Some(POD_SECURITY);
    /// Restricted: running as root not ruled out.
    POD_RUN_AS_NON_ROOT = "pod-security-run-as-non-root", Warning, Some(POD_SECURITY);
    /// Restricted: user 0.
    POD_RUN_AS_USER = "pod-security-run-as-user", Warning, Some(POD_SECURITY);
    /// Restricted: no seccomp profile.
    POD_RESTRICTED_SECCOMP = "pod-security-restricted-seccomp", Warning, Some(POD_SECURITY);
    /// Restricted: capabilities not dropped, or added ones other than `NET_BIND_SERVICE`.
    POD_RESTRICTED_CAPABILITIES = "pod-security-restricted-capabilities", Warning, Some(POD_SECURITY);
    /// Restricted: an unmasked /proc even in a user namespace.
    POD_RESTRICTED_PROC_MOUNT = "pod-security-restricted-proc-mount", Warning, Some(POD_SECURITY);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_in_the_readme() {
        let readme = include_str!("../../README.md");
        let ids: HashSet<_> = ALL.iter().map(|r| r.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            assert!(
                readme.contains(&format!("`{id}`")),
                "{id} is not in the README"
            );
        }
    }
}
