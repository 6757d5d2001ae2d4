//! The rendered dashboards against the metrics that the agents really have.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::{collections::BTreeSet, fs, iter::once};

use common::{fleet, root, string, text};
use promql_parser::parser::{self, Expr};
use serde_json::Value;
use shared::telemetry::metrics::{Metrics, SharedRegistry};

/// Sample names of a metric, as a query may use them.
fn samples(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "histogram" => ["_bucket", "_sum", "_count"]
            .map(|suffix| format!("{name}{suffix}"))
            .into(),
        _ => vec![name.to_owned()],
    }
}

/// The names that every agent really serves.
fn shared_samples() -> BTreeSet<String> {
    let registry = SharedRegistry::default();
    let metrics = Metrics::register(&mut registry.lock().unwrap());
    let took = std::time::Duration::from_millis(1);
    metrics.observe_run("skill", "ok", took, None);
    metrics.observe_call(("a", "b"), "ok", took, None);
    metrics.observe_dependency("kubernetes", "ok");
    let (_, served) = shared::telemetry::metrics::render(&registry, "");
    let types = served
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.flat_map(|(name, kind)| samples(name, kind)).collect()
}

fn selected(expression: &Expr, into: &mut Vec<(String, BTreeSet<String>)>) {
    let mut select = |selector: &parser::VectorSelector| {
        let labels = selector
            .matchers
            .matchers
            .iter()
            .map(|matcher| matcher.name.clone())
            .collect();
        into.push((
            selector.name.clone().expect("a query names its metric"),
            labels,
        ));
    };
    match expression {
        Expr::VectorSelector(selector) => select(selector),
        Expr::MatrixSelector(matrix) => select(&matrix.vs),
        Expr::Aggregate(aggregate) => selected(&aggregate.expr, into),
        Expr::Paren(paren) => selected(&paren.expr, into),
        Expr::Binary(binary) => [&binary.lhs, &binary.rhs]
            .into_iter()
            .for_each(|side| selected(side, into)),
        Expr::Call(call) => call
            .args
            .args
            .iter()
            .for_each(|argument| selected(argument, into)),
        Expr::NumberLiteral(_) => {}
        other => panic!("unexpected in a dashboard: {other:?}"),
    }
}

fn dashboard(agent: &str) -> Value {
    serde_json::from_str(&text(&root().join(format!("deploy/grafana/{agent}.json")))).unwrap()
}

/// The source of an agent's metrics: `metrics.rs` and the files of its folder.
fn metrics_of(agent: &str) -> String {
    let module = root().join(format!("agents/{agent}/src/metrics"));
    let parts = fs::read_dir(&module).into_iter().flatten();
    let files = parts.map(|part| part.unwrap().path());
    once(module.with_extension("rs"))
        .chain(files)
        .map(|file| text(&file))
        .collect()
}

#[test]
fn no_panel_queries_a_metric_that_does_not_exist_and_every_metric_has_a_panel() {
    for manifest in &fleet().manifests {
        let mut known = shared_samples();
        let mut bases: BTreeSet<String> = BTreeSet::new();
        let source = metrics_of(&manifest.name);
        for metric in &manifest.observability.custom_metrics {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let registered = metric.name.strip_suffix("_total").unwrap_or(&metric.name);
            let in_seconds = registered
                .strip_suffix("_seconds")
                .filter(|_| source.contains("Unit::Seconds"));
            let mut literals = [Some(registered), in_seconds].into_iter().flatten();
            let is_registered = literals.any(|name| source.contains(&format!("\"{name}\"")));
            assert!(
                is_registered,
                "{} does not register {registered}",
                manifest.name
            );
            known.extend(samples(&metric.name, &kind));
            bases.insert(metric.name.clone());
        }
        let mut queried = BTreeSet::new();
        for panel in dashboard(&manifest.name)["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let query = string(&target["expr"]).replace("$__rate_interval", "5m");
                let parsed =
                    parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
                let mut found = Vec::new();
                selected(&parsed, &mut found);
                for (name, labels) in found {
                    assert!(
                        known.contains(&name),
                        "{}: {name} does not exist",
                        manifest.name
                    );
                    assert!(
                        ["job", "instance"]
                            .iter()
                            .all(|label| labels.contains(*label)),
                        "{query} ignores what was chosen"
                    );
                    queried.insert(name);
                }
            }
        }
        let unseen: Vec<&String> = bases
            .iter()
            .filter(|base| {
                !queried
                    .iter()
                    .any(|name| name == *base || *name == format!("{base}_bucket"))
            })
            .collect();
        assert!(
            unseen.is_empty(),
            "{}: no panel for {unseen:?}",
            manifest.name
        );
    }
}

#[test]
fn dashboards_follow_the_rules_of_good_dashboards() {
    let mut uids = BTreeSet::new();
    for manifest in &fleet().manifests {
        let dashboard = dashboard(&manifest.name);
        assert!(
            uids.insert(string(&dashboard["uid"]))
                && dashboard["uid"].as_str().unwrap().len() <= 40
        );
        assert_eq!(dashboard["editable"], false);
        let variables: Vec<String> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| string(&v["name"]))
            .collect();
        assert_eq!(variables, ["datasource", "job", "instance"]);
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            for field in ["title", "description"] {
                assert!(
                    panel[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{field} of {panel}"
                );
            }
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string()
                    && !panel["targets"].as_array().unwrap().is_empty()
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            assert!(ids.insert(panel["id"].as_u64()), "two panels with one id");
            assert!(
                places.insert((
                    panel["gridPos"]["x"].as_u64(),
                    panel["gridPos"]["y"].as_u64()
                )),
                "two panels in one place"
            );
            for target in panel["targets"].as_array().unwrap() {
                let query = string(&target["expr"]);
                let ranged = query.contains("rate(") || query.contains("increase(");
                assert_eq!(query.contains("[$__rate_interval]"), ranged, "{query}");
            }
        }
    }
}
