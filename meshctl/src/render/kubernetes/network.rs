//! Who may open a connection to whom: the edges of the manifests, and what an agent needs around the mesh.

use manifest::{Caller, Fleet, Manifest};
use serde_json::{Value, json};

use super::{A2A, METRICS, NAME_LABEL, WEBHOOKS, metadata, profile::profile};
use crate::render::site::Site;

/// Label that an operator puts on a namespace from which an external caller of mesh.yaml calls. It opens the
/// port only: who calls is proven by the certificate.
const EXTERNAL_LABEL: &str = "agent-mesh/external-caller";
/// Label that an operator puts on a namespace from which webhooks come, for example that of the ingress. It opens
/// the port only: who sends is proven by token or signature.
const SENDER_LABEL: &str = "agent-mesh/webhook-sender";
/// Label that Kubernetes itself puts on every namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// Nothing in and nothing out, for every pod of the namespace.
pub(super) fn default_deny(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "agent-mesh"}},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// What is open to one agent, and from it.
pub(super) fn policy(fleet: &Fleet, site: &Site, manifest: &Manifest) -> Value {
    let mut ingress = Vec::new();
    let callers = callers(fleet, &manifest.name);
    if !callers.is_empty() {
        ingress.push(json!({"from": callers, "ports": tcp(&[A2A.0])}));
    }
    ingress
        .push(json!({"from": [namespace(&site.monitoring_namespace)], "ports": tcp(&[METRICS.0])}));
    if profile(&manifest.name, site).webhooks {
        let senders = json!({"namespaceSelector": {"matchLabels": {SENDER_LABEL: "true"}}});
        let from = [namespace(&site.monitoring_namespace), senders];
        ingress.push(json!({"from": from, "ports": tcp(&[WEBHOOKS.0])}));
    }
    document(
        manifest,
        &manifest.name,
        &ingress,
        &egress(fleet, site, manifest),
    )
}

/// A policy for an agent's pods.
pub(crate) fn document(
    manifest: &Manifest,
    name: &str,
    ingress: &[Value],
    egress: &[Value],
) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(manifest, name, &manifest.namespace),
        "spec": {
            "podSelector": {"matchLabels": {NAME_LABEL: manifest.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    })
}

/// Where calls to an agent may come from.
pub(crate) fn callers(fleet: &Fleet, agent: &str) -> Vec<Value> {
    let peers = fleet
        .edges()
        .callers(agent)
        .filter_map(|(caller, _)| match caller {
            Caller::Agent(name) => fleet.manifest(name).map(pods),
            Caller::External(name) => {
                Some(json!({"namespaceSelector": {"matchLabels": {EXTERNAL_LABEL: name}}}))
            }
        });
    peers.collect()
}

/// The agents that an agent calls.
pub(crate) fn callees(fleet: &Fleet, agent: &str) -> Vec<Value> {
    let own = Caller::agent(agent);
    let callees = fleet.edges().callees(&own);
    callees
        .filter_map(|(name, _)| fleet.manifest(name).map(pods))
        .collect()
}

/// All pods of a namespace.
pub(crate) fn namespace(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}})
}

/// TCP ports of a rule.
pub(crate) fn tcp(ports: &[u16]) -> Vec<Value> {
    ports
        .iter()
        .map(|port| json!({"protocol": "TCP", "port": port}))
        .collect()
}

/// The pods of an agent.
fn pods(manifest: &Manifest) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: manifest.namespace}},
        "podSelector": {"matchLabels": {NAME_LABEL: manifest.name}},
    })
}

fn egress(fleet: &Fleet, site: &Site, manifest: &Manifest) -> Vec<Value> {
    let profile = profile(&manifest.name, site);
    let dns = json!({
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    });
    let mut rules = vec![json!({
        "to": [dns],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    })];
    let callees = callees(fleet, &manifest.name);
    if !callees.is_empty() {
        rules.push(json!({"to": callees, "ports": tcp(&[A2A.0])}));
    }
    let mut monitoring = vec![4317];
    monitoring.extend(profile.prometheus.then_some(9090));
    monitoring.extend(profile.alertmanager);
    rules.push(json!({"to": [namespace(&site.monitoring_namespace)], "ports": tcp(&monitoring)}));
    let network = |cidr: &str, ports: &[u16]| json!({"to": [{"ipBlock": {"cidr": cidr}}], "ports": tcp(ports)});
    if profile.cluster {
        rules.push(network(&site.api_server_cidr, &[443, 6443]));
    }
    if profile.databases {
        rules.push(network(&site.database_cidr, &[5432]));
    }
    if let Some(port) = profile.gitlab {
        rules.push(network(&site.gitlab_cidr, &[port]));
    }
    rules
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        site: Site,
    }

    fn fleet() -> Fleet {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        manifest::load_dir(&manifests).unwrap()
    }

    fn opened(flags: &[&str], agent: &str) -> Vec<Value> {
        let site = Cli::parse_from([&["render"], flags].concat()).site;
        let fleet = fleet();
        egress(&fleet, &site, fleet.manifest(agent).unwrap())
    }

    #[test]
    fn gitlab_and_alertmanager_are_reached_by_those_who_use_them_and_only_when_asked_for() {
        let flags = [
            "--gitlab-url",
            "https://gitlab.example.com",
            "--gitlab-cidr",
            "10.9.0.0/24",
            "--alertmanager-url",
            "http://alertmanager.monitoring.svc:9093",
        ];
        let gitlab = json!({"to": [{"ipBlock": {"cidr": "10.9.0.0/24"}}], "ports": tcp(&[443])});
        for agent in fleet().mesh.agents.keys() {
            let uses = ["monitoring-agent", "rollback-coordinator"].contains(&agent.as_str());
            let rules = opened(&flags, agent);
            assert_eq!(rules.contains(&gitlab), uses, "{agent}");
            let told = json!(rules).to_string().contains("9093");
            assert_eq!(told, agent == "monitoring-agent", "{agent}");
            let default = json!(opened(&[], agent)).to_string();
            assert!(!default.contains("9093"), "{agent}");
            assert_eq!(
                rules.len() - usize::from(uses),
                opened(&[], agent).len(),
                "{agent}"
            );
        }
    }
}
