//! `istio/`: the mesh in Istio's ambient mode, on top of `kubernetes/`.
//!
//! The agents keep their own mTLS (without a waypoint Istio tells an application nothing about its peer), and
//! ztunnel enforces the same edges a second time, by service account. All policies are L4: an ALLOW with HTTP
//! fields would admit nobody there, and a DENY with them would do nothing.

use manifest::{Caller, Fleet, Manifest, MeshIdentity};
use serde_json::{Value, json};

use super::{
    emit::yaml,
    kubernetes::{A2A, HEALTH, METRICS, NAME_LABEL, metadata, namespaces_of, network},
    site::Site,
};

/// Port of ambient's tunnel (HBONE), which carries everything between two pods of the mesh.
const TUNNEL: u16 = 15_008;
/// Addresses that ambient gives the kubelet's probes.
const PROBES: [&str; 2] = [
    "169.254.7.127/32",
    "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128",
];

/// The files of the folder, by name.
pub(crate) fn files(fleet: &Fleet, site: &Site) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![
        ("namespaces.yaml".into(), yaml(&namespaces(fleet))?),
        ("kustomization.yaml".into(), yaml(&[kustomization(fleet)])?),
    ];
    for manifest in &fleet.manifests {
        files.push((
            format!("{}.yaml", manifest.name),
            yaml(&agent(fleet, site, manifest))?,
        ));
    }
    Ok(files)
}

/// Strict mTLS and an empty policy, which allows nothing, in every namespace.
fn namespaces(fleet: &Fleet) -> Vec<Value> {
    let object = |kind: &str, name: &str, namespace: &str, spec: Value| {
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "agent-mesh"}},
            "spec": spec,
        })
    };
    let both = |namespace| {
        let strict = json!({"mtls": {"mode": "STRICT"}});
        [
            object("PeerAuthentication", "default", namespace, strict),
            object("AuthorizationPolicy", "default-deny", namespace, json!({})),
        ]
    };
    namespaces_of(fleet).into_iter().flat_map(both).collect()
}

fn agent(fleet: &Fleet, site: &Site, manifest: &Manifest) -> Vec<Value> {
    let mut objects = Vec::new();
    for (caller, _) in fleet.edges().callers(&manifest.name) {
        for account in accounts(fleet, caller) {
            objects.push(allow(manifest, caller.name(), &account, A2A.0));
        }
    }
    let prometheus = format!("{}/{}", site.monitoring_namespace, site.prometheus_account);
    objects.push(allow(manifest, "prometheus", &prometheus, METRICS.0));
    objects.push(tunnel(fleet, site, manifest));
    objects
}

/// Service accounts (`namespace/name`) of a caller. External callers whose certificate names no service account
/// are not in the mesh; how they come in is the ingress's business, and nothing is opened for them here.
fn accounts(fleet: &Fleet, caller: &Caller) -> Vec<String> {
    match caller {
        Caller::Agent(name) => fleet
            .manifest(name)
            .map(|manifest| format!("{}/{name}", manifest.namespace))
            .into_iter()
            .collect(),
        Caller::External(name) => {
            let external = fleet.mesh.callers.get(name);
            let identities = external.into_iter().flat_map(|caller| &caller.identities);
            identities
                .filter_map(|identity| account_of(&fleet.mesh.trust_domain, identity))
                .collect()
        }
    }
}

fn account_of(trust_domain: &str, identity: &MeshIdentity) -> Option<String> {
    let MeshIdentity::Spiffe(id) = identity else {
        return None;
    };
    let path = id
        .strip_prefix("spiffe://")?
        .strip_prefix(trust_domain)?
        .strip_prefix("/ns/")?;
    let (namespace, account) = path.split_once("/sa/")?;
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '*']);
    (plain(namespace) && plain(account)).then(|| format!("{namespace}/{account}"))
}

fn allow(manifest: &Manifest, caller: &str, account: &str, port: u16) -> Value {
    let name = format!("{}-from-{caller}", manifest.name);
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata(manifest, &name, &manifest.namespace),
        "spec": {
            "selector": {"matchLabels": {NAME_LABEL: manifest.name}},
            "action": "ALLOW",
            "rules": [{
                "from": [{"source": {"serviceAccounts": [account]}}],
                "to": [{"operation": {"ports": [port.to_string()]}}],
            }],
        },
    })
}

/// Opens the tunnel where the plain policy opens a port, and the health port to probes.
fn tunnel(fleet: &Fleet, site: &Site, manifest: &Manifest) -> Value {
    let monitoring = || network::namespace(&site.monitoring_namespace);
    let with_monitoring = |mut peers: Vec<Value>| {
        peers.push(monitoring());
        peers
    };
    let inward = with_monitoring(network::callers(fleet, &manifest.name));
    let outward = with_monitoring(network::callees(fleet, &manifest.name));
    let probes = PROBES.map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
    let ingress = [
        json!({"from": inward, "ports": network::tcp(&[TUNNEL])}),
        json!({"from": probes, "ports": network::tcp(&[HEALTH.0])}),
    ];
    let egress = [json!({"to": outward, "ports": network::tcp(&[TUNNEL])})];
    network::document(
        manifest,
        &format!("{}-ambient", manifest.name),
        &ingress,
        &egress,
    )
}

/// Adds the namespaces to the ambient mesh; the rest is `kubernetes/` as it is.
fn kustomization(fleet: &Fleet) -> Value {
    let agents = fleet
        .manifests
        .iter()
        .map(|manifest| format!("{}.yaml", manifest.name));
    let resources: Vec<String> = ["../kubernetes".to_owned(), "namespaces.yaml".to_owned()]
        .into_iter()
        .chain(agents)
        .collect();
    let label = "- op: add\n  path: /metadata/labels/istio.io~1dataplane-mode\n  value: ambient\n";
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
        "patches": [{"target": {"kind": "Namespace"}, "patch": label}],
    })
}
