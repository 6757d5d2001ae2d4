//! From a document to a [`Manifest`]: the shapes of the file, version differences included.

mod wire;

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::wire::{Wire, WireCluster, WireCommand, WireEdge, WireObservability, WireSpec};
use crate::{
    Call, Command, Document, Guardrails, KubernetesRule, Manifest, Observability, Overlay,
    Position, RateLimit,
};

/// A document that holds no agent manifest, or one whose fields have other types than they must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeManifestError {
    /// The document describes a task, workflow or flow.
    #[error("kind {kind:?} is not an agent")]
    NotAnAgent {
        /// `kind`, or nothing when it is missing.
        kind: String,
    },
    /// A field has another type than it must.
    #[error("{field}: {message}{}", place(*position))]
    Field {
        /// Dotted path, for example `spec.security.id`.
        field: String,
        /// What is wrong.
        message: String,
        /// Where it stands.
        position: Option<Position>,
    },
}

fn place(position: Option<Position>) -> String {
    position.map_or_else(String::new, |at| {
        format!(" (line {}, column {})", at.line, at.column)
    })
}

impl Manifest {
    /// Reads an agent's manifest. It is typed then, but not yet judged: see [`crate::schema`] and
    /// [`crate::semantics`].
    ///
    /// # Errors
    /// The first field with a wrong type, or a document of another kind.
    pub fn decode(document: &Document, source: &str) -> Result<Self, DecodeManifestError> {
        let kind = document
            .root()
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind != "Agent" {
            return Err(DecodeManifestError::NotAnAgent {
                kind: kind.to_owned(),
            });
        }
        let wire: Wire = typed(document.root(), "").map_err(|error| error.placed(document))?;
        let (calls, kubernetes_rules) =
            tools(&wire.spec.tools).map_err(|error| error.placed(document))?;
        Ok(wire.into_manifest(calls, kubernetes_rules, source))
    }
}

/// A decoding error before its place is known.
struct Misfit {
    path: String,
    message: String,
}

impl Misfit {
    fn placed(self, document: &Document) -> DecodeManifestError {
        let pointer = format!(
            "/{}",
            self.path
                .replace('[', ".")
                .replace(']', "")
                .replace('.', "/")
        );
        let position = document.position(&pointer);
        DecodeManifestError::Field {
            field: self.path,
            message: self.message,
            position,
        }
    }
}

fn typed<T: DeserializeOwned>(value: &Value, under: &str) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = match (under, path.as_str()) {
            ("", _) => path,
            (_, ".") => under.to_owned(),
            _ => format!("{under}.{path}"),
        };
        // serde quotes a string that does not fit, and a misplaced string may be a secret.
        let message = match error.inner().to_string() {
            text if text.contains("string \"") => String::from("a string does not fit here"),
            text => text,
        };
        Misfit { path, message }
    })
}

impl Wire {
    fn into_manifest(
        self,
        calls: Vec<Call>,
        kubernetes_rules: Vec<KubernetesRule>,
        source: &str,
    ) -> Manifest {
        let namespace = self.namespace();
        let overlay = self.overlay();
        let guardrails = self.guardrails();
        let Self {
            api_version,
            metadata,
            spec,
            ..
        } = self;
        let WireObservability {
            tracing,
            metrics,
            logging,
        } = spec.observability;
        let provider_exports = overlay.tracing_provider.as_deref() == Some("opentelemetry");
        let observability = Observability {
            tracing: tracing.enabled,
            trace_exporter: tracing
                .exporter
                .or_else(|| provider_exports.then(|| "otlp".into())),
            metrics: metrics.enabled,
            custom_metrics: metrics.custom_metrics,
            log_level: logging.level,
        };
        Manifest {
            api_version,
            name: metadata.name,
            namespace,
            version: metadata.version,
            description: metadata.description,
            role: spec.role,
            labels: metadata.labels,
            access: spec.access,
            separation: spec.separation,
            skills: spec
                .messaging
                .commands
                .into_iter()
                .map(Command::from)
                .collect(),
            autonomy: spec.autonomy,
            calls,
            delegation_tiers: spec.delegation.allowed_tiers,
            kubernetes_rules,
            compliance: spec.compliance,
            guardrails,
            observability,
            retention: spec
                .state
                .storage
                .retention
                .as_deref()
                .and_then(parse_retention),
            resources: spec.constraints.resources,
            overlay,
            source: source.to_owned(),
        }
    }

