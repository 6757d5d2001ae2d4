//! The kinds that the model serves.

use k8s_openapi::api;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::cmp::Ordering;

/// One kind of object.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Name of the type, for example `Deployment`.
    pub kind: &'static str,
    /// Name in paths, for example `deployments`.
    pub plural: &'static str,
    /// Short names for `kubectl`.
    pub short: &'static [&'static str],
    /// Says whether objects live in a namespace.
    pub namespaced: bool,
    /// Says whether there is a `status` subresource, so that plain writes leave the status alone.
    pub status: bool,
    /// Says whether there is a `scale` subresource.
    pub scale: bool,
    /// Decodes an object as the published type; the error says what is wrong.
    pub check: fn(&Value) -> Result<(), String>,
}

impl Kind {
    /// `apiVersion` of the objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, as error messages say it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Finds a kind by what a path says.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        KINDS
            .iter()
            .copied()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// Finds a kind by what an object or owner reference says.
    pub fn of(api_version: &str, name: &str) -> Option<&'static Kind> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        KINDS
            .iter()
            .copied()
            .find(|kind| kind.group == group && kind.kind == name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.group, self.plural).cmp(&(other.group, other.plural))
    }
}

fn decodes<T: DeserializeOwned>(object: &Value) -> Result<(), String> {
    T::deserialize(object)
        .map(drop)
        .map_err(|error| error.to_string())
}

const fn kind<T: DeserializeOwned>(
    (group, version): (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        short,
        namespaced: true,
        status: false,
        scale: false,
        check: decodes::<T>,
    }
}

impl Kind {
    const fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    const fn with_scale(mut self) -> Self {
        self.scale = true;
        self
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");

/// Namespaces.
pub static NAMESPACES: Kind =
    kind::<api::core::v1::Namespace>(CORE, "Namespace", "namespaces", &["ns"])
        .cluster_scoped()
        .with_status();
/// Nodes.
pub static NODES: Kind = kind::<api::core::v1::Node>(CORE, "Node", "nodes", &["no"])
    .cluster_scoped()
    .with_status();
/// Pods.
pub static PODS: Kind = kind::<api::core::v1::Pod>(CORE, "Pod", "pods", &["po"]).with_status();
/// Services.
pub static SERVICES: Kind =
    kind::<api::core::v1::Service>(CORE, "Service", "services", &["svc"]).with_status();
/// Core events.
pub static EVENTS: Kind = kind::<api::core::v1::Event>(CORE, "Event", "events", &["ev"]);
/// Service accounts.
pub static SERVICE_ACCOUNTS: Kind =
    kind::<api::core::v1::ServiceAccount>(CORE, "ServiceAccount", "serviceaccounts", &["sa"]);
/// Deployments.
pub static DEPLOYMENTS: Kind =
    kind::<api::apps::v1::Deployment>(APPS, "Deployment", "deployments", &["deploy"])
        .with_status()
        .with_scale();
/// Replica sets.
pub static REPLICA_SETS: Kind =
    kind::<api::apps::v1::ReplicaSet>(APPS, "ReplicaSet", "replicasets", &["rs"])
        .with_status()
        .with_scale();
/// Horizontal pod autoscalers.
pub static AUTOSCALERS: Kind = kind::<api::autoscaling::v2::HorizontalPodAutoscaler>(
    ("autoscaling", "v2"),
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    &["hpa"],
)
.with_status();
static CONFIG_MAPS: Kind =
    kind::<api::core::v1::ConfigMap>(CORE, "ConfigMap", "configmaps", &["cm"]);
static SECRETS: Kind = kind::<api::core::v1::Secret>(CORE, "Secret", "secrets", &[]);
static ENDPOINTS: Kind = kind::<api::core::v1::Endpoints>(CORE, "Endpoints", "endpoints", &["ep"]);
static LIMIT_RANGES: Kind =
    kind::<api::core::v1::LimitRange>(CORE, "LimitRange", "limitranges", &["limits"]);
static QUOTAS: Kind =
    kind::<api::core::v1::ResourceQuota>(CORE, "ResourceQuota", "resourcequotas", &["quota"])
        .with_status();
static CLAIMS: Kind = kind::<api::core::v1::PersistentVolumeClaim>(
    CORE,
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    &["pvc"],
)
.with_status();
static STATEFUL_SETS: Kind =
    kind::<api::apps::v1::StatefulSet>(APPS, "StatefulSet", "statefulsets", &["sts"])
        .with_status()
        .with_scale();
static DAEMON_SETS: Kind =
    kind::<api::apps::v1::DaemonSet>(APPS, "DaemonSet", "daemonsets", &["ds"]).with_status();
static CONTROLLER_REVISIONS: Kind = kind::<api::apps::v1::ControllerRevision>(
    APPS,
    "ControllerRevision",
    "controllerrevisions",
    &[],
);
static JOBS: Kind = kind::<api::batch::v1::Job>(BATCH, "Job", "jobs", &[]).with_status();
static CRON_JOBS: Kind =
    kind::<api::batch::v1::CronJob>(BATCH, "CronJob", "cronjobs", &["cj"]).with_status();
static ROLES: Kind = kind::<api::rbac::v1::Role>(RBAC, "Role", "roles", &[]);
static ROLE_BINDINGS: Kind =
    kind::<api::rbac::v1::RoleBinding>(RBAC, "RoleBinding", "rolebindings", &[]);
static CLUSTER_ROLES: Kind =
    kind::<api::rbac::v1::ClusterRole>(RBAC, "ClusterRole", "clusterroles", &[]).cluster_scoped();
static CLUSTER_ROLE_BINDINGS: Kind = kind::<api::rbac::v1::ClusterRoleBinding>(
    RBAC,
    "ClusterRoleBinding",
    "clusterrolebindings",
    &[],
)
.cluster_scoped();
static NETWORK_POLICIES: Kind = kind::<api::networking::v1::NetworkPolicy>(
    NETWORKING,
    "NetworkPolicy",
    "networkpolicies",
    &["netpol"],
);
static INGRESSES: Kind =
    kind::<api::networking::v1::Ingress>(NETWORKING, "Ingress", "ingresses", &["ing"])
        .with_status();
static DISRUPTION_BUDGETS: Kind = kind::<api::policy::v1::PodDisruptionBudget>(
    ("policy", "v1"),
    "PodDisruptionBudget",
    "poddisruptionbudgets",
    &["pdb"],
)
.with_status();
static LEASES: Kind =
    kind::<api::coordination::v1::Lease>(("coordination.k8s.io", "v1"), "Lease", "leases", &[]);

/// Every kind that is served.
pub static KINDS: &[&Kind] = &[
    &NAMESPACES,
    &NODES,
    &PODS,
    &SERVICES,
    &EVENTS,
    &SERVICE_ACCOUNTS,
    &CONFIG_MAPS,
    &SECRETS,
    &ENDPOINTS,
    &LIMIT_RANGES,
    &QUOTAS,
    &CLAIMS,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &STATEFUL_SETS,
    &DAEMON_SETS,
    &CONTROLLER_REVISIONS,
    &JOBS,
    &CRON_JOBS,
    &AUTOSCALERS,
    &ROLES,
    &ROLE_BINDINGS,
    &CLUSTER_ROLES,
    &CLUSTER_ROLE_BINDINGS,
    &NETWORK_POLICIES,
    &INGRESSES,
    &DISRUPTION_BUDGETS,
    &LEASES,
];
