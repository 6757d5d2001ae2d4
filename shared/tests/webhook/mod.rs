//! A webhook on loopback: keeps what it was sent, and answers as it is told.
#![allow(dead_code, reason = "each test uses its own part")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What the webhook answers to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Status(u16),
    /// Status and one header.
    With(u16, &'static str, String),
    Never,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Received {
    /// Number of the event.
    pub(crate) fn number(&self) -> u64 {
        self.header("x-a2a-event-id").unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// State in a status update or a task.
    pub(crate) fn state(&self) -> Option<&str> {
        let update = self.body.pointer("/statusUpdate/status/state");
        let state = update.or_else(|| self.body.pointer("/task/status/state"));
        state.and_then(Value::as_str)
    }
}

/// A running webhook.
pub(crate) struct Webhook {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    count: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Desk {
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Webhook {
    /// Answers as the script says, and with 200 when it is at its end.
    pub(crate) async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_on(
        address: SocketAddr,
        script: impl IntoIterator<Item = Answer>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let (sender, count) = watch::channel(0);
        let desk = Desk {
            received: received.clone(),
            script: Arc::clone(&script),
            count: Arc::new(sender),
        };
        let router = Router::new().fallback(any(take)).with_state(desk);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            received,
            script,
            count,
            serving,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Numbers of the events so far.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.received().iter().map(Received::number).collect()
    }

    /// Waits for so many requests.
    pub(crate) async fn gets(&self, count: usize) -> Vec<Received> {
        let mut counts = self.count.clone();
        let enough = counts.wait_for(|now| *now >= count);
        let waited = tokio::time::timeout(Duration::from_mins(1), enough).await;
        assert!(
            matches!(waited, Ok(Ok(_))),
            "{count} requests, got {:?}",
            self.received()
        );
        self.received()
    }

    /// Nobody listens any more.
    pub(crate) async fn closes(&mut self) {
        self.serving.abort();
        assert!((&mut self.serving).await.is_err());
    }

    /// Answers the next requests like this.
    pub(crate) fn answers(&self, script: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(script);
    }
}

async fn take(
    State(desk): State<Desk>,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let count = {
        let mut received = desk.received.lock().unwrap();
        received.push(Received {
            path: uri.to_string(),
            headers,
            body,
        });
        received.len()
    };
    desk.count.send_replace(count);
    let next = desk.script.lock().unwrap().pop_front();
    match next.unwrap_or(Answer::Status(200)) {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::With(status, name, value) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response()
        }
        Answer::Never => std::future::pending().await,
    }
}
