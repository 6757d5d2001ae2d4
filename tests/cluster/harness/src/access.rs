//! The rights of agents: their own service accounts, with tokens that the API server issued.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{ControlPlane, programs::root};

/// Kinds of a rendered agent that say what it may do.
const RIGHTS: [&str; 6] = [
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];
/// Number of the next kubeconfig with a token.
static FILES: AtomicUsize = AtomicUsize::new(0);
/// Life of a token: 6 hours, longer than any test.
const TOKEN_SECONDS: i64 = 6 * 3600;

impl ControlPlane {
    /// A kubeconfig with a fresh token of a service account that exists.
    ///
    /// # Errors
    /// When the API server issues none.
    pub async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for {namespace}/{name}"))?;
        let status = issued.status.context("a token without status")?;
        // A file of its own, so that nobody reads one that is being written.
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = format!("{namespace}-{name}-{number}");
        self.write_kubeconfig(&file, &json!({"token": status.token}))
    }

    /// Applies the namespaces, the service account and the roles that `deploy/kubernetes` gives an agent, and returns a
    /// kubeconfig with a token of that account. The namespaces that its roles name have to exist.
    ///
    /// # Errors
    /// When the files are missing or the API server refuses one of the objects.
    pub async fn agent(&self, agent: &str) -> anyhow::Result<PathBuf> {
        let is_right = |kind: &str| RIGHTS.contains(&kind);
        for file in ["namespaces", agent] {
            let path = root().join(format!("deploy/kubernetes/{file}.yaml"));
            let yaml = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let applied = self.apply_some(&yaml, is_right).await?;
            let account = applied.iter().find(|one| {
                one.types
                    .as_ref()
                    .is_some_and(|types| types.kind == "ServiceAccount")
            });
            if let Some(account) = account {
                let namespace = account.metadata.namespace.as_deref().unwrap_or("default");
                return self.service_account(namespace, agent).await;
            }
        }
        anyhow::bail!("deploy/kubernetes/{agent}.yaml has no service account")
    }
}
