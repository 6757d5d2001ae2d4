//! What was seen, in sentences.

use std::collections::BTreeSet;

use super::View;
use crate::domain::{Key, PodState, WorkloadKind, health::Seen};

/// Most pods, and most other workloads, in the evidence.
const MOST: usize = 6;

/// The evidence of a finding.
pub(super) fn of(view: &View<'_>) -> Vec<String> {
    let workload = view.workload;
    let old_ready = |seen: &&Seen<'_>| !seen.current && seen.state == PodState::Ready;
    let mut evidence = vec![format!(
        "{} of {} pods available, {} updated; {} ready pods of earlier revisions",
        workload.available,
        workload.desired,
        workload.updated,
        view.pods.iter().filter(old_ready).count(),
    )];
    if workload.deadline_exceeded {
        evidence.push("the rollout exceeded its progress deadline".into());
    }
    evidence.extend(pods(view).into_iter().take(MOST));
    evidence.extend(surroundings(view));
    evidence.extend(view.requests.iter().flat_map(|r| r.evidence.clone()));
    let others: BTreeSet<&Key> = view.elsewhere().map(|mark| &mark.key).collect();
    let others = others.iter().take(MOST);
    evidence.extend(others.map(|key| format!("{key} has bad pods too")));
    evidence
}

fn pods(view: &View<'_>) -> Vec<String> {
    let bad = view
        .pods
        .iter()
        .filter_map(|seen| Some((seen, seen.bad()?)));
    bad.map(|(seen, reason)| {
        let age = if seen.current { "current" } else { "earlier" };
        let node = seen.pod.node.as_deref().unwrap_or("no node");
        format!(
            "pod {} of the {age} revision on {node}: {}, {} restarts",
            seen.pod.name,
            reason.as_str(),
            seen.pod.restarts()
        )
    })
    .collect()
}

fn surroundings(view: &View<'_>) -> Vec<String> {
    let (workload, around) = (view.workload, view.around);
    let mut seen = Vec::new();
    if let Some((refusal, since)) = &view.refusal {
        seen.push(format!(
            "pods cannot be made since {since}: {}",
            refusal.describe()
        ));
    }
    let nodes: BTreeSet<&str> = view
        .pods
        .iter()
        .filter(|seen| seen.bad().is_some())
        .filter_map(|seen| seen.pod.node.as_deref())
        .collect();
    for node in nodes {
        let troubles = around.troubles(node);
        let troubles: Vec<&str> = troubles.iter().map(|t| t.as_str()).collect();
        if !troubles.is_empty() {
            seen.push(format!("node {node} reports {}", troubles.join(", ")));
        }
        if around.is_cordoned(node) {
            seen.push(format!("node {node} is cordoned"));
        }
    }
    let evicted = view.pods.iter().filter(|seen| seen.pod.evicted).count();
    if evicted > 0 {
        seen.push(format!("{evicted} pods were evicted by their nodes"));
    }
    if let Some((name, since)) = around.limited(&workload.key) {
        seen.push(format!("autoscaler {name} is at its limit since {since}"));
    }
    if let Some(revision) = view.current {
        let namespace = &workload.key.namespace;
        if let Some((name, since)) = around.exhausted(namespace, &revision.template) {
            seen.push(format!(
                "disruption budget {name} allows none since {since}"
            ));
        }
        if let Some((config, at)) = around.changed_config(namespace, &revision.template) {
            seen.push(format!("{config} changed at {at}"));
        }
    }
    if let Some(since) = view.pending_since {
        seen.push(format!("a claim waits for its volume since {since}"));
    }
    if workload.lags() {
        seen.push("the controller has not seen the newest generation".into());
    }
    if workload.held > 0 && workload.key.kind != WorkloadKind::Deployment {
        let held = workload.held;
        seen.push(format!(
            "{held} pods are held on the earlier revision by the update strategy"
        ));
    }
    seen
}
