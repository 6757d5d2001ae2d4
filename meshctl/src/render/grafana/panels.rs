//! What is drawn, and by which queries.

use manifest::{Manifest, Metric, MetricKind};
use serde_json::{Value, json};

/// Restricts a query to what was chosen on the dashboard.
const CHOSEN: &str = "job=~\"$job\", instance=~\"$instance\"";

/// One time series panel.
#[derive(Debug)]
pub(crate) struct Panel {
    title: String,
    description: String,
    unit: &'static str,
    /// Expressions with their legends.
    queries: Vec<(String, String)>,
}

impl Panel {
    fn new(title: impl Into<String>, description: impl Into<String>, unit: &'static str) -> Self {
        let (title, description) = (title.into(), description.into());
        Self {
            title,
            description,
            unit,
            queries: Vec::new(),
        }
    }

    fn query(mut self, expression: String, legend: impl Into<String>) -> Self {
        self.queries.push((expression, legend.into()));
        self
    }

    /// Median and tail of a histogram.
    fn quantiles(mut self, metric: &str, filter: &str, by: &[String]) -> Self {
        let labels = [&["le".to_owned()], by].concat().join(", ");
        let legend = legend(by);
        for (quantile, name) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
            let buckets = format!("rate({metric}_bucket{{{CHOSEN}{filter}}}[$__rate_interval])");
            let expression =
                format!("histogram_quantile({quantile}, sum by ({labels}) ({buckets}))");
            self = self.query(expression, format!("{name} {legend}").trim_end());
        }
        self
    }

    /// The panel as Grafana reads it.
    pub(crate) fn json(&self, id: usize, place: &Value) -> Value {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        let target = |(at, (expression, legend)): (usize, &(String, String))| {
            json!({
                "refId": format!("Q{at}"), "datasource": source, "expr": expression,
                "legendFormat": legend, "exemplar": expression.contains("_bucket"), "range": true,
            })
        };
        json!({
            "id": id, "type": "timeseries", "title": self.title, "description": self.description,
            "gridPos": place, "datasource": source,
            "targets": self.queries.iter().enumerate().map(target).collect::<Vec<_>>(),
            "fieldConfig": {
                "defaults": {"unit": self.unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
                "overrides": [],
            },
            "options": {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        })
    }
}

/// The panels of an agent: its own metrics first, then what all agents have.
pub(crate) fn all(manifest: &Manifest) -> Vec<Panel> {
    let own = manifest.observability.custom_metrics.iter().map(custom);
    own.chain(skills()).chain(mesh(&manifest.name)).collect()
}

fn custom(metric: &Metric) -> Panel {
    let Metric {
        name,
        kind,
        description,
        labels,
    } = metric;
    let panel = Panel::new(
        title(name),
        description.clone().unwrap_or_else(|| name.clone()),
        unit(metric),
    );
    let by = by(labels);
    match kind {
        MetricKind::Counter => {
            let grown = format!("sum {by}(increase({name}{{{CHOSEN}}}[$__rate_interval]))");
            panel.query(grown, legend(labels))
        }
        MetricKind::Gauge => panel.query(format!("max {by}({name}{{{CHOSEN}}})"), legend(labels)),
        MetricKind::Histogram => panel.quantiles(name, "", labels),
    }
}

fn skills() -> [Panel; 3] {
    let rate = |filter: &str| {
        format!("rate(agent_skill_runs_total{{{CHOSEN}{filter}}}[$__rate_interval])")
    };
    let runs = Panel::new(
        "Skill runs",
        "Runs of skills a second, by skill and outcome.",
        "ops",
    );
    let failing = Panel::new(
        "Share of failed runs",
        "Runs that did not end well, of all runs of the skill.",
        "percentunit",
    );
    let duration = Panel::new(
        "Duration of skill runs",
        "From the start of a run to its end, with exemplars that lead to traces.",
        "s",
    );
    let [all, failed] = [rate(""), rate(", outcome!=\"ok\"")];
    let share = format!("sum by (skill) ({failed}) / sum by (skill) ({all})");
    [
        runs.query(
            format!("sum by (skill, outcome) ({all})"),
            "{{skill}} {{outcome}}",
        ),
        failing.query(share, "{{skill}}"),
        duration.quantiles("agent_skill_duration_seconds", "", &["skill".to_owned()]),
    ]
}

fn mesh(agent: &str) -> [Panel; 5] {
    let calls = |filter: &str, by: &str| {
        format!(
            "sum by ({by}, status) (rate(agent_mesh_requests_total{{{CHOSEN}, {filter}}}[$__rate_interval]))"
        )
    };
    let [from, to] = [
        format!("source_agent=\"{agent}\""),
        format!("target_agent=\"{agent}\""),
    ];
    let answered = Panel::new(
        "Calls answered",
        "Calls to this agent a second, by caller; `denied` was refused by the edges.",
        "reqps",
    );
    let made = Panel::new(
        "Calls made",
        "Calls of this agent to others a second, by callee.",
        "reqps",
    );
    let latency = Panel::new(
        "Latency of calls made",
        "From request to answer, as this agent saw it.",
        "s",
    );
    let tools = Panel::new(
        "Dependencies",
        "Tool calls a second, by system and outcome.",
        "ops",
    );
    let outbox = Panel::new(
        "Audit outbox",
        "Audit records that are not delivered yet; a full outbox stops mutating work.",
        "short",
    );
    let used = format!(
        "sum by (dependency, outcome) (rate(agent_dependency_requests_total{{{CHOSEN}}}[$__rate_interval]))"
    );
    [
        answered.query(calls(&to, "source_agent"), "{{source_agent}} {{status}}"),
        made.query(calls(&from, "target_agent"), "{{target_agent}} {{status}}"),
        latency.quantiles(
            "agent_mesh_latency_seconds",
            &format!(", {from}"),
            &["target_agent".to_owned()],
        ),
        tools.query(used, "{{dependency}} {{outcome}}"),
        outbox.query(
            format!("max by (instance) (agent_audit_outbox_depth{{{CHOSEN}}})"),
            "{{instance}}",
        ),
    ]
}

/// `rollbacks_triggered_total` reads "Rollbacks triggered".
fn title(metric: &str) -> String {
    let base = ["_total", "_seconds", "_usd", "_bytes"]
        .iter()
        .find_map(|suffix| metric.strip_suffix(suffix));
    let words = base.unwrap_or(metric).replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Grafana's unit, by the metric's own suffix: scores go from 0 to 100, rates and ratios from 0 to 1.
fn unit(metric: &Metric) -> &'static str {
    let units = [
        ("_seconds", "s"),
        ("_usd", "currencyUSD"),
        ("_bytes", "bytes"),
        ("_score", "percent"),
        ("_rate", "percentunit"),
        ("_ratio", "percentunit"),
    ];
    let found = units
        .iter()
        .find(|(suffix, _)| metric.name.ends_with(suffix));
    found.map_or("short", |(_, unit)| unit)
}

fn by(labels: &[String]) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("by ({}) ", labels.join(", "))
    }
}

