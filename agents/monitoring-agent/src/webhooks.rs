//! Inbound webhooks: plain HTTP on a listener of their own, apart from A2A. What is answered with 200 is durable.

mod alertmanager;
mod gitlab;
mod recent;
mod secrets;
mod verify;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{archive::Intake, metrics::Counts};

pub use alertmanager::{AlertLog, AlertSink};
pub use recent::Recent;
pub use secrets::Secrets;
pub use verify::{Refusal, SKEW};

/// Largest body: 1 MiB. GitLab sends 20 commits of a push at most; such bodies have some 10 to 100 KiB.
pub const LARGEST_BODY: usize = 1 << 20;
/// Deepest nesting of a body: 24. GitLab's bodies have 6 levels.
pub const DEEPEST_BODY: usize = 24;
/// Requests that are worked on at once; with the largest body this bounds the memory to 256 MiB.
pub const MOST_AT_ONCE: usize = 256;
/// How long a request may wait for its turn; GitLab waits 10 s for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds after which a sender that was turned away may come back.
const COME_BACK: &str = "5";

/// Where webhooks come in.
#[derive(Debug, Clone, clap::Args)]
pub struct WebhookArgs {
    /// Address of the webhook listener (/webhooks/gitlab, /webhooks/alertmanager).
    #[arg(
        long,
        env = "MONITORING_AGENT_WEBHOOK_LISTEN",
        default_value = "0.0.0.0:8082"
    )]
    pub webhook_listen: SocketAddr,
    /// Folder with gitlab-token, gitlab-signing-token and alertmanager-token, one secret a line; without it there
    /// is no webhook listener.
    #[arg(long, env = "MONITORING_AGENT_WEBHOOK_SECRETS")]
    pub webhook_secrets: Option<PathBuf>,
    /// How long single events are kept after they were folded into facts.
    #[arg(long, env = "MONITORING_AGENT_EVENT_RETENTION", default_value = "7d", value_parser = humantime::parse_duration)]
    pub event_retention: Duration,
}

/// What the listener needs.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// What senders have to know.
    pub secrets: Secrets,
    /// The log of events.
    pub intake: Intake,
    /// Who takes alerts.
    pub alerts: Arc<dyn AlertSink>,
    /// What is counted.
    pub counts: Counts,
    /// Deliveries that are durable already.
    pub recent: Arc<Recent>,
    turns: Arc<Semaphore>,
}

impl Webhooks {
    /// A listener's state.
    pub fn new(
        secrets: Secrets,
        intake: Intake,
        alerts: Arc<dyn AlertSink>,
        counts: Counts,
    ) -> Self {
        Self {
            secrets,
            intake,
            alerts,
            counts,
            recent: Arc::default(),
            turns: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/webhooks/gitlab", post(gitlab::take))
            .route("/webhooks/alertmanager", post(alertmanager::take))
            .layer(DefaultBodyLimit::disable())
            .with_state(self)
    }

    /// Waits for a turn, but not for ever.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Answer> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(Answer::Busy)
    }
}

/// What a sender is told; never why a secret did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is durable.
    Kept,
    /// It was durable already, or says nothing that is kept.
    Accepted,
    /// The body cannot be read.
    Unreadable,
    /// Neither a token nor a signature that fits.
    Unknown,
    /// The body is too large.
    TooLarge,
    /// Too many at once, or the store does not answer.
    Busy,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Kept => (StatusCode::OK, "kept\n"),
            Self::Accepted => (StatusCode::OK, "accepted\n"),
            Self::Unreadable => (
                StatusCode::BAD_REQUEST,
                "the body is no JSON object of the expected form\n",
            ),
            Self::Unknown => (StatusCode::UNAUTHORIZED, "no valid signature or token\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Self::Busy => {
                let headers = [(header::RETRY_AFTER, COME_BACK)];
                return (StatusCode::SERVICE_UNAVAILABLE, headers, "try again\n").into_response();
            }
        };
        (status, text).into_response()
    }
}

/// Reads a body up to the limit.
async fn body_of(body: Body) -> Result<Bytes, Answer> {
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Answer::TooLarge),
        Err(_) => Err(Answer::Unreadable),
    }
}

/// Whether no object or array lies deeper than allowed; looked at before the body is read.
fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_text = false,
            (false, b'"') => in_text = true,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > DEEPEST_BODY {
                    return false;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests;
