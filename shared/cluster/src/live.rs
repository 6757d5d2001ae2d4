use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::error::ClusterError;
use crate::source::ClusterSource;

/// Longest time of one call, connecting and retries included: 10 seconds.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to connect: 3 seconds, so that a call has time for a second attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An API server; its client is made at the first call that needs it.
#[derive(Clone)]
pub(crate) struct Live {
    source: ClusterSource,
    client: Arc<OnceCell<Client>>,
}

impl Live {
    pub(crate) fn new(source: ClusterSource) -> Self {
        Self {
            source,
            client: Arc::default(),
        }
    }

    /// The client; a configuration that cannot be read is tried again at the next call.
    pub(crate) async fn client(&self) -> Result<Client, ClusterError> {
        self.client
            .get_or_try_init(|| connect(&self.source))
            .await
            .cloned()
    }

    /// Sends one request and decodes its answer, within [`CALL_TIMEOUT`].
    ///
    /// The body is decoded here and not by kube, which would log an undecodable one in full.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        action: &str,
        kind: &str,
        request: Request<Vec<u8>>,
    ) -> Result<T, ClusterError> {
        let exchange = async {
            let text = self.client().await?.request_text(request).await;
            text.map_err(|error| ClusterError::from_kube(action, error))
        };
        let text = tokio::time::timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| ClusterError::TimedOut {
                action: action.to_owned(),
                seconds: CALL_TIMEOUT.as_secs(),
            })??;
        serde_json::from_str(&text).map_err(|_| ClusterError::Decode {
            action: action.to_owned(),
            kind: kind.to_owned(),
        })
    }
}

async fn connect(source: &ClusterSource) -> Result<Client, ClusterError> {
    let unavailable =
        |source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Unavailable {
            action: "read the cluster configuration".to_owned(),
            source,
        };
    let mut config = match source {
        ClusterSource::InCluster => {
            Config::incluster().map_err(|error| unavailable(Box::new(error)))?
        }
        ClusterSource::Kubeconfig { path, context } => {
            let options = KubeConfigOptions {
                context: context.clone(),
                ..KubeConfigOptions::default()
            };
            from_kubeconfig(path.clone(), &options)
                .await
                .map_err(|error| unavailable(without_content(error)))?
        }
        ClusterSource::Snapshot(_) => {
            return Err(ClusterError::ReadOnly {
                action: "open a client".to_owned(),
            });
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(|error| unavailable(Box::new(error)))
}

async fn from_kubeconfig(
    path: Option<std::path::PathBuf>,
    options: &KubeConfigOptions,
) -> Result<Config, KubeconfigError> {
    match path {
        None => Config::from_kubeconfig(options).await,
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(file, options).await
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the kubeconfig is not valid YAML of a kubeconfig")]
struct NotAKubeconfig;

/// Drops a parse error's text: it quotes the file, and the file holds tokens.
fn without_content(error: KubeconfigError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        KubeconfigError::Parse(_) => Box::new(NotAKubeconfig),
        other => Box::new(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(path: &std::path::Path) -> Live {
        Live::new(ClusterSource::Kubeconfig {
            path: Some(path.to_owned()),
            context: None,
        })
    }

    #[tokio::test]
    async fn reads_a_kubeconfig_that_appears_after_the_first_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let live = kubeconfig(&file);
        let error = live.client().await.err().unwrap();
        assert_eq!(error.kind(), "unavailable");
        std::fs::write(
            &file,
            "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
             clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n\
             users: [{name: a, user: {}}]\n\
             contexts: [{name: a, context: {cluster: a, user: a}}]\n",
        )
        .unwrap();
        assert!(live.client().await.is_ok());
    }

    #[tokio::test]
    async fn does_not_quote_a_broken_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, "users: [{name: a, user: {token: s3cr3t-t0ken\n").unwrap();
        let error = kubeconfig(&file).client().await.err().unwrap();
        assert_eq!(error.kind(), "unavailable");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
}
