//! Objectives as `OpenSLO` documents: the one vendor-neutral format, which Sloth and others read too.

use serde_json::Value;

use super::{DAY, HOUR, MINUTE};
use crate::domain::{Key, WorkloadKind};

/// Where a query takes its window from, as with Sloth.
pub const WINDOW: &str = "{{.window}}";
/// Annotation that names the workload which serves the requests: `namespace/Kind/name`.
const WORKLOAD: &str = "ossa.io/workload";
/// Annotation with a query for the 95th percentile of latency, in seconds.
const LATENCY: &str = "ossa.io/latency-p95-query";
/// Longest query.
const MAX_QUERY: usize = 4_096;
/// Period when a document names none: 30 days.
const PERIOD_MS: i64 = 30 * DAY;

/// One objective: the share of requests of a workload that have to be good.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Its name.
    pub name: String,
    /// The service it is about.
    pub service: String,
    /// The workload that serves the requests.
    pub workload: Key,
    /// The share of good requests that is promised, below 1.
    pub target: f64,
    /// The period of the promise.
    pub period_ms: i64,
    /// A query in `PromQL`: good or bad requests a second over `{{.window}}`.
    pub counted: Counted,
    /// A query in `PromQL`: all requests a second over `{{.window}}`.
    pub total: String,
    /// A query in `PromQL`: the 95th percentile of latency over `{{.window}}`.
    pub latency: Option<String>,
}

/// Which requests the other query counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The good ones.
    Good(String),
    /// The bad ones.
    Bad(String),
}

impl Counted {
    /// The query.
    pub fn query(&self) -> &str {
        match self {
            Self::Good(query) | Self::Bad(query) => query,
        }
    }
}

impl Objective {
    /// The share of requests that may be bad.
    pub fn budget(&self) -> f64 {
        1.0 - self.target
    }
}

/// A query for one window.
pub fn with_window(query: &str, window_ms: i64) -> String {
    query.replace(WINDOW, &format!("{}s", window_ms / 1_000))
}

/// Why a document is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("objective {name:?}: {field} has to be {expected}")]
pub struct ParseObjectiveError {
    name: String,
    field: &'static str,
    expected: &'static str,
}

/// Reads one `OpenSLO` document; `None` when it is of another kind (a Service, an alert policy).
///
/// # Errors
/// When an SLO lacks something, or uses what is not supported.
pub fn parse(document: &Value) -> Result<Option<Objective>, ParseObjectiveError> {
    if text(document, "/kind") != Some("SLO") {
        return Ok(None);
    }
    let name = text(document, "/metadata/name").unwrap_or_default();
    let wrong = |(field, expected)| ParseObjectiveError {
        name: name.to_owned(),
        field,
        expected,
    };
    read(name, document).map(Some).map_err(wrong)
}

/// A field, and what was expected of it.
type Wrong = (&'static str, &'static str);

fn read(name: &str, document: &Value) -> Result<Objective, Wrong> {
    if text(document, "/apiVersion") != Some("openslo/v1") {
        return Err(("apiVersion", "openslo/v1"));
    }
    if name.is_empty() {
        return Err(("metadata.name", "a name"));
    }
    let workload = annotation(document, WORKLOAD).and_then(key).ok_or((
        "metadata.annotations.ossa.io/workload",
        "namespace/Deployment|StatefulSet|DaemonSet/name",
    ))?;
    let target = document.pointer("/spec/objectives/0/target");
    let target = target.and_then(Value::as_f64);
    let target = target
        .filter(|t| *t > 0.0 && *t < 1.0)
        .ok_or(("spec.objectives[0].target", "a share above 0 and below 1"))?;
    let window = text(document, "/spec/timeWindow/0/duration");
    let period_ms = window.map_or(Some(PERIOD_MS), duration).ok_or((
        "spec.timeWindow[0].duration",
        "weeks, days, hours or minutes: 4w, 30d",
    ))?;
    let (counted, total) = ratio(document)?;
    let latency = annotation(document, LATENCY);
    if latency.is_some_and(|query| !is_windowed(query)) {
        let field = "metadata.annotations.ossa.io/latency-p95-query";
        return Err((field, "a query over {{.window}}"));
    }
    Ok(Objective {
        name: name.to_owned(),
        service: text(document, "/spec/service").unwrap_or(name).to_owned(),
        workload,
        target,
        period_ms,
        counted,
        total,
        latency: latency.map(str::to_owned),
    })
}

/// The queries of the ratio: good or bad requests, and all of them.
fn ratio(document: &Value) -> Result<(Counted, String), Wrong> {
    let field = "spec.indicator.spec.ratioMetric";
    let query = |side| {
        let metric = document.pointer("/spec/indicator/spec/ratioMetric")?;
        let query = text(metric, &format!("/{side}/metricSource/spec/query"))?;
        is_windowed(query).then(|| query.to_owned())
    };
    let good = || query("good").map(Counted::Good);
    let counted = query("bad").map(Counted::Bad).or_else(good);
    let rate = "bad or good with a query for a rate over {{.window}}";
    let all = "total with a query for a rate over {{.window}}";
    let counted = counted.ok_or((field, rate))?;
    Ok((counted, query("total").ok_or((field, all))?))
}

fn is_windowed(query: &str) -> bool {
    query.contains(WINDOW) && query.len() <= MAX_QUERY
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn annotation<'a>(document: &'a Value, name: &str) -> Option<&'a str> {
    document
        .pointer("/metadata/annotations")?
        .get(name)?
        .as_str()
}

fn key(text: &str) -> Option<Key> {
    let mut parts = text.split('/');
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = WorkloadKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
    let whole = parts.next().is_none() && !namespace.is_empty() && !name.is_empty();
    whole.then(|| Key {
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
    })
}

/// `30d`, `4w`, `12h`, `90m`.
fn duration(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let unit = match unit {
        'w' => 7 * DAY,
        'd' => DAY,
        'h' => HOUR,
        'm' => MINUTE,
        _ => return None,
    };
    number.checked_mul(unit).filter(|millis| *millis > 0)
}
