//! What an agent may do in the cluster: its manifest's rules, in its target namespaces and nowhere else.

use manifest::{Fleet, KubernetesScope, Manifest};
use serde_json::{Value, json};

use super::metadata;

/// A Role and its binding in every target namespace; a `ClusterRole` only for what belongs to no namespace.
pub(super) fn objects(fleet: &Fleet, manifest: &Manifest) -> Vec<Value> {
    let mut objects = Vec::new();
    let namespaced = rules(manifest, KubernetesScope::Namespace);
    if !namespaced.is_empty() {
        for target in fleet.mesh.targets(&manifest.name) {
            let head = metadata(manifest, &manifest.name, target);
            objects.push(role("Role", &head, &namespaced));
            objects.push(binding(manifest, "Role", &head));
        }
    }
    let cluster = rules(manifest, KubernetesScope::Cluster);
    if !cluster.is_empty() {
        let mut head = metadata(manifest, &format!("agent-mesh-{}", manifest.name), "");
        if let Some(head) = head.as_object_mut() {
            head.remove("namespace");
        }
        objects.push(role("ClusterRole", &head, &cluster));
        objects.push(binding(manifest, "ClusterRole", &head));
    }
    objects
}

fn rules(manifest: &Manifest, scope: KubernetesScope) -> Vec<Value> {
    let rules = manifest.kubernetes_rules().iter();
    rules
        .filter(|rule| rule.scope == scope)
        .map(|rule| json!({"apiGroups": rule.api_groups, "resources": rule.resources, "verbs": rule.verbs}))
        .collect()
}

fn role(kind: &str, head: &Value, rules: &[Value]) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": head, "rules": rules})
}

fn binding(manifest: &Manifest, kind: &str, head: &Value) -> Value {
    let role = head.get("name").cloned();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": head,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": manifest.name, "namespace": manifest.namespace}],
    })
}
