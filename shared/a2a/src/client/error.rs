//! Why a call did not give an answer.

mod rpc;

use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

pub(super) use rpc::ErrorObject;
pub use rpc::{FieldViolation, RpcError};

use super::breaker::{CircuitOpen, Outcome};

/// Unknown task or push configuration, or one of somebody else.
pub const TASK_NOT_FOUND: i64 = -32001;
/// The operation is not possible, for example since the task has ended.
pub const UNSUPPORTED_OPERATION: i64 = -32004;
/// The agent is draining or overloaded and did nothing (this mesh's own code).
pub const OVERLOADED: i64 = -32052;
/// Something that the agent depends on does not answer (this mesh's own code).
pub const DEPENDENCY_UNAVAILABLE: i64 = -32054;

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection: nothing was sent.
    #[error("cannot reach {url}")]
    Connect {
        /// Where.
        url: String,
        /// What the HTTP client says.
        #[source]
        source: reqwest::Error,
    },
    /// The request was sent, or part of it; whether it was carried out is not known.
    #[error("no answer from {url}")]
    Exchange {
        /// Where.
        url: String,
        /// What the HTTP client says.
        #[source]
        source: reqwest::Error,
    },
    /// A stream broke off.
    #[error("the stream from {url} broke off")]
    Lost {
        /// Where.
        url: String,
        /// What the decoder says; None when the connection was closed in order or fell silent.
        #[source]
        source: Option<sse_stream::Error>,
    },
    /// The caller's deadline passed.
    #[error("{url} did not answer before the deadline")]
    Deadline {
        /// Where.
        url: String,
    },
    /// The peer failed too often; no call was made.
    #[error("calls to {url} are suspended")]
    Suspended {
        /// Where.
        url: String,
        /// Until when.
        #[source]
        source: CircuitOpen,
    },
    /// The agent answered with a JSON-RPC error.
    #[error(transparent)]
    Refused(Box<RpcError>),
    /// The answer is no success, and not from the agent itself.
    #[error("{url} answered {http}")]
    Http {
        /// Where.
        url: String,
        /// With what.
        http: HttpAnswer,
    },
    /// The answer is larger than accepted.
    #[error("the answer of {url} is larger than {limit} bytes")]
    AnswerTooLarge {
        /// Where.
        url: String,
        /// Bytes accepted.
        limit: usize,
    },
    /// An event of a stream is larger than accepted.
    #[error("an event from {url} is larger than {limit} bytes")]
    EventTooLarge {
        /// Where.
        url: String,
        /// Bytes accepted.
        limit: usize,
    },
    /// The answer is not what the protocol says.
    #[error("{url} broke the protocol: {fault}")]
    Malformed {
        /// Where.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// The agent's card does not offer this.
    #[error("the agent does not offer {0}")]
    NotOffered(&'static str),
    /// The card that came in answer is not trusted.
    #[error("the agent card is not trusted")]
    Signature(#[from] crate::signature::SignatureError),
    /// The parameters are no JSON object, or a header value is not allowed in HTTP.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

impl CallError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Refused(error) => Some(error.code),
            _ => None,
        }
    }

    /// What HTTP said, when there was an answer.
    pub fn http(&self) -> Option<&HttpAnswer> {
        match self {
            Self::Refused(error) => Some(&error.http),
            Self::Http { http, .. } => Some(http),
            _ => None,
        }
    }

    /// What this says of the peer's health.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect { .. } | Self::Exchange { .. } | Self::Lost { .. } => Outcome::Failure,
            Self::Deadline { .. } => Outcome::Unknown,
            Self::Refused(error)
                if matches!(error.code, OVERLOADED | DEPENDENCY_UNAVAILABLE)
                    || error.http.status.is_server_error() =>
            {
                Outcome::Failure
            }
            Self::Http { http, .. } if http.status.is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        }
    }

    /// The shortest pause before a repeat, or None when a repeat is useless or might do the work twice.
    pub(super) fn repeat_after(&self, repeat: Repeat) -> Option<Duration> {
        let safe = repeat == Repeat::Safe;
        let retry_after = self.http().and_then(|http| http.retry_after);
        match self {
            Self::Connect { .. } => Some(Duration::ZERO),
            Self::Exchange { .. } | Self::Lost { .. } => safe.then_some(Duration::ZERO),
            Self::Refused(error) if error.code == OVERLOADED => {
                Some(retry_after.unwrap_or_default())
            }
            Self::Refused(_) | Self::Http { .. } => match self.http()?.status {
                // Refused before any work, with a word on when to come back.
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after,
                // A proxy lost the answer.
                StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                    safe.then_some(retry_after.unwrap_or_default())
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether a request may be sent again when the answer to it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It reads, or the agent recognises the second one as the same.
    Safe,
    /// It might be carried out twice.
    Unsafe,
}

/// Status and headers of an HTTP answer that say what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// How long to wait before the next try (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// How to authenticate (`WWW-Authenticate`).
    pub challenge: Option<String>,
}

impl HttpAnswer {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            retry_after: text(header::RETRY_AFTER)
                .and_then(|value| retry_after(value, OffsetDateTime::now_utc())),
            challenge: text(header::WWW_AUTHENTICATE).map(str::to_owned),
        }
    }
}

