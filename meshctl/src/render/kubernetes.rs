//! `kubernetes/`: one file an agent, the namespaces, and a kustomization that applies all of it.

use std::collections::BTreeSet;

use manifest::{Fleet, Manifest};
use serde_json::{Value, json};

use super::{emit::yaml, site::Site};

mod access;
pub(crate) mod network;
mod profile;
mod workload;

/// Calls: number and name of the port. It is TCP to a service mesh, because the agents' own TLS goes through it.
pub(crate) const A2A: (u16, &str) = (8080, "tcp-a2a");
/// Probed by the kubelet.
pub(crate) const HEALTH: (u16, &str) = (8081, "http-health");
/// Scraped by Prometheus.
pub(crate) const METRICS: (u16, &str) = (9090, "http-metrics");
/// Webhooks of GitLab and Alertmanager, plain HTTP with a token or signature.
pub(crate) const WEBHOOKS: (u16, &str) = (8082, "http-webhooks");

/// Label that selects an agent's pods.
pub(crate) const NAME_LABEL: &str = "app.kubernetes.io/name";

/// The files of the folder, by name.
pub(crate) fn files(fleet: &Fleet, site: &Site) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![
        ("namespaces.yaml".into(), yaml(&namespaces(fleet))?),
        ("kustomization.yaml".into(), yaml(&[kustomization(fleet)])?),
        (
            "manifests/mesh.yaml".into(),
            serde_saphyr::to_string(&fleet.mesh)?,
        ),
    ];
    for manifest in &fleet.manifests {
        let name = &manifest.name;
        files.push((format!("{name}.yaml"), yaml(&agent(fleet, site, manifest))?));
        files.push((
            format!("manifests/{name}.ossa.yaml"),
            manifest.source().to_owned(),
        ));
    }
    Ok(files)
}

/// The namespaces of the mesh's agents.
pub(crate) fn namespaces_of(fleet: &Fleet) -> BTreeSet<&str> {
    fleet
        .manifests
        .iter()
        .map(|manifest| manifest.namespace.as_str())
        .collect()
}

/// Name, namespace and the recommended labels of an object that belongs to an agent.
pub(crate) fn metadata(manifest: &Manifest, name: &str, namespace: &str) -> Value {
    json!({"name": name, "namespace": namespace, "labels": labels(manifest)})
}

fn labels(manifest: &Manifest) -> Value {
    json!({
        NAME_LABEL: manifest.name,
        "app.kubernetes.io/part-of": "agent-mesh",
        "app.kubernetes.io/managed-by": "meshctl",
    })
}

fn agent(fleet: &Fleet, site: &Site, manifest: &Manifest) -> Vec<Value> {
    let mut objects = workload::objects(site, manifest);
    objects.extend(access::objects(fleet, manifest));
    objects.push(network::policy(fleet, site, manifest));
    objects
}

/// Namespaces under the restricted Pod Security level, closed in both directions until a policy opens something.
fn namespaces(fleet: &Fleet) -> Vec<Value> {
    let objects = |name| {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/part-of": "agent-mesh",
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/audit": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            }},
        });
        [namespace, network::default_deny(name)]
    };
    namespaces_of(fleet).into_iter().flat_map(objects).collect()
}

/// Every agent loads all manifests, so each namespace gets them as a `ConfigMap`; its name carries a hash, and pods
/// restart when a manifest changes.
fn kustomization(fleet: &Fleet) -> Value {
    let agents = || {
        fleet
            .manifests
            .iter()
            .map(|manifest| manifest.name.as_str())
    };
    let files: Vec<String> = agents()
        .map(|name| format!("manifests/{name}.ossa.yaml"))
        .chain(["manifests/mesh.yaml".to_owned()])
        .collect();
    let maps: Vec<Value> = namespaces_of(fleet)
        .into_iter()
        .map(|namespace| json!({"name": workload::MANIFESTS, "namespace": namespace, "files": files}))
        .collect();
    let resources: Vec<String> = ["namespaces.yaml".to_owned()]
        .into_iter()
        .chain(agents().map(|name| format!("{name}.yaml")))
        .collect();
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
        "configMapGenerator": maps,
    })
}
