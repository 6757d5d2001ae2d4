//! Declared peers and places against the mesh.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Call, Document, Finding, Manifest, Mesh};

/// The mesh around a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Peers<'a> {
    /// mesh.yaml.
    pub mesh: &'a Mesh,
    /// All manifests of the mesh, the judged one among them or not.
    pub manifests: &'a [Manifest],
}

/// Every place that names the namespace.
const NAMESPACES: [&str; 4] = [
    "/metadata/namespace",
    "/runtime/kubernetes/namespace",
    "/spec/extensions/kagent/kubernetes/namespace",
    "/extensions/kagent/kubernetes/namespace",
];

pub(super) fn check(
    manifest: &Manifest,
    document: &Document,
    peers: Option<Peers<'_>>,
    findings: &mut Vec<Finding>,
) {
    namespaces(manifest, document.root(), findings);
    identities(document.root(), findings);
    endpoints(manifest, document.root(), findings);
    if let Some(peers) = peers {
        mesh(manifest, document.root(), peers, findings);
    }
}

fn namespaces(manifest: &Manifest, root: &Value, findings: &mut Vec<Finding>) {
    for place in NAMESPACES {
        match root.pointer(place).and_then(Value::as_str) {
            Some(namespace) if namespace != manifest.namespace => {
                let expected = format!("{}, as elsewhere in the manifest", manifest.namespace);
                findings.push(Finding::error("namespace", place, expected).got(namespace));
            }
            _ => {}
        }
    }
}

fn identities(root: &Value, findings: &mut Vec<Finding>) {
    let did = |place: &str| root.pointer(place).and_then(Value::as_str);
    let (one, other) = (
        did("/metadata/decentralized_identity/did"),
        did("/spec/identity/did"),
    );
    if let (Some(one), Some(other)) = (one, other)
        && one != other
    {
        let expected = format!("{one}, as metadata.decentralized_identity says");
        findings.push(Finding::error("OSSA-101", "/spec/identity/did", expected).got(other));
    }
}

/// The peers of kagent's `a2aConfig` must be edges, and no peer may be reached without TLS.
fn endpoints(manifest: &Manifest, root: &Value, findings: &mut Vec<Finding>) {
    let mut listed: Vec<(String, &str)> = Vec::new();
    for place in [
        "/spec/extensions/kagent/a2aConfig/endpoints",
        "/extensions/kagent/a2aConfig/endpoints",
    ] {
        let urls = root
            .pointer(place)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate();
        listed.extend(
            urls.filter_map(|(index, url)| Some((format!("{place}/{index}"), url.as_str()?))),
        );
    }
    for (pointer, url) in &listed {
        let host = url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(['/', ':', '.']).next())
            .unwrap_or(url);
        if !manifest.calls.iter().any(|call| call.agent == host) {
            let expected = "a peer that a tool of type a2a names too";
            findings.push(Finding::error("undeclared-peer", pointer, expected).got(host));
        }
    }
    let tools = root
        .pointer("/spec/tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate();
    let calls = tools.filter(|(_, tool)| tool.get("type").and_then(Value::as_str) == Some("a2a"));
    let urls = calls.filter_map(|(i, tool)| {
        Some((
            format!("/spec/tools/{i}/endpoint"),
            tool.get("endpoint")?.as_str()?,
        ))
    });
    for (pointer, url) in urls.chain(listed) {
        if url.starts_with("http://") {
            findings.push(
                Finding::error("plaintext-peer", pointer, "https between agents").got("http"),
            );
        }
    }
}

fn mesh(manifest: &Manifest, root: &Value, peers: Peers<'_>, findings: &mut Vec<Finding>) {
    match peers.mesh.agents.get(&manifest.name) {
        None => findings.push(
            Finding::error("not-in-mesh", "/metadata/name", "an agent of mesh.yaml")
                .got(&manifest.name),
        ),
        Some(member) if member.namespace != manifest.namespace => {
            let expected = format!("{}, as mesh.yaml says", member.namespace);
            findings.push(
                Finding::error("namespace", "/metadata/namespace", expected)
                    .got(&manifest.namespace),
            );
        }
        Some(_) => {}
    }
    let tools = root.pointer("/spec/tools").and_then(Value::as_array);
    let places = tools.into_iter().flatten().enumerate();
    let places = places.filter(|(_, tool)| tool.get("type").and_then(Value::as_str) == Some("a2a"));
    for (call, (index, _)) in manifest.calls.iter().zip(places) {
        edge(
            manifest,
            call,
            (peers, &format!("/spec/tools/{index}")),
            findings,
        );
    }
}

fn edge(
    manifest: &Manifest,
    call: &Call,
    (peers, pointer): (Peers<'_>, &str),
    findings: &mut Vec<Finding>,
) {
    let callee = peers
        .manifests
        .iter()
        .find(|other| other.name == call.agent);
    let Some(callee) = callee.filter(|_| call.agent != manifest.name) else {
        let expected = "another agent with a manifest in the mesh";
        findings.push(Finding::error("undeclared-peer", pointer, expected).got(&call.agent));
        return;
    };
    if call.skills.is_empty() {
        let expected = "config.skills, the skills it calls";
        findings.push(Finding::error("edge-without-skills", pointer, expected).got("none"));
    }
    let known: BTreeSet<&str> = callee
        .skills
        .iter()
        .map(|skill| skill.name.as_str())
        .collect();
    for skill in call
        .skills
        .iter()
        .filter(|skill| !known.contains(skill.as_str()))
    {
        let expected = format!("a skill of {}", call.agent);
        let pointer = format!("{pointer}/config/skills");
        findings.push(Finding::error("unknown-skill", pointer, expected).got(skill));
    }
}