impl fmt::Display for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.status {
            StatusCode::UNAUTHORIZED => "no or wrong credentials",
            StatusCode::FORBIDDEN => "not permitted",
            StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
            StatusCode::TOO_MANY_REQUESTS => "too many requests",
            status if status.is_server_error() => "unavailable",
            _ => "not a success",
        };
        write!(f, "HTTP {}: {meaning}", self.status.as_u16())?;
        match &self.challenge {
            Some(challenge) => write!(f, " ({challenge})"),
            None => Ok(()),
        }
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let date = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => PrimitiveDateTime::parse(value.trim(), date)
            .ok()
            .map(|date| Duration::try_from(date.assume_utc() - now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn http(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        HttpAnswer::new(StatusCode::from_u16(status).unwrap(), &headers)
    }

    fn refused(code: i64, answer: HttpAnswer) -> CallError {
        let error = serde_json::from_value(json!({"code": code, "message": "no"})).unwrap();
        CallError::Refused(Box::new(RpcError::new("agent", error, answer)))
    }

    fn plain(answer: HttpAnswer) -> CallError {
        CallError::Http {
            url: "agent".into(),
            http: answer,
        }
    }

    #[test]
    fn reads_retry_after_in_seconds_and_as_a_date() {
        let now = datetime!(1994-11-06 08:49:30 UTC);
        let read = |value| retry_after(value, now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn says_what_a_status_means() {
        let text = http(401, &[("www-authenticate", "Bearer realm=\"a\"")]).to_string();
        assert_eq!(
            text,
            "HTTP 401: no or wrong credentials (Bearer realm=\"a\")"
        );
        for (status, word) in [
            (403, "permitted"),
            (413, "large"),
            (429, "many"),
            (502, "unavailable"),
        ] {
            assert!(http(status, &[]).to_string().contains(word), "{status}");
        }
    }

    #[test]
    fn repeats_only_what_cannot_be_done_twice() {
        let soon = Duration::from_secs(3);
        let wait = [("retry-after", "3")];
        let check = |error: &CallError, safe: Option<Duration>, unsafely: Option<Duration>| {
            assert_eq!(error.repeat_after(Repeat::Safe), safe, "{error}");
            assert_eq!(error.repeat_after(Repeat::Unsafe), unsafely, "{error}");
        };
        let none = Some(Duration::ZERO);
        check(&refused(OVERLOADED, http(200, &[])), none, none);
        check(
            &refused(OVERLOADED, http(200, &wait)),
            Some(soon),
            Some(soon),
        );
        check(&refused(-32051, http(429, &wait)), Some(soon), Some(soon));
        check(&refused(-32051, http(429, &[])), None, None);
        check(&refused(-32603, http(200, &[])), None, None);
        check(&refused(DEPENDENCY_UNAVAILABLE, http(200, &[])), None, None);
        check(&plain(http(503, &wait)), Some(soon), Some(soon));
        check(&plain(http(503, &[])), None, None);
        check(&plain(http(502, &[])), none, None);
        check(&plain(http(500, &wait)), None, None);
        check(&plain(http(401, &[])), None, None);
        let lost = CallError::Lost {
            url: "agent".into(),
            source: None,
        };
        check(&lost, none, None);
        let deadline = CallError::Deadline {
            url: "agent".into(),
        };
        check(&deadline, None, None);
    }

    #[test]
    fn blames_the_peer_for_its_own_failures_only() {
        let check = |error: &CallError, outcome| assert_eq!(error.outcome(), outcome, "{error}");
        check(&refused(OVERLOADED, http(200, &[])), Outcome::Failure);
        check(
            &refused(DEPENDENCY_UNAVAILABLE, http(200, &[])),
            Outcome::Failure,
        );
        check(&refused(-32603, http(500, &[])), Outcome::Failure);
        check(&refused(TASK_NOT_FOUND, http(200, &[])), Outcome::Success);
        check(&refused(-32051, http(429, &[])), Outcome::Success);
        check(&plain(http(503, &[])), Outcome::Failure);
        check(&plain(http(403, &[])), Outcome::Success);
        check(
            &CallError::Deadline {
                url: "agent".into(),
            },
            Outcome::Unknown,
        );
    }
}
