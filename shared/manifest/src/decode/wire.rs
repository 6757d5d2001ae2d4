//! The shapes of the file. What is not listed here is not read; types are checked where they stand.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Access, Autonomy, Compliance, KubernetesRule, Metric, Resources, Separation, Tier};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    pub(super) api_version: String,
    pub(super) metadata: WireMetadata,
    #[serde(default)]
    pub(super) spec: WireSpec,
    pub(super) runtime: Option<Value>,
    pub(super) extensions: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct WireMetadata {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) efficiency_tier: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireSpec {
    pub(super) role: Option<String>,
    #[serde(default)]
    pub(super) tools: Vec<Map<String, Value>>,
    #[serde(default)]
    pub(super) messaging: WireMessaging,
    #[serde(default)]
    pub(super) autonomy: Autonomy,
    pub(super) access: Option<Access>,
    #[serde(default)]
    pub(super) separation: Separation,
    #[serde(default)]
    pub(super) delegation: WireDelegation,
    #[serde(default)]
    pub(super) compliance: Compliance,
    #[serde(default)]
    pub(super) constraints: WireConstraints,
    #[serde(default)]
    pub(super) safety: WireSafety,
    #[serde(default)]
    pub(super) observability: WireObservability,
    #[serde(default)]
    pub(super) state: WireState,
    #[serde(default)]
    pub(super) identity: WireIdentity,
    #[serde(default)]
    pub(super) efficiency: WireEfficiency,
    #[serde(default)]
    pub(super) security: WireSecurity,
    #[serde(default)]
    pub(super) token_efficiency: WireTokenEfficiency,
    pub(super) extensions: Option<Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireDelegation {
    #[serde(default)]
    pub(super) allowed_tiers: Vec<Tier>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireMessaging {
    #[serde(default)]
    pub(super) commands: Vec<WireCommand>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCommand {
    pub(super) name: String,
    pub(super) description: Option<String>,
    #[serde(alias = "input_schema")]
    pub(super) input_schema: Option<Value>,
    #[serde(alias = "output_schema")]
    pub(super) output_schema: Option<Value>,
    #[serde(alias = "timeout_seconds")]
    pub(super) timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(super) idempotent: bool,
    #[serde(default, rename = "async")]
    pub(super) is_async: bool,
}

#[derive(Default, Deserialize)]
pub(super) struct WireConstraints {
    #[serde(default)]
    pub(super) performance: WirePerformance,
    #[serde(default)]
    pub(super) resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePerformance {
    pub(super) timeout_seconds: Option<f64>,
    pub(super) max_concurrent_requests: Option<f64>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireSafety {
    pub(super) rate_limiting: Option<WireRateLimiting>,
    #[serde(default)]
    pub(super) guardrails: WireGuardrails,
}

#[derive(Deserialize)]
pub(super) struct WireRateLimiting {
    pub(super) enabled: Option<bool>,
    pub(super) requests_per_minute: Option<u32>,
    pub(super) burst_limit: Option<u32>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireGuardrails {
    pub(super) max_tool_calls: Option<u32>,
    pub(super) max_execution_time_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireObservability {
    #[serde(default)]
    pub(super) tracing: WireTracing,
    #[serde(default)]
    pub(super) metrics: WireMetrics,
    #[serde(default)]
    pub(super) logging: WireLogging,
}

#[derive(Default, Deserialize)]
pub(super) struct WireTracing {
    #[serde(default)]
    pub(super) enabled: bool,
    pub(super) exporter: Option<String>,
    pub(super) provider: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireMetrics {
    #[serde(default)]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) custom_metrics: Vec<Metric>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireLogging {
    pub(super) level: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireState {
    #[serde(default)]
    pub(super) storage: WireStorage,
}

#[derive(Default, Deserialize)]
pub(super) struct WireStorage {
    pub(super) retention: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireIdentity {
    #[serde(rename = "alsoKnownAs")]
    pub(super) also_known_as: Option<Value>,
    #[serde(default)]
    pub(super) authentication: WireAuthentication,
}

#[derive(Default, Deserialize)]
pub(super) struct WireAuthentication {
    #[serde(default)]
    pub(super) scopes: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireEfficiency {
    pub(super) tier: Option<String>,
    pub(super) prompt_caching: Option<bool>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireSecurity {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireTokenEfficiency {
    pub(super) prompt_caching: Option<WirePromptCaching>,
}

#[derive(Deserialize)]
pub(super) struct WirePromptCaching {
    pub(super) enabled: Option<bool>,
}

/// The configuration of a tool `{type: a2a, name: <agent>, config: {skills: [..]}}`.
#[derive(Default, Deserialize)]
pub(super) struct WireEdge {
    #[serde(default)]
    pub(super) skills: Vec<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireCluster {
    #[serde(default)]
    pub(super) rules: Vec<KubernetesRule>,
}