    fn namespace(&self) -> String {
        let kagent = |extensions: &Option<Value>| {
            text_at(extensions.as_ref(), "/kagent/kubernetes/namespace")
        };
        (self.metadata.namespace.clone())
            .or_else(|| text_at(self.runtime.as_ref(), "/kubernetes/namespace"))
            .or_else(|| kagent(&self.spec.extensions))
            .or_else(|| kagent(&self.extensions))
            .unwrap_or_else(|| "default".into())
    }

    fn overlay(&self) -> Overlay {
        let Self { metadata, spec, .. } = self;
        let standard_caching = spec
            .token_efficiency
            .prompt_caching
            .as_ref()
            .and_then(|caching| caching.enabled);
        let standard_alias = spec
            .identity
            .also_known_as
            .as_ref()
            .and_then(Value::as_str)
            .map(str::to_owned);
        let standard_scopes = &spec.identity.authentication.scopes;
        Overlay {
            efficiency_tier: metadata
                .efficiency_tier
                .clone()
                .or_else(|| spec.efficiency.tier.clone()),
            prompt_caching: standard_caching.or(spec.efficiency.prompt_caching),
            alias: standard_alias.or_else(|| spec.security.id.clone()),
            scopes: if standard_scopes.is_empty() {
                spec.security.scopes.clone()
            } else {
                standard_scopes.clone()
            },
            tracing_provider: spec.observability.tracing.provider.clone(),
        }
    }

    fn guardrails(&self) -> Guardrails {
        let WireSpec {
            safety,
            constraints,
            ..
        } = &self.spec;
        let limits = safety
            .rate_limiting
            .as_ref()
            .filter(|limiting| limiting.enabled != Some(false));
        let rate_limit = limits.and_then(|limiting| {
            let requests_per_minute = limiting.requests_per_minute?;
            Some(RateLimit {
                requests_per_minute,
                burst: limiting.burst_limit.unwrap_or(requests_per_minute),
            })
        });
        let performance = &constraints.performance;
        let timeout = performance
            .timeout_seconds
            .and_then(|s| Duration::try_from_secs_f64(s).ok());
        Guardrails {
            rate_limit,
            max_tool_calls: safety.guardrails.max_tool_calls,
            max_execution_time: safety
                .guardrails
                .max_execution_time_seconds
                .map(Duration::from_secs)
                .or(timeout),
            max_concurrent_requests: performance.max_concurrent_requests.and_then(whole),
        }
    }
}

impl From<WireCommand> for Command {
    fn from(wire: WireCommand) -> Self {
        Self {
            name: wire.name,
            description: wire.description,
            input_schema: wire.input_schema,
            output_schema: wire.output_schema,
            timeout: wire.timeout_seconds.map(Duration::from_secs),
            is_async: wire.is_async,
            idempotent: wire.idempotent,
        }
    }
}

fn tools(tools: &[Map<String, Value>]) -> Result<(Vec<Call>, Vec<KubernetesRule>), Misfit> {
    let (mut calls, mut rules) = (Vec::new(), Vec::new());
    for (index, tool) in tools.iter().enumerate() {
        let under = format!("spec.tools[{index}]");
        let text = |key: &str| tool.get(key).and_then(Value::as_str);
        let config = tool.get("config");
        match text("type") {
            Some("a2a") => {
                let agent = text("name").ok_or_else(|| Misfit {
                    path: under.clone(),
                    message: "a tool of type a2a must name the agent it calls".into(),
                })?;
                let edge: WireEdge = configured(config, &under)?;
                calls.push(Call {
                    agent: agent.to_owned(),
                    skills: edge.skills,
                });
            }
            Some("kubernetes") => rules.extend(configured::<WireCluster>(config, &under)?.rules),
            _ => {}
        }
    }
    Ok((calls, rules))
}

fn configured<T: DeserializeOwned + Default>(
    config: Option<&Value>,
    under: &str,
) -> Result<T, Misfit> {
    config.map_or_else(
        || Ok(T::default()),
        |config| typed(config, &format!("{under}.config")),
    )
}

fn text_at(value: Option<&Value>, pointer: &str) -> Option<String> {
    value?.pointer(pointer)?.as_str().map(str::to_owned)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole and in range"
)]
fn whole(number: f64) -> Option<u32> {
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number))
        .then_some(number as u32)
}

