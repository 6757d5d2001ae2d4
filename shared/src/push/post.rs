//! One request to a webhook.

use std::{
    error::Error,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use a2a::types::PushConfig;
use bytes::Bytes;
use reqwest::{
    Client, Response, Url,
    dns::Resolve,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use time::OffsetDateTime;
use tracing::{Instrument, Span};

use super::{
    config::{authorization, secret},
    screen::{Policy, Refused, Screen},
};
use crate::telemetry::traces;

/// The media type that A2A wants for push notifications.
const A2A_JSON: &str = "application/a2a+json";
const AGENT: &str = concat!("agent-mesh/", env!("CARGO_PKG_VERSION"));
const VERSION: HeaderName = HeaderName::from_static("a2a-version");
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");
const TRACE: HeaderName = HeaderName::from_static("traceparent");
/// Number of the event, as streams give it: a webhook that gets one twice knows it by this.
const EVENT: HeaderName = HeaderName::from_static("x-a2a-event-id");
/// Idle connections are closed after this; names are resolved anew for every connection.
const IDLE: Duration = Duration::from_secs(30);

/// Why a webhook did not acknowledge.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// It was stored under another key.
    #[error("the stored configuration cannot be opened with the signing key of this agent")]
    Unreadable,
    /// Its name leads to an address that it may not have.
    #[error("{0} is not a public address")]
    Blocked(IpAddr),
    /// It answered, but not with 2xx.
    #[error("the webhook answered {status}")]
    Status {
        /// HTTP status; redirects are not followed.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It did not answer in time.
    #[error("the webhook did not answer in time")]
    Timeout,
    /// It cannot be reached, or broke off.
    #[error("cannot reach the webhook")]
    Exchange(#[source] reqwest::Error),
}

impl PostError {
    /// A fixed word for metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Blocked(_) => "blocked",
            Self::Timeout => "timeout",
            Self::Status { .. } | Self::Exchange(_) => "error",
        }
    }

    /// Whether another try is in vain: the webhook is gone.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 404 | 410,
                ..
            }
        )
    }

    /// When the webhook wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for PostError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a secret.
        let error = error.without_url();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(Refused(address)) = found.downcast_ref() {
                return Self::Blocked(*address);
            }
            cause = found.source();
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        Self::Exchange(error)
    }
}

/// One event on its way.
pub(super) struct Letter<'a> {
    pub(super) config: &'a PushConfig,
    /// Number of the event.
    pub(super) number: u64,
    pub(super) body: Bytes,
    /// Trace of the task.
    pub(super) traceparent: Option<&'a str>,
}

/// Sends requests to webhooks, to screened addresses only.
pub(super) struct Poster {
    policy: Policy,
    names: Arc<dyn Resolve>,
    patience: Duration,
    /// Made when it is first needed: most agents push nothing.
    client: OnceLock<Client>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poster")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Poster {
    /// Resolves names by `names`; each request may take as long as `patience`.
    pub(super) fn new(policy: Policy, names: Arc<dyn Resolve>, patience: Duration) -> Self {
        Self {
            policy,
            names,
            patience,
            client: OnceLock::new(),
        }
    }

    /// What is allowed.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Resolves when the webhook has acknowledged.
    pub(super) async fn post(&self, letter: Letter<'_>) -> Result<(), PostError> {
        // It was read when it was checked; what does not parse any more was not stored by us.
        let url = Url::parse(&letter.config.url).map_err(|_| PostError::Unreadable)?;
        let literal = self.policy.check_literal(&url);
        literal.map_err(|Refused(address)| PostError::Blocked(address))?;
        let span = traces::resumed("push", letter.traceparent);
        let request = self
            .client()?
            .post(url)
            .headers(headers(&letter, &span))
            .body(letter.body);
        let response = request.send().instrument(span).await?;
        verdict(&response)
    }

    fn client(&self) -> Result<&Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let screen = Screen {
            policy: self.policy.clone(),
            names: self.names.clone(),
        };
        let client = Client::builder()
            .dns_resolver(Arc::new(screen))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(AGENT)
            .timeout(self.patience)
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn headers(letter: &Letter<'_>, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(A2A_JSON)),
        (VERSION, HeaderValue::from_static("1.0")),
        (EVENT, HeaderValue::from(letter.number)),
    ]);
    headers.extend(authorization(letter.config).map(|value| (AUTHORIZATION, value)));
    let token = letter.config.token.as_deref().and_then(secret);
    headers.extend(token.map(|value| (TOKEN, value)));
    let parent = letter.traceparent.and_then(|parent| parent.parse().ok());
    headers.extend(parent.map(|parent: HeaderValue| (TRACE, parent)));
    traces::propagate(span, &mut headers);
    headers
}

fn verdict(response: &Response) -> Result<(), PostError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let asked = response.headers().get(RETRY_AFTER);
    let asked = asked.and_then(|value| value.to_str().ok());
    Err(PostError::Status {
        status: status.as_u16(),
        retry_after: asked.and_then(|text| retry_after(text, OffsetDateTime::now_utc())),
    })
}

/// Reads `Retry-After`, RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: OffsetDateTime = httpdate::parse_http_date(text).ok()?.into();
    Some((at - now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after_in_both_forms() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // RFC 9110, section 5.6.7
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                retry_after(text, now).map(|wait| wait.as_secs()),
                expected,
                "{text}"
            );
        }
    }
}
