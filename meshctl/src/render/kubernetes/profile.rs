//! What each agent's process gets in a pod beside the flags that all agents have.

use serde_json::{Value, json};

use crate::render::site::Site;

/// Where state lies in a pod.
pub(super) const DATA: &str = "/var/lib/agent";

/// An agent's own flags, and the volumes that they name.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each opens one way in or out"
)]
pub(super) struct Profile {
    /// Flags and values.
    pub(super) flags: Vec<(&'static str, String)>,
    /// Pod volumes.
    pub(super) volumes: Vec<Value>,
    /// Where they are mounted.
    pub(super) mounts: Vec<Value>,
    /// Whether the agent talks to the Kubernetes API, and so needs a token.
    pub(super) cluster: bool,
    /// Whether it queries Prometheus.
    pub(super) prometheus: bool,
    /// Whether it connects to PostgreSQL databases.
    pub(super) databases: bool,
    /// Whether it takes webhooks.
    pub(super) webhooks: bool,
    /// Port of the GitLab that it uses.
    pub(super) gitlab: Option<u16>,
    /// Port of the Alertmanager that it tells of incidents.
    pub(super) alertmanager: Option<u16>,
}

/// The profile of an agent; one that is not known here has no flags of its own.
pub(super) fn profile(agent: &str, site: &Site) -> Profile {
    let mut profile = Profile::default();
    match agent {
        "security-scanner" => {
            profile.in_cluster();
            profile.flag("advisories", "/advisories");
            profile.mounts.push(
                json!({"name": "data", "mountPath": "/advisories", "subPath": "advisories", "readOnly": true}),
            );
        }
        "monitoring-agent" => {
            profile.in_cluster();
            profile.queries_prometheus(site);
            profile.flag("objectives", "/objectives");
            let source = json!({"name": "monitoring-agent-objectives", "optional": true});
            profile.mount("objectives", "/objectives", json!({"configMap": source}));
            profile.webhooks = true;
            profile.flag("webhook-secrets", "/webhooks");
            let source = json!({"secretName": "monitoring-agent-webhooks", "defaultMode": SECRET_MODE, "optional": true});
            profile.mount("webhooks", "/webhooks", json!({"secret": source}));
            profile.uses_gitlab(agent, site);
            if let Some(url) = &site.alertmanager_url {
                profile.alertmanager = url.port_or_known_default();
                profile.flag("alertmanager-url", url.as_str());
            }
        }
        "rollback-coordinator" => {
            profile.in_cluster();
            profile.uses_gitlab(agent, site);
        }
        "performance-optimizer" | "cost-analyzer" => profile.queries_prometheus(site),
        "config-validator" => {
            profile.flag("policies", "/policies");
            let source = json!({"name": "config-validator-policies", "optional": true});
            profile.mount("policies", "/policies", json!({"configMap": source}));
        }
        "db-migrator" => {
            profile.databases = true;
            profile.flag("databases-file", "/databases/databases");
            let source = json!({"secretName": "db-migrator-databases", "defaultMode": SECRET_MODE});
            profile.mount("databases", "/databases", json!({"secret": source}));
            profile.flag("workspace", "/workspace");
            profile.mount(
                "workspace",
                "/workspace",
                json!({"emptyDir": {"sizeLimit": "64Mi"}}),
            );
        }
        _ => {}
    }
    profile
}

/// Readable by the process's group alone: 0440.
pub(super) const SECRET_MODE: u32 = 0o440;

impl Profile {
    fn in_cluster(&mut self) {
        self.cluster = true;
        self.flag("cluster", "in-cluster");
    }

    fn uses_gitlab(&mut self, agent: &str, site: &Site) {
        let Some(url) = &site.gitlab_url else { return };
        self.gitlab = url.port_or_known_default();
        self.flag("gitlab-url", url.as_str());
        self.flag("gitlab-token-file", "/gitlab/token");
        let source = json!({"secretName": format!("{agent}-gitlab"), "defaultMode": SECRET_MODE});
        self.mount("gitlab", "/gitlab", json!({"secret": source}));
    }

    fn queries_prometheus(&mut self, site: &Site) {
        self.prometheus = true;
        self.flag("prometheus", site.prometheus_url());
    }

    fn flag(&mut self, name: &'static str, value: impl Into<String>) {
        self.flags.push((name, value.into()));
    }

    fn mount(&mut self, name: &str, path: &str, mut source: Value) {
        let read_only = source.get("emptyDir").is_none();
        if let Some(source) = source.as_object_mut() {
            source.insert("name".into(), name.into());
        }
        self.volumes.push(source);
        self.mounts
            .push(json!({"name": name, "mountPath": path, "readOnly": read_only}));
    }
}