/// Reads `2190d`, `90days`, `1year`, `12h` or plain seconds. A year has 365 days, a month 30.
pub(crate) fn parse_retention(text: &str) -> Option<Duration> {
    const DAY: u64 = 86_400;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits)?;
    let seconds = match unit.trim() {
        "" | "s" | "seconds" => 1,
        "m" | "minutes" => 60,
        "h" | "hours" => 3_600,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "month" | "months" => 30 * DAY,
        "y" | "year" | "years" => 365 * DAY,
        _ => return None,
    };
    count
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Document {
        Document::parse(text).unwrap()
    }

    fn agent(spec: &str) -> Result<Manifest, DecodeManifestError> {
        let text = format!(
            "apiVersion: ossa/v0.3.6\nkind: Agent\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"
        );
        Manifest::decode(&parsed(&text), &text)
    }

    #[test]
    fn the_overlay_stands_for_the_standards_fields() {
        let overlay = agent(
            "efficiency: {tier: standard, promptCaching: true}, security: {id: 'did:ossa:a-v1', scopes: ['read:x']}, \
             observability: {tracing: {provider: opentelemetry, enabled: true}}",
        )
        .unwrap();
        assert_eq!(overlay.overlay.efficiency_tier.as_deref(), Some("standard"));
        assert_eq!(overlay.overlay.prompt_caching, Some(true));
        assert_eq!(overlay.overlay.alias.as_deref(), Some("did:ossa:a-v1"));
        assert_eq!(overlay.overlay.scopes, ["read:x"]);
        assert_eq!(
            overlay.observability.trace_exporter.as_deref(),
            Some("otlp")
        );
        assert!(overlay.observability.tracing);
    }

    #[test]
    fn the_standards_fields_win_over_the_overlay() {
        let manifest = agent(
            "efficiency: {promptCaching: true}, token_efficiency: {prompt_caching: {enabled: false}}, \
             observability: {tracing: {provider: opentelemetry, exporter: jaeger}}",
        )
        .unwrap();
        assert_eq!(manifest.overlay.prompt_caching, Some(false));
        assert_eq!(
            manifest.observability.trace_exporter.as_deref(),
            Some("jaeger")
        );
    }

    #[test]
    fn types_what_the_schemas_leave_open() {
        check("security: {id: 5}", "spec.security.id");
        check(
            "efficiency: {promptCaching: sometimes}",
            "spec.efficiency.promptCaching",
        );
        check("tools: [{type: a2a}]", "spec.tools[0]");
        check(
            "tools: [{type: a2a, name: b, config: {skills: plan}}]",
            "spec.tools[0].config.skills",
        );
        check(
            "tools: [{type: mcp}, {type: kubernetes, config: {rules: [{apiGroups: [], resources: [], verbs: []}]}}]",
            "spec.tools[1].config.rules[0]",
        );
    }

    fn check(spec: &str, expected: &str) {
        match agent(spec).unwrap_err() {
            DecodeManifestError::Field {
                field,
                position: Some(Position { line: 4, .. }),
                ..
            } => {
                assert_eq!(field, expected);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn never_repeats_a_misplaced_string() {
        let error = agent("security: {scopes: hunter2-very-secret}").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn takes_the_namespace_from_the_first_place_that_has_one() {
        let kagent = "extensions: {kagent: {kubernetes: {namespace: here}}}";
        assert_eq!(agent(kagent).unwrap().namespace, "here");
        assert_eq!(agent("role: x").unwrap().namespace, "default");
    }

    #[test]
    fn other_kinds_are_not_agents() {
        let task = "apiVersion: ossa/v0.3.6\nkind: Task\nmetadata: {name: a}\nspec: {}\n";
        let error = Manifest::decode(&parsed(task), task).unwrap_err();
        assert_eq!(
            error,
            DecodeManifestError::NotAnAgent {
                kind: "Task".into()
            }
        );
    }

    #[test]
    fn reads_retention_in_the_forms_that_occur() {
        let days = |text| parse_retention(text).map(|d| d.as_secs() / 86_400);
        assert_eq!(days("2190d"), Some(2190));
        assert_eq!(days("90days"), Some(90));
        assert_eq!(days("7years"), Some(2555));
        assert_eq!(days("1year"), Some(365));
        assert_eq!(days("86400"), Some(1));
        assert_eq!(days("forever"), None);
        assert_eq!(days(""), None);
    }
}
