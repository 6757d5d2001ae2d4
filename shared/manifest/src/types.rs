//! What an agent may rely on once its manifest was accepted.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent's manifest, decoded from any of the accepted versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// For example `ossa/v0.3.6`.
    pub api_version: String,
    /// The agent's name: crate, binary, service account and SPIFFE path carry it too.
    pub name: String,
    /// Kubernetes namespace. The first that is there: `metadata.namespace`,
    /// `runtime.kubernetes.namespace`, `spec.extensions.kagent.kubernetes.namespace`,
    /// `extensions.kagent.kubernetes.namespace`; else `default`.
    pub namespace: String,
    /// The agent's version.
    pub version: Option<String>,
    /// What the agent is, for people.
    pub description: Option<String>,
    /// What the agent does, as one instruction.
    pub role: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Access tier with what belongs to it; `None` when the manifest does not declare one.
    pub access: Option<Access>,
    /// Role and separation of duties.
    pub separation: Separation,
    /// Skills: `spec.messaging.commands`.
    pub skills: Vec<Command>,
    /// What the agent may do alone, and what never.
    pub autonomy: Autonomy,
    /// Whom it calls: tools of type `a2a`.
    pub calls: Vec<Call>,
    /// `spec.delegation.allowed_tiers`.
    pub(crate) delegation_tiers: Vec<Tier>,
    /// What it needs of the Kubernetes API: tools of type `kubernetes`.
    pub(crate) kubernetes_rules: Vec<KubernetesRule>,
    /// Frameworks, residency, audit.
    pub compliance: Compliance,
    /// Limits that the runtime enforces.
    pub guardrails: Guardrails,
    /// Traces, metrics, logs.
    pub observability: Observability,
    /// `state.storage.retention`: how long the agent keeps its own state.
    #[serde(with = "seconds")]
    pub retention: Option<Duration>,
    /// CPU and memory.
    pub resources: Resources,
    /// The announcement's fields, which no OSSA schema defines, mapped to the standard's own.
    pub overlay: Overlay,
    /// The file's text.
    #[serde(skip)]
    pub(crate) source: String,
}

/// OSSA access tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Analyzers: reads only.
    #[serde(rename = "tier_1_read")]
    Read,
    /// Workers: reads, and writes what is not in production.
    #[serde(rename = "tier_2_write_limited")]
    WriteLimited,
    /// Operators: writes to production, with approval.
    #[serde(rename = "tier_3_write_elevated")]
    WriteElevated,
    /// Governors: policies and audits, never execution.
    #[serde(rename = "tier_4_policy")]
    Policy,
}

impl Tier {
    /// The word in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "tier_1_read",
            Self::WriteLimited => "tier_2_write_limited",
            Self::WriteElevated => "tier_3_write_elevated",
            Self::Policy => "tier_4_policy",
        }
    }

    /// 1 to 4.
    pub fn number(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::WriteLimited => 2,
            Self::WriteElevated => 3,
            Self::Policy => 4,
        }
    }
}

/// How much of an operation is audited, and for how long at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditLevel {
    /// 30 days.
    Standard,
    /// 90 days.
    Detailed,
    /// 365 days.
    Comprehensive,
}

/// `spec.access`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Privilege level.
    pub tier: Tier,
    /// Permissions of OSSA's fixed list.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Explicitly prohibited actions.
    #[serde(default)]
    pub prohibited: Vec<String>,
    /// Audit level.
    pub audit_level: Option<AuditLevel>,
    /// Whether operations need the approval chain.
    #[serde(default)]
    pub requires_approval: bool,
    /// `standard`, `elevated` or `critical`.
    pub approval_chain: Option<String>,
    /// `none`, `standard` or `strict`.
    pub isolation: Option<String>,
}

/// `spec.separation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Separation {
    /// Primary role.
    pub role: Option<String>,
    /// Roles that this agent must not also have.
    #[serde(default)]
    pub conflicts_with: Vec<String>,
    /// Roles, tiers or agents it may delegate to.
    #[serde(default)]
    pub can_delegate_to: Vec<String>,
    /// What the role must never do.
    #[serde(default)]
    pub prohibited_actions: Vec<String>,
}

/// One typed method of an agent: a skill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Command {
    /// Name everywhere, `snake_case`.
    pub name: String,
    /// What goes in, what comes out.
    pub description: Option<String>,
    /// JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// JSON Schema of the output.
    pub output_schema: Option<Value>,
    /// Longest run.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// Whether a run is usually followed as a task.
    #[serde(rename = "async")]
    pub is_async: bool,
    /// Whether a second run with the same input changes nothing more.
    pub idempotent: bool,
}

/// `spec.autonomy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autonomy {
    /// `supervised` to `fully_autonomous`.
    pub level: Option<String>,
    /// Which actions a person has to approve.
    #[serde(default)]
    pub approval_required: Approval,
    /// What the agent may do.
    #[serde(default)]
    pub allowed_actions: Vec<String>,
    /// What it must not do, even when allowed.
    #[serde(default)]
    pub blocked_actions: Vec<String>,
}

/// Which actions a person has to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Approval {
    /// All, or none.
    All(bool),
    /// These.
    Actions(Vec<String>),
}

impl Default for Approval {
    fn default() -> Self {
        Self::All(false)
    }
}

