//! `meshctl manifest show`: what an agent would rely on.

use std::collections::BTreeSet;

use ::manifest::{Caller, Document, Edges, KubernetesRule, Manifest, Metric};
use anyhow::Context as _;

use super::{Neighbours, Show, read};
use crate::table::table;

pub(super) fn show(args: &Show) -> anyhow::Result<bool> {
    let mut manifests = Vec::new();
    for file in &args.files {
        let text = read(file)?;
        let document =
            Document::parse(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        let manifest = Manifest::decode(&document, &text)
            .with_context(|| format!("cannot show {}", file.display()))?;
        manifests.push((file, manifest));
    }
    if args.json {
        let shown: Vec<&Manifest> = manifests.iter().map(|(_, manifest)| manifest).collect();
        crate::say(format_args!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({"manifests": shown}))?
        ));
        return Ok(true);
    }
    for (file, manifest) in &manifests {
        let edges = Neighbours::of(file)?.and_then(|neighbours| neighbours.edges());
        crate::say(format_args!(
            "{}",
            table(["field", "value"], facts(manifest, edges.as_ref()))
        ));
    }
    Ok(true)
}

fn facts(manifest: &Manifest, edges: Option<&Edges>) -> Vec<[String; 2]> {
    let facts = [who(manifest), may(manifest, edges), must(manifest)];
    let rows = facts.into_iter().flatten();
    rows.map(|(field, value)| [field.to_owned(), value])
        .collect()
}

/// A field and its value; a dash where the manifest says nothing.
type Fact = (&'static str, String);

fn who(manifest: &Manifest) -> Vec<Fact> {
    let uri = format!("agent://{}/{}", manifest.namespace, manifest.name);
    let tier = manifest.tier().map(|tier| tier.as_str().to_owned());
    vec![
        ("agent", uri),
        ("version", known(manifest.version.clone())),
        ("standard", manifest.api_version.clone()),
        ("tier", known(tier)),
        ("role", known(manifest.separation.role.clone())),
    ]
}

fn may(manifest: &Manifest, edges: Option<&Edges>) -> Vec<Fact> {
    let skills = manifest.skills.iter().map(|skill| {
        let approval = manifest.needs_approval(&skill.name);
        format!(
            "{}{}",
            skill.name,
            if approval { " (needs approval)" } else { "" }
        )
    });
    let calls = manifest
        .calls
        .iter()
        .map(|call| format!("{}: {}", call.agent, call.skills.join(" ")));
    let callers = edges
        .into_iter()
        .flat_map(|edges| edges.callers(&manifest.name));
    vec![
        ("skills", lines(skills)),
        (
            "blocked",
            lines(manifest.autonomy.blocked_actions.iter().cloned()),
        ),
        ("calls", lines(calls)),
        (
            "called by",
            lines(callers.map(|(caller, skills)| called_by(caller, skills))),
        ),
        (
            "cluster",
            lines(manifest.kubernetes_rules().iter().map(cluster_rule)),
        ),
    ]
}

fn must(manifest: &Manifest) -> Vec<Fact> {
    let guardrails = &manifest.guardrails;
    let rate = guardrails.rate_limit.map(|limit| {
        format!(
            "{} requests a minute, {} at once",
            limit.requests_per_minute, limit.burst
        )
    });
    let calls = guardrails
        .max_tool_calls
        .map(|calls| format!("{calls} tool calls a run"));
    let time = guardrails
        .max_execution_time
        .map(|time| format!("{} s a run", time.as_secs()));
    let retention = manifest
        .retention
        .map(|kept| format!("{} days", kept.as_secs() / 86_400));
    vec![
        (
            "frameworks",
            lines(manifest.compliance.frameworks.iter().cloned()),
        ),
        (
            "data residency",
            known(manifest.data_residency().map(str::to_owned)),
        ),
        ("retention", known(retention)),
        ("limits", lines([rate, calls, time].into_iter().flatten())),
        (
            "metrics",
            lines(manifest.observability.custom_metrics.iter().map(metric)),
        ),
        ("overlay", lines(overlay(manifest))),
    ]
}

fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn lines(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    known((!items.is_empty()).then(|| items.join("\n")))
}

fn called_by(caller: &Caller, skills: &BTreeSet<String>) -> String {
    let outside = if matches!(caller, Caller::External(_)) {
        " (external)"
    } else {
        ""
    };
    let skills: Vec<&str> = skills.iter().map(String::as_str).collect();
    format!("{}{outside}: {}", caller.name(), skills.join(" "))
}

fn cluster_rule(rule: &KubernetesRule) -> String {
    format!(
        "{:?}: {} {}",
        rule.scope,
        rule.verbs.join(","),
        rule.resources.join(",")
    )
    .to_lowercase()
}

fn metric(metric: &Metric) -> String {
    if metric.labels.is_empty() {
        metric.name.clone()
    } else {
        format!("{}{{{}}}", metric.name, metric.labels.join(","))
    }
}

fn overlay(manifest: &Manifest) -> Vec<String> {
    let overlay = &manifest.overlay;
    let scopes =
        (!overlay.scopes.is_empty()).then(|| format!("scopes: {}", overlay.scopes.join(" ")));
    [
        overlay
            .alias
            .as_ref()
            .map(|alias| format!("alias: {alias}")),
        scopes,
        overlay
            .efficiency_tier
            .as_ref()
            .map(|tier| format!("efficiency tier: {tier}")),
        overlay
            .prompt_caching
            .map(|caching| format!("prompt caching: {caching}")),
        overlay
            .tracing_provider
            .as_ref()
            .map(|provider| format!("tracing provider: {provider}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
