//! Metrics that every agent has, and their two text forms.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Upper bounds of the duration histograms, in seconds: sub-millisecond reads to half-hour migrations.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 1800.0,
];

/// Labels of a skill run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunLabels {
    /// Registered skill.
    pub skill: &'static str,
    /// Fixed word: `ok` or [`crate::SkillError::kind`].
    pub outcome: &'static str,
}

/// Label of a duration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SkillLabel {
    /// Registered skill.
    pub skill: &'static str,
}

/// Labels of a call between agents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EdgeLabels {
    /// Declared caller, or `unknown`.
    pub source_agent: String,
    /// Declared callee.
    pub target_agent: String,
    /// `ok`, `denied` or `error`.
    pub status: &'static str,
}

/// Labels of a dependency call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DependencyLabels {
    /// The system, for example `kubernetes`.
    pub dependency: String,
    /// Fixed word.
    pub outcome: &'static str,
}

/// Exemplar of a duration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    trace_id: String,
}

type Durations<L> =
    Family<L, HistogramWithExemplars<TraceLabel>, fn() -> HistogramWithExemplars<TraceLabel>>;

fn histogram() -> HistogramWithExemplars<TraceLabel> {
    HistogramWithExemplars::new(BUCKETS.into_iter())
}

/// The metrics of design every agent has.
#[derive(Debug, Clone)]
pub struct Metrics {
    runs: Family<RunLabels, Counter>,
    durations: Durations<SkillLabel>,
    requests: Family<EdgeLabels, Counter>,
    latency: Durations<EdgeLabels>,
    dependencies: Family<DependencyLabels, Counter>,
    /// Audit records that are not delivered yet.
    pub outbox_depth: Gauge,
}

impl Metrics {
    /// Registers them; call once an agent.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            runs: Family::default(),
            durations: Family::new_with_constructor(histogram),
            requests: Family::default(),
            latency: Family::new_with_constructor(histogram),
            dependencies: Family::default(),
            outbox_depth: Gauge::default(),
        };
        let Self {
            runs,
            durations,
            requests,
            latency,
            dependencies,
            outbox_depth,
        } = &metrics;
        registry.register(
            "agent_skill_runs",
            "Runs of a skill by outcome",
            runs.clone(),
        );
        registry.register(
            "agent_skill_duration_seconds",
            "Duration of skill runs",
            durations.clone(),
        );
        registry.register(
            "agent_mesh_requests",
            "Calls between agents as seen by this one",
            requests.clone(),
        );
        registry.register(
            "agent_mesh_latency_seconds",
            "Latency of calls to other agents",
            latency.clone(),
        );
        registry.register(
            "agent_dependency_requests",
            "Tool calls by dependency and outcome",
            dependencies.clone(),
        );
        registry.register(
            "agent_audit_outbox_depth",
            "Audit records not yet delivered",
            outbox_depth.clone(),
        );
        metrics
    }

    /// Counts one run.
    pub fn observe_run(
        &self,
        skill: &'static str,
        outcome: &'static str,
        took: Duration,
        trace_id: Option<&str>,
    ) {
        self.runs.get_or_create(&RunLabels { skill, outcome }).inc();
        self.durations.get_or_create(&SkillLabel { skill }).observe(
            took.as_secs_f64(),
            exemplar(trace_id),
            None,
        );
    }

    /// Counts one call that this agent answered or refused.
    pub fn observe_request(&self, source: &str, target: &str, status: &'static str) {
        self.requests
            .get_or_create(&EdgeLabels {
                source_agent: source.into(),
                target_agent: target.into(),
                status,
            })
            .inc();
    }

    /// Counts one call that this agent made, from `source` to `target`.
    pub fn observe_call(
        &self,
        (source, target): (&str, &str),
        status: &'static str,
        took: Duration,
        trace_id: Option<&str>,
    ) {
        let labels = EdgeLabels {
            source_agent: source.into(),
            target_agent: target.into(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.latency
            .get_or_create(&labels)
            .observe(took.as_secs_f64(), exemplar(trace_id), None);
    }

    /// Counts one tool call.
    pub fn observe_dependency(&self, dependency: &str, outcome: &'static str) {
        self.dependencies
            .get_or_create(&DependencyLabels {
                dependency: dependency.into(),
                outcome,
            })
            .inc();
    }
}

fn exemplar(trace_id: Option<&str>) -> Option<TraceLabel> {
    trace_id.map(|id| TraceLabel {
        trace_id: id.to_owned(),
    })
}

/// An agent's registry, shared with the metrics listener.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// Media type of the form with exemplars.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of the plain form.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the registry in the form that the scraper's `Accept` asks for. Exemplars under `text/plain` would
/// take the target down, so only a scraper that offers OpenMetrics gets them.
pub fn render(registry: &SharedRegistry, accept: &str) -> (&'static str, String) {
    let mut text = String::new();
    let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    if encode(&mut text, &registry).is_err() {
        text.clear();
    }
    if accept.contains("application/openmetrics-text") {
        (OPENMETRICS, text)
    } else {
        (PLAIN, plain(&text))
    }
}

/// Turns OpenMetrics text into the older Prometheus text: counters are typed by their full name, there is
/// no unit, no end mark and no exemplar.
fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((family, kind)) = rest.split_once(' ') else {
                continue;
            };
            let name = if kind == "counter" {
                format!("{family}_total")
            } else {
                family.to_owned()
            };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            let text = help
                .filter(|(of, _)| *of == family)
                .map_or("", |(_, text)| text);
            let _infallible = write!(out, "# HELP {name} {text}\n# TYPE {name} {kind}\n");
        } else if !line.starts_with('#') {
            let sample = line.split_once(" # {").map_or(line, |(sample, _)| sample);
            out.push_str(sample);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> SharedRegistry {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.observe_run(
            "detect_secrets",
            "ok",
            Duration::from_millis(3),
            Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        );
        Arc::new(Mutex::new(registry))
    }

    #[test]
    fn exemplars_only_go_to_scrapers_that_offer_openmetrics() {
        let (kind, open) = render(
            &registry(),
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        );
        assert_eq!(kind, OPENMETRICS);
        assert!(
            open.contains("# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}")
                && open.ends_with("# EOF\n")
        );
        let (kind, plain) = render(&registry(), "text/plain");
        assert_eq!(kind, PLAIN);
        assert!(!plain.contains("trace_id") && !plain.contains("EOF"));
    }

    #[test]
    fn plain_text_types_counters_by_their_sample_name() {
        let (_, plain) = render(&registry(), "");
        assert!(plain.contains("# TYPE agent_skill_runs_total counter\nagent_skill_runs_total{skill=\"detect_secrets\",outcome=\"ok\"} 1"), "{plain}");
    }
}
