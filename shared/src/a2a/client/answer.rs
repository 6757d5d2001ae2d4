//! What a peer answered, or why there is no answer.

use std::time::Duration;

use a2a::client::CircuitOpen;
use serde::Deserialize;
use serde_json::Value;

use crate::AwaitsApproval;

/// Largest answer.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot reach {url}")]
    Connect {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("no answer from {url}")]
    Exchange {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{agent} has failed again and again")]
    Open {
        agent: String,
        #[source]
        source: CircuitOpen,
    },
    #[error("{url} answered with something else than JSON-RPC (HTTP {status})")]
    Answer { url: String, status: u16 },
    #[error("{agent} answered {code}: {message}")]
    Refused {
        agent: String,
        code: i64,
        message: String,
        retry_after: Duration,
    },
    #[error(transparent)]
    Waits(AwaitsApproval),
}

#[derive(Debug, Deserialize)]
struct Answer {
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: i64,
    message: String,
    #[serde(default)]
    data: Value,
}

/// What a task in `auth-required` is answered with; its code alone is that of a failed one, too.
const AUTH_REQUIRED: &str = "TASK_AUTH_REQUIRED";

/// The task that waits for an approval, when that is what a refusal says.
fn waiting(data: &Value) -> Option<&str> {
    let info = data.get(0)?;
    let reason = info.get("reason")?.as_str()?;
    let task = info.pointer("/metadata/task_id")?.as_str()?;
    (reason == AUTH_REQUIRED).then_some(task)
}

/// The result in an answer, or the refusal.
pub(super) async fn read(
    agent: &str,
    url: String,
    mut response: reqwest::Response,
) -> Result<Value, CallError> {
    let status = response.status().as_u16();
    let header = response.headers().get(reqwest::header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = Duration::from_secs(seconds.unwrap_or_default());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= MAX_ANSWER => {
                body.extend_from_slice(&piece);
            }
            Ok(Some(_)) => return Err(CallError::Answer { url, status }),
            Ok(None) => break,
            Err(source) => return Err(CallError::Exchange { url, source }),
        }
    }
    match serde_json::from_slice(&body) {
        Ok(Answer {
            error: Some(Refusal { message, data, .. }),
            ..
        }) if waiting(&data).is_some() => Err(CallError::Waits(AwaitsApproval {
            agent: agent.to_owned(),
            task_id: waiting(&data).unwrap_or_default().to_owned(),
            message,
        })),
        Ok(Answer {
            error: Some(Refusal { code, message, .. }),
            ..
        }) => Err(CallError::Refused {
            agent: agent.to_owned(),
            code,
            message,
            retry_after,
        }),
        Ok(Answer {
            result: Some(result),
            ..
        }) => Ok(result),
        _ => Err(CallError::Answer { url, status }),
    }
}
