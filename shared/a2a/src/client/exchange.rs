//! One request and its answer over HTTP.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    CallError,
    error::{ErrorObject, HttpAnswer, RpcError},
};

/// Name of the header with the protocol's version.
const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");
/// Name of the header with the extensions in use.
const A2A_EXTENSIONS: HeaderName = HeaderName::from_static("a2a-extensions");
/// Largest body that is read for the error in it, bytes.
const MAX_ERROR: usize = 64 * 1024;

/// A JSON-RPC request.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a Value,
}

/// A request as it goes out.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) url: &'a str,
    pub(super) id: u64,
    pub(super) method: &'a str,
    pub(super) params: &'a Value,
    pub(super) headers: HeaderMap,
}

/// Headers of every request: the protocol's, the client's own, then the call's.
pub(super) fn headers(
    extensions: Option<&HeaderValue>,
    client: &HeaderMap,
    call: &HeaderMap,
) -> HeaderMap {
    let mut all = client.clone();
    for name in call.keys() {
        all.remove(name);
    }
    for (name, value) in call {
        all.append(name, value.clone());
    }
    all.insert(
        A2A_VERSION,
        HeaderValue::from_static(crate::PROTOCOL_VERSION),
    );
    if let Some(extensions) = extensions {
        all.insert(A2A_EXTENSIONS, extensions.clone());
    }
    all
}

impl Outgoing<'_> {
    /// Sends the request; an answer that is no success is an error.
    pub(super) async fn send(
        &self,
        http: &reqwest::Client,
    ) -> Result<reqwest::Response, CallError> {
        let envelope = Envelope {
            jsonrpc: "2.0",
            id: self.id,
            method: self.method,
            params: self.params,
        };
        let sent = http
            .post(self.url)
            .headers(self.headers.clone())
            .json(&envelope)
            .send()
            .await;
        let response = sent.map_err(|source| sending(self.url, source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let answer = HttpAnswer::new(response.status(), response.headers());
        let body = read(self.url, response, MAX_ERROR)
            .await
            .unwrap_or_default();
        Err(match serde_json::from_slice(&body) {
            Ok(Answer {
                error: Some(error), ..
            }) => refused(self.url, error, answer),
            _ => CallError::Http {
                url: self.url.to_owned(),
                http: answer,
            },
        })
    }

    /// Reads the result in a plain JSON answer.
    pub(super) async fn result(
        &self,
        response: reqwest::Response,
        limit: usize,
    ) -> Result<Box<RawValue>, CallError> {
        let answer = HttpAnswer::new(response.status(), response.headers());
        let body = read(self.url, response, limit).await?;
        result(self.url, self.id, &body, answer)
    }
}

/// Whether the request got out at all.
pub(super) fn sending(url: &str, source: reqwest::Error) -> CallError {
    let url = url.to_owned();
    if source.is_connect() {
        CallError::Connect { url, source }
    } else if source.is_builder() {
        CallError::Request(format!("{source} ({url})"))
    } else {
        CallError::Exchange { url, source }
    }
}

/// A JSON-RPC answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    /// `null` is a result: a deletion has no other.
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<ErrorObject>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The result in a JSON-RPC answer to the request with this id.
pub(super) fn result(
    url: &str,
    id: u64,
    body: &[u8],
    http: HttpAnswer,
) -> Result<Box<RawValue>, CallError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| malformed(url, format!("the answer is no JSON-RPC response: {error}")))?;
    match answer {
        // The agent may not have been able to read the id, so an error is taken with any.
        Answer {
            error: Some(error), ..
        } => Err(refused(url, error, http)),
        Answer { id: other, .. } if other != id => Err(malformed(
            url,
            format!("the answer is to request {other}, not {id}"),
        )),
        Answer {
            result: Some(result),
            ..
        } => Ok(result),
        _ => Err(malformed(url, "the answer has neither result nor error")),
    }
}

/// Decodes a result.
pub(super) fn decode<T: serde::de::DeserializeOwned>(
    url: &str,
    result: &RawValue,
) -> Result<T, CallError> {
    serde_json::from_str(result.get())
        .map_err(|error| malformed(url, format!("the result has the wrong shape: {error}")))
}

pub(super) fn malformed(url: &str, fault: impl Into<String>) -> CallError {
    CallError::Malformed {
        url: url.to_owned(),
        fault: fault.into(),
    }
}

fn refused(url: &str, error: ErrorObject, http: HttpAnswer) -> CallError {
    CallError::Refused(Box::new(RpcError::new(url, error, http)))
}

/// Reads a body piece by piece, and stops as soon as it is too large.
pub(super) async fn read(
    url: &str,
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, CallError> {
    let too_large = || CallError::AnswerTooLarge {
        url: url.to_owned(),
        limit,
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|source| CallError::Exchange {
                url: url.to_owned(),
                source,
            })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

/// Whether the answer is a stream of events.
pub(super) fn is_event_stream(response: &reqwest::Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}
