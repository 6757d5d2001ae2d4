use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::api;
use crate::domain::{Settings, State};
use crate::engine::Engine;
use crate::seed;

/// Why the model cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is not a loopback address: the API has no authentication.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// An in-memory Kubernetes API that listens and is ready to serve.
#[derive(Debug)]
pub struct Model {
    listener: TcpListener,
    address: SocketAddr,
    engine: Arc<Engine>,
}

impl Model {
    /// Listens on a loopback address with a fresh cluster: two namespaces and one node.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(address: SocketAddr, settings: Settings) -> Result<Self, BindError> {
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let engine = Engine::new(State::new(settings));
        engine.write(seed::fill);
        Ok(Self {
            listener,
            address,
            engine: Arc::new(engine),
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig whose only context is this cluster.
    pub fn kubeconfig(&self) -> String {
        let url = self.url();
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: cluster-model\n\
             clusters:\n- name: cluster-model\n  cluster:\n    server: {url}\n\
             users:\n- name: cluster-model\n  user: {{}}\n\
             contexts:\n- name: cluster-model\n  context:\n    cluster: cluster-model\n    \
             user: cluster-model\n    namespace: default\n"
        )
    }

    /// Writes the kubeconfig beside the file and renames it, so that whoever waits for the file
    /// finds it complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> std::io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        std::fs::write(&beside, self.kubeconfig())?;
        std::fs::rename(&beside, path)
    }

    /// Serves until `shutdown`, then ends the watches and returns.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let engine = self.engine;
        let clock = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.play().await }
        });
        let listener = self.listener.tap_io(|stream| {
            let _unsupported = stream.set_nodelay(true);
        });
        let router = api::router(Arc::clone(&engine));
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                shutdown.await;
                engine.stop();
            })
            .await;
        clock.abort();
        served
    }
}
