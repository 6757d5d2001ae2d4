//! Service account, volume, Deployment and Service of an agent.

use manifest::Manifest;
use serde_json::{Value, json};

use super::{
    A2A, HEALTH, METRICS, NAME_LABEL, WEBHOOKS, labels, metadata,
    profile::{DATA, Profile, SECRET_MODE, profile},
};
use crate::render::site::Site;

/// `ConfigMap` with all manifests; the kustomization makes it.
pub(super) const MANIFESTS: &str = "agent-manifests";
/// `ConfigMap` with directory.json.
const DIRECTORY: &str = "agent-directory";
/// User, group and owner of volumes.
const UID: u32 = 65_532;
/// Seconds to drain after SIGTERM. The pod gets 25 more: 5 to flush audit and traces, 20 in reserve.
const DRAIN_SECONDS: u32 = 20;
const GRACE_SECONDS: u32 = DRAIN_SECONDS + 25;

/// The objects that run an agent.
pub(super) fn objects(site: &Site, manifest: &Manifest) -> Vec<Value> {
    let (name, namespace) = (&manifest.name, &manifest.namespace);
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(manifest, name, namespace),
        "automountServiceAccountToken": false,
    });
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(manifest, &format!("{name}-data"), namespace),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage(name)}},
        },
    });
    vec![
        account,
        claim,
        deployment(site, manifest),
        service(site, manifest),
    ]
}

/// The auditor keeps everybody's records for years; the others keep tasks for days and an outbox.
fn storage(agent: &str) -> &'static str {
    match agent {
        "compliance-auditor" => "10Gi",
        _ => "1Gi",
    }
}

fn service(site: &Site, manifest: &Manifest) -> Value {
    let mut head = metadata(manifest, &manifest.name, &manifest.namespace);
    if let Some(head) = head.as_object_mut() {
        let uri = format!("agent://{}/{}", manifest.namespace, manifest.name);
        head.insert("annotations".into(), json!({"ossa.io/agent-uri": uri}));
    }
    let plain = |(number, name): (u16, &str)| json!({"name": name, "port": number, "targetPort": name, "protocol": "TCP", "appProtocol": "http"});
    let mut ports = vec![
        json!({"name": A2A.1, "port": A2A.0, "targetPort": A2A.1, "protocol": "TCP"}),
        plain(METRICS),
    ];
    ports.extend(
        profile(&manifest.name, site)
            .webhooks
            .then(|| plain(WEBHOOKS)),
    );
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": head,
        "spec": {
            "type": "ClusterIP",
            "selector": {NAME_LABEL: manifest.name},
            "ports": ports,
        },
    })
}

/// One replica that is replaced, not rolled: its store is a file on a volume of one writer.
fn deployment(site: &Site, manifest: &Manifest) -> Value {
    let profile = profile(&manifest.name, site);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(manifest, &manifest.name, &manifest.namespace),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 5,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {NAME_LABEL: manifest.name}},
            "template": {
                "metadata": {
                    "labels": labels(manifest),
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": "agent",
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": METRICS.0.to_string(),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": pod(site, manifest, &profile),
            },
        },
    })
}

fn pod(site: &Site, manifest: &Manifest, profile: &Profile) -> Value {
    let name = &manifest.name;
    let mut volumes = vec![
        json!({"name": "manifests", "configMap": {"name": MANIFESTS}}),
        json!({"name": "directory", "configMap": {"name": DIRECTORY}}),
        json!({"name": "tls", "secret": {"secretName": format!("{name}-tls"), "defaultMode": SECRET_MODE}}),
        json!({"name": "signing-key", "secret": {"secretName": format!("{name}-signing-key"), "defaultMode": SECRET_MODE}}),
        json!({"name": "data", "persistentVolumeClaim": {"claimName": format!("{name}-data")}}),
        json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
    ];
    volumes.extend(profile.volumes.iter().cloned());
    json!({
        "serviceAccountName": name,
        "automountServiceAccountToken": profile.cluster,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(site, manifest, profile)],
        "volumes": volumes,
    })
}

fn container(site: &Site, manifest: &Manifest, profile: &Profile) -> Value {
    let port = |(number, name): (u16, &str)| json!({"name": name, "containerPort": number, "protocol": "TCP"});
    let mut ports = vec![port(A2A), port(HEALTH), port(METRICS)];
    ports.extend(profile.webhooks.then(|| port(WEBHOOKS)));
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": HEALTH.1},
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": "agent",
        "image": site.image(&manifest.name, manifest.version.as_deref()),
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(profile),
        "env": environment(site, manifest),
        "ports": ports,
        "startupProbe": probe("/livez", 1, 30),
        "livenessProbe": probe("/livez", 10, 3),
        "readinessProbe": probe("/readyz", 5, 2),
        "resources": resources(manifest),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts(profile),
    })
}

fn arguments(profile: &Profile) -> Vec<String> {
    let common = [
        ("manifests", "/etc/agent/manifests".to_owned()),
        ("tls-dir", "/etc/agent/tls".to_owned()),
        (
            "signing-key",
            "/etc/agent/signing-key/signing-key.pem".to_owned(),
        ),
        (
            "directory",
            "/etc/agent/directory/directory.json".to_owned(),
        ),
        ("store", format!("sqlite:{DATA}/store.db")),
    ];
    let flags = common.into_iter().chain(profile.flags.iter().cloned());
    flags
        .flat_map(|(name, value)| [format!("--{name}"), value])
        .collect()
}

/// Shared settings, and who the pod is: the latter goes into every span.
fn environment(site: &Site, manifest: &Manifest) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let value = |name: &str, value: String| json!({"name": name, "value": value});
    let resource = format!(
        "service.instance.id=$(POD_UID),k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),\
         k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.deployment.name={},k8s.container.name=agent",
        manifest.name
    );
    vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_UID", "metadata.uid"),
        field("NODE_NAME", "spec.nodeName"),
        value("OTEL_RESOURCE_ATTRIBUTES", resource),
        value("AGENT_OTLP_ENDPOINT", site.otlp_url()),
        value("AGENT_DRAIN_SECONDS", DRAIN_SECONDS.to_string()),
    ]
}

/// Limits are the manifest's. Requests are what an idle agent needs (under 30 MiB, next to no CPU), with room.
fn resources(manifest: &Manifest) -> Value {
    let mut limits = serde_json::Map::new();
    for (name, limit) in [
        ("cpu", &manifest.resources.cpu),
        ("memory", &manifest.resources.memory),
    ] {
        if let Some(limit) = limit {
            limits.insert(name.into(), limit.as_str().into());
        }
    }
    json!({"limits": limits, "requests": {"cpu": "50m", "memory": "64Mi"}})
}

fn mounts(profile: &Profile) -> Vec<Value> {
    let mount = |name: &str, path: &str, read_only: bool| json!({"name": name, "mountPath": path, "readOnly": read_only});
    let mut mounts = vec![
        mount("manifests", "/etc/agent/manifests", true),
        mount("directory", "/etc/agent/directory", true),
        mount("tls", "/etc/agent/tls", true),
        mount("signing-key", "/etc/agent/signing-key", true),
        mount("data", DATA, false),
        mount("tmp", "/tmp", false),
    ];
    mounts.extend(profile.mounts.iter().cloned());
    mounts
}