/// An edge to another agent: a tool `{type: a2a, name: <agent>, config: {skills: [..]}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The callee.
    pub agent: String,
    /// The callee's skills that are called.
    pub skills: Vec<String>,
}

/// Whether a rule holds in the agent's target namespaces or in the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KubernetesScope {
    /// A Role in each target namespace of mesh.yaml.
    Namespace,
    /// A `ClusterRole`: for resources that belong to no namespace.
    Cluster,
}

/// What an agent needs of the Kubernetes API, in the words of an RBAC rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesRule {
    /// API groups; the core group is `""`.
    pub api_groups: Vec<String>,
    /// Resources, plural, lower case.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Where it holds.
    pub scope: KubernetesScope,
    /// Why it is needed; a rule that opens secrets has to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `spec.compliance`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compliance {
    /// Frameworks, for example `SOC2`.
    #[serde(default)]
    pub frameworks: Vec<String>,
    /// Region the data must stay in, for example `eu-west-1`.
    pub data_residency: Option<String>,
    /// `required`, `optional` or `disabled`.
    pub audit_logging: Option<String>,
    /// `encrypt_at_rest`, `anonymize`, `redact` or `none`.
    pub pii_handling: Option<String>,
}

/// Requests that one caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Sustained requests a minute.
    pub requests_per_minute: u32,
    /// Requests at once above that; the sustained rate when the manifest names none.
    pub burst: u32,
}

/// Limits that the runtime enforces: `spec.safety` and `spec.constraints.performance`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Guardrails {
    /// `safety.rate_limiting`, unless it is disabled.
    pub rate_limit: Option<RateLimit>,
    /// `safety.guardrails.max_tool_calls`: tool calls in one run of a skill.
    pub max_tool_calls: Option<u32>,
    /// `safety.guardrails.max_execution_time_seconds`, else `constraints.performance.timeoutSeconds`.
    #[serde(with = "seconds")]
    pub max_execution_time: Option<Duration>,
    /// `constraints.performance.maxConcurrentRequests`.
    pub max_concurrent_requests: Option<u32>,
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// One metric that the agent exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Name as it is scraped.
    pub name: String,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// What it counts or measures.
    pub description: Option<String>,
    /// Names of its labels.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// `spec.observability`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observability {
    /// Whether traces are made; the standard has no default, absent means no.
    pub tracing: bool,
    /// `otlp`, ...; from `tracing.exporter`, else from the overlay's `tracing.provider`.
    pub trace_exporter: Option<String>,
    /// Whether metrics are exported.
    pub metrics: bool,
    /// The agent's own metrics.
    pub custom_metrics: Vec<Metric>,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: Option<String>,
}

/// CPU and memory, as Kubernetes quantities: `constraints.resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// For example `500m`.
    pub cpu: Option<String>,
    /// For example `256Mi`.
    pub memory: Option<String>,
}

/// The overlay: fields of the announcement's example that no OSSA schema defines, already mapped to
/// the standard's own fields. A field of the standard wins over the overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Overlay {
    /// `spec.efficiency.tier`, as `metadata.efficiency_tier`.
    pub efficiency_tier: Option<String>,
    /// `spec.efficiency.promptCaching`, as `spec.token_efficiency.prompt_caching.enabled`.
    pub prompt_caching: Option<bool>,
    /// `spec.security.id`: the short alias of the agent's DID, as `spec.identity.alsoKnownAs`.
    pub alias: Option<String>,
    /// `spec.security.scopes`: grants, as `spec.identity.authentication.scopes`.
    pub scopes: Vec<String>,
    /// `spec.observability.tracing.provider`: `opentelemetry` stands for the exporter `otlp`.
    pub tracing_provider: Option<String>,
}

impl Manifest {
    /// What the agent needs of the Kubernetes API, for RBAC.
    pub fn kubernetes_rules(&self) -> &[KubernetesRule] {
        &self.kubernetes_rules
    }

    /// The file's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Access tier.
    pub fn tier(&self) -> Option<Tier> {
        self.access.as_ref().map(|access| access.tier)
    }

    /// A skill by its name.
    pub fn skill(&self, name: &str) -> Option<&Command> {
        self.skills.iter().find(|skill| skill.name == name)
    }

    /// Whether the agent may run this action: allowed and not blocked, because blocked wins.
    pub fn permits(&self, action: &str) -> bool {
        let named = |actions: &[String]| actions.iter().any(|a| a == action);
        named(&self.autonomy.allowed_actions) && !named(&self.autonomy.blocked_actions)
    }

    /// Whether a person has to approve this action.
    pub fn needs_approval(&self, action: &str) -> bool {
        match &self.autonomy.approval_required {
            Approval::All(all) => *all,
            Approval::Actions(actions) => actions.iter().any(|a| a == action),
        }
    }

    /// The label `data-residency`, else `spec.compliance.data_residency`; an accepted manifest's agree.
    pub fn data_residency(&self) -> Option<&str> {
        let label = self.labels.get("data-residency").map(String::as_str);
        label.or(self.compliance.data_residency.as_deref())
    }
}

mod seconds {
    use std::time::Duration;

    use serde::Serializer;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&duration.as_secs()),
            None => serializer.serialize_none(),
        }
    }
}
