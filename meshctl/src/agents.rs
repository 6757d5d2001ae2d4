//! What each agent's process is started with.

use std::{collections::BTreeMap, path::PathBuf};

use crate::ground::Ground;

/// Things outside the mesh that agents work on.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Root that file paths in requests are relative to.
    pub workspace: PathBuf,
    /// Kubeconfig of the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfigs of agents that have one of their own.
    pub own_kubeconfigs: BTreeMap<String, PathBuf>,
    /// OSV advisories.
    pub advisories: Option<PathBuf>,
    /// Rego policies.
    pub policies: Option<PathBuf>,
    /// `NAME=URL[,dev]` of the databases.
    pub databases: Vec<String>,
    /// Recorded metrics.
    pub metrics: Option<PathBuf>,
    /// A live Prometheus, used instead of recorded metrics.
    pub prometheus: Option<String>,
    /// Objectives of monitoring-agent, measured in Prometheus.
    pub objectives: Option<PathBuf>,
    /// OTLP/gRPC endpoint for traces.
    pub otlp: Option<String>,
    /// Address of a GitLab, and the file with its token.
    pub gitlab: Option<(String, PathBuf)>,
}

/// The command line of one agent.
pub fn flags(ground: &Ground, agent: &str, resources: &Resources) -> Vec<String> {
    let mut flags = common(ground, agent, resources);
    flags.extend(gitlab(agent, resources));
    let mut add = |name: &str, value: String| flags.extend([format!("--{name}"), value]);
    let path = |path: &PathBuf| path.display().to_string();
    let own = resources.own_kubeconfigs.get(agent);
    let cluster = own
        .or(resources.kubeconfig.as_ref())
        .map(|file| format!("kubeconfig:{}", file.display()));
    let usage = match (&resources.prometheus, &resources.metrics) {
        (Some(url), _) => Some(("prometheus", url.clone())),
        (None, Some(folder)) => Some(("metrics", path(folder))),
        (None, None) => None,
    };
    let (needs_cluster, needs_workspace, needs_usage) = match agent {
        "security-scanner" => (true, true, false),
        "config-validator" | "db-migrator" => (false, true, false),
        "monitoring-agent" | "rollback-coordinator" => (true, false, false),
        "performance-optimizer" | "cost-analyzer" => (false, false, true),
        _ => (false, false, false),
    };
    if let Some(cluster) = cluster.filter(|_| needs_cluster) {
        add("cluster", cluster);
    }
    if needs_workspace {
        add("workspace", path(&resources.workspace));
    }
    if let Some((name, value)) = usage.filter(|_| needs_usage) {
        add(name, value);
    }
    match agent {
        "security-scanner" => resources
            .advisories
            .iter()
            .for_each(|folder| add("advisories", path(folder))),
        "config-validator" => resources
            .policies
            .iter()
            .for_each(|folder| add("policies", path(folder))),
        "db-migrator" => resources
            .databases
            .iter()
            .for_each(|database| add("database", database.clone())),
        "monitoring-agent" => {
            let ports = ground.ports.get(agent);
            let port = ports.map_or(0, |ports| ports.webhooks);
            add("webhook-listen", format!("127.0.0.1:{port}"));
            add(
                "webhook-secrets",
                path(&ground.agent_dir(agent).join("webhooks")),
            );
            if let Some(url) = &resources.prometheus {
                add("prometheus", url.clone());
            }
            if let Some(objectives) = &resources.objectives {
                add("objectives", path(objectives));
            }
        }
        _ => {}
    }
    flags
}

/// The GitLab of the agents that use one.
fn gitlab(agent: &str, resources: &Resources) -> Vec<String> {
    let uses = matches!(agent, "monitoring-agent" | "rollback-coordinator");
    let Some((url, token)) = resources.gitlab.as_ref().filter(|_| uses) else {
        return Vec::new();
    };
    let token = token.display().to_string();
    let flags = [("gitlab-url", url.clone()), ("gitlab-token-file", token)];
    let flags = flags.into_iter();
    flags
        .flat_map(|(name, value)| [format!("--{name}"), value])
        .collect()
}

fn common(ground: &Ground, agent: &str, resources: &Resources) -> Vec<String> {
    let folder = ground.agent_dir(agent);
    let Some(ports) = ground.ports.get(agent) else {
        return Vec::new();
    };
    let mut flags: Vec<String> = [
        ("listen", format!("127.0.0.1:{}", ports.a2a)),
        ("health-listen", format!("127.0.0.1:{}", ports.health)),
        ("metrics-listen", format!("127.0.0.1:{}", ports.metrics)),
        (
            "manifests",
            ground.root.join("manifests").display().to_string(),
        ),
        ("tls-dir", folder.join("tls").display().to_string()),
        (
            "signing-key",
            folder.join("signing-key.pem").display().to_string(),
        ),
        (
            "directory",
            ground.root.join("directory.json").display().to_string(),
        ),
        (
            "store",
            format!("sqlite:{}", folder.join("store.db").display()),
        ),
    ]
    .into_iter()
    .flat_map(|(name, value)| [format!("--{name}"), value])
    .collect();
    for peer in ground.ports.keys().filter(|peer| *peer != agent) {
        flags.extend(["--peer".to_owned(), format!("{peer}={}", ground.url(peer))]);
    }
    if let Some(endpoint) = &resources.otlp {
        flags.extend(["--otlp-endpoint".to_owned(), endpoint.clone()]);
    }
    flags
}
