//! A webhook receiver on loopback that keeps what it gets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::post,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a delivery may take, seconds: the longest task takes one, retries come on top.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The path it went to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its JSON, null when it is none.
    pub body: Value,
}

impl Delivery {
    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Inbox {
    deliveries: Mutex<Vec<Delivery>>,
    arrived: Notify,
}

/// A running receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    inbox: Arc<Inbox>,
    _stop: DropGuard,
}

impl Receiver {
    /// Starts a receiver on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let inbox = Arc::new(Inbox::default());
        let app = Router::new()
            .route("/{*path}", post(receive))
            .with_state(Arc::clone(&inbox));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .await
        });
        Ok(Self {
            address,
            inbox,
            _stop: stop.drop_guard(),
        })
    }

    /// A webhook of its own for each name.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// What was delivered to a name so far.
    pub fn deliveries(&self, name: &str) -> Vec<Delivery> {
        self.inbox
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|delivery| delivery.path.trim_start_matches('/') == name)
            .cloned()
            .collect()
    }

    /// Waits until the deliveries to a name are enough.
    ///
    /// # Errors
    /// When they are not in time; says what came.
    pub async fn wait(
        &self,
        name: &str,
        enough: impl Fn(&[Delivery]) -> bool,
    ) -> Result<Vec<Delivery>, String> {
        let waiting = async {
            loop {
                let arrival = self.inbox.arrived.notified();
                let so_far = self.deliveries(name);
                if enough(&so_far) {
                    return so_far;
                }
                arrival.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| {
            let bodies: Vec<_> = self
                .deliveries(name)
                .iter()
                .map(|delivery| delivery.body.to_string())
                .collect();
            format!("the webhook got only {bodies:?}")
        })
    }
}

async fn receive(
    State(inbox): State<Arc<Inbox>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let delivery = Delivery {
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    inbox
        .deliveries
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(delivery);
    inbox.arrived.notify_waiters();
    StatusCode::NO_CONTENT
}
