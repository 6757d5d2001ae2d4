//! The command lines of the programs.

use std::{fmt::Display, net::TcpListener, path::Path};

use crate::certificates::Pair;

/// What a program prints when another one has its port.
pub(crate) const PORT_CONFLICT: &str = "address already in use";
/// Addresses of services, of which nothing listens on one.
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Who issues the tokens of service accounts.
const ISSUER: &str = "https://kubernetes.default.svc";

/// Ports of 127.0.0.1, free a moment ago.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) peers: u16,
    pub(crate) api: u16,
}

impl Ports {
    /// Three different ones, since all are held until all are known.
    pub(crate) fn free() -> std::io::Result<Self> {
        let hold = || TcpListener::bind("127.0.0.1:0");
        let (etcd, peers, api) = (hold()?, hold()?, hold()?);
        Ok(Self {
            etcd: etcd.local_addr()?.port(),
            peers: peers.local_addr()?.port(),
            api: api.local_addr()?.port(),
        })
    }
}

fn flag(name: &str, value: impl Display) -> String {
    format!("--{name}={value}")
}

/// The database: clients with a certificate only, nothing synced to disk.
pub(crate) fn etcd(folder: &Path, ports: &Ports, server: &Pair) -> Vec<String> {
    let clients = format!("https://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.peers);
    vec![
        flag("data-dir", folder.join("etcd").display()),
        flag("listen-client-urls", &clients),
        flag("advertise-client-urls", &clients),
        flag("listen-peer-urls", &peers),
        flag("initial-advertise-peer-urls", &peers),
        flag("initial-cluster", format!("default={peers}")),
        flag("cert-file", server.certificate.display()),
        flag("key-file", server.key.display()),
        flag("trusted-ca-file", folder.join("ca.pem").display()),
        flag("client-cert-auth", true),
        flag("unsafe-no-fsync", true),
        flag("log-level", "warn"),
    ]
}

/// The API server: certificates and tokens of service accounts say who calls, RBAC what they may.
pub(crate) fn api_server(
    folder: &Path,
    ports: &Ports,
    server: &Pair,
    tokens: &Pair,
) -> Vec<String> {
    let ca = folder.join("ca.pem");
    vec![
        flag("etcd-servers", format!("https://127.0.0.1:{}", ports.etcd)),
        flag("etcd-cafile", ca.display()),
        flag("etcd-certfile", server.certificate.display()),
        flag("etcd-keyfile", server.key.display()),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", ports.api),
        // No pod calls it, and Kubernetes refuses to publish a loopback address.
        flag("endpoint-reconciler-type", "none"),
        flag("tls-cert-file", server.certificate.display()),
        flag("tls-private-key-file", server.key.display()),
        flag("client-ca-file", ca.display()),
        flag("authorization-mode", "Node,RBAC"),
        flag("service-account-issuer", ISSUER),
        flag("service-account-key-file", tokens.certificate.display()),
        flag("service-account-signing-key-file", tokens.key.display()),
        flag("service-cluster-ip-range", SERVICE_RANGE),
        flag("cert-dir", folder.join("apiserver").display()),
    ]
}

/// The controllers, each with its own service account, at the request rates that providers set.
pub(crate) fn controller_manager(kubeconfig: &Path, ca: &Path, tokens: &Pair) -> Vec<String> {
    let mut flags = client(kubeconfig);
    flags.extend([
        flag("root-ca-file", ca.display()),
        flag("service-account-private-key-file", tokens.key.display()),
        flag("use-service-account-credentials", true),
    ]);
    flags
}

/// The scheduler.
pub(crate) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    client(kubeconfig)
}

/// The kubelets of all nodes.
pub(crate) fn kwok(kubeconfig: &Path, stages: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("config", stages.display()),
        flag("manage-all-nodes", true),
        // As a kubelet renews it. Without one the node controller hears of a node once, and 50 s later takes it, and with
        // it its pods, for not ready.
        flag("node-lease-duration-seconds", 40),
    ]
}

/// What the controllers and the scheduler have in common: one of each, without a port.
fn client(kubeconfig: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("leader-elect", false),
        flag("secure-port", 0),
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
    ]
}