fn legend(labels: &[String]) -> String {
    labels
        .iter()
        .map(|label| format!("{{{{{label}}}}}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_become_titles_and_units() {
        let metric = |name: &str| Metric {
            name: name.into(),
            kind: MetricKind::Gauge,
            description: None,
            labels: Vec::new(),
        };
        for (name, expected) in [
            ("mttr_seconds", ("Mttr", "s")),
            (
                "rollbacks_triggered_total",
                ("Rollbacks triggered", "short"),
            ),
            ("compliance_score", ("Compliance score", "percent")),
            (
                "rollback_success_rate",
                ("Rollback success rate", "percentunit"),
            ),
            (
                "potential_savings_usd",
                ("Potential savings", "currencyUSD"),
            ),
        ] {
            assert_eq!(
                (title(name).as_str(), unit(&metric(name))),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_histogram_is_drawn_by_its_labels() {
        let panel =
            Panel::new("t", "d", "s").quantiles("scan_duration_seconds", "", &["kind".to_owned()]);
        let (expression, legend) = panel.queries.first().unwrap();
        assert_eq!(
            expression,
            "histogram_quantile(0.5, sum by (le, kind) (rate(scan_duration_seconds_bucket{job=~\"$job\", instance=~\"$instance\"}[$__rate_interval])))"
        );
        assert_eq!(legend, "p50 {{kind}}");
    }
}
