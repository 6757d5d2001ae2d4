//! An agent as plain HTTP shows it: no A2A library stands between the tests and what goes over the wire.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::{
    Method, RequestBuilder, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{adapt, corpus::Raw};

/// How long an answer or the next event may take, seconds: the corpus' longest task takes one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where every agent's card is.
pub const CARD_PATH: &str = "/.well-known/agent-card.json";

/// An agent's JSON-RPC interface.
#[derive(Debug, Clone)]
pub struct Endpoint {
    client: reqwest::Client,
    /// Where the card is.
    root: String,
    /// Where JSON-RPC is, as the card says.
    rpc: String,
    bearer: Option<String>,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, null when it is not JSON.
    pub body: Value,
}

impl Answer {
    async fn read(response: Response) -> anyhow::Result<Self> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await?;
        Ok(Self {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        })
    }

    /// Whether the agent refused, by status or by a JSON-RPC error.
    pub fn is_refusal(&self) -> bool {
        self.status >= 400 || self.body.get("error").is_some()
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> &str {
        self.headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
    }
}

/// What a streaming call is answered with.
#[derive(Debug)]
pub enum Reply {
    /// Server-sent events.
    Events(Events),
    /// One answer, such as an error.
    Answer(Answer),
}

/// Server-sent events as they come.
#[derive(Debug)]
pub struct Events {
    response: Response,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event's JSON; none when the agent closed the stream.
    ///
    /// # Errors
    /// A stream that says nothing for too long, or no JSON.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(data) = take_event(&mut self.buffer) {
                return serde_json::from_str(&data)
                    .map(Some)
                    .with_context(|| format!("an event is not JSON: {data}"));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .context("the stream says nothing and does not end")??;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// All events until the agent closes the stream.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub async fn rest(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

/// Takes the data of the first complete event with data out of the buffer.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let (end, gap) = ["\n\n", "\r\n\r\n"]
            .iter()
            .filter_map(|gap| {
                let at = buffer
                    .windows(gap.len())
                    .position(|window| window == gap.as_bytes())?;
                Some((at, gap.len()))
            })
            .min()?;
        let event: Vec<u8> = buffer.drain(..end + gap).collect();
        let data: Vec<&str> = std::str::from_utf8(&event)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        if !data.is_empty() {
            return Some(data.join("\n"));
        }
    }
}

impl Endpoint {
    /// Reads an agent's card, and from it where JSON-RPC is.
    ///
    /// # Errors
    /// No card, or a card without a JSON-RPC interface.
    pub async fn discover(root: &str) -> anyhow::Result<(Self, Value)> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let root = root.trim_end_matches('/').to_owned();
        let mut endpoint = Self {
            client,
            rpc: root.clone(),
            root,
            bearer: None,
        };
        let card = endpoint.card(HeaderMap::new()).await?;
        ensure!(
            card.status == 200,
            "the card is answered with {}",
            card.status
        );
        endpoint.rpc = interface(&card.body).context("the card names no JSON-RPC 1.0 interface")?;
        Ok((endpoint, card.body))
    }

    /// The same agent, called with a bearer token on every operation.
    #[must_use]
    pub fn with_bearer(&self, token: &str) -> Self {
        Self {
            bearer: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The card, unauthenticated.
    ///
    /// # Errors
    /// No answer.
    pub async fn card(&self, headers: HeaderMap) -> anyhow::Result<Answer> {
        let request = self.client.get(format!("{}{CARD_PATH}", self.root));
        let request = request.header("A2A-Version", "1.0").headers(headers);
        Answer::read(request.send().await?).await
    }

    /// Calls a method.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(&self, method: &str, params: Map<String, Value>) -> anyhow::Result<Answer> {
        Answer::read(self.post(method, params).send().await?).await
    }

    /// Calls a streaming method.
    ///
    /// # Errors
    /// No answer.
    pub async fn open(&self, method: &str, params: Map<String, Value>) -> anyhow::Result<Reply> {
        let request = self
            .post(method, params)
            .header("Accept", "text/event-stream");
        reply(request.send().await?).await
    }

    /// Sends a request as it stands, without any header of ours.
    ///
    /// # Errors
    /// No answer, or no such HTTP method.
    pub async fn raw(&self, raw: Raw) -> anyhow::Result<Reply> {
        let method = Method::from_bytes(raw.method.as_bytes())?;
        let path = raw.path.trim_start_matches('/');
        let url = if path.is_empty() {
            self.rpc.clone()
        } else {
            format!("{}/{path}", self.rpc.trim_end_matches('/'))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &raw.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        let request = self.client.request(method, url).headers(headers);
        let request = match (raw.body, raw.body_raw) {
            (Some(body), None) => request.body(adapt::raw_body(body).to_string()),
            (None, Some(text)) => request.body(text),
            (None, None) => request,
            (Some(_), Some(_)) => bail!("a raw step has two bodies"),
        };
        reply(request.send().await?).await
    }

    fn post(&self, method: &str, params: Map<String, Value>) -> RequestBuilder {
        let body = json!({
            "jsonrpc": "2.0",
            "id": Uuid::new_v4().to_string(),
            "method": method,
            "params": adapt::params(method, params),
        });
        let request = self
            .client
            .post(&self.rpc)
            .header("A2A-Version", "1.0")
            .json(&body);
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

async fn reply(response: Response) -> anyhow::Result<Reply> {
    let streams = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    Ok(if streams {
        Reply::Events(Events {
            response,
            buffer: Vec::new(),
        })
    } else {
        Reply::Answer(Answer::read(response).await?)
    })
}

/// URL of the first JSON-RPC interface of A2A 1.0.
fn interface(card: &Value) -> Option<String> {
    card.get("supportedInterfaces")?
        .as_array()?
        .iter()
        .find(|entry| {
            entry.get("protocolBinding").and_then(Value::as_str) == Some("JSONRPC")
                && entry.get("protocolVersion").and_then(Value::as_str) == Some("1.0")
        })?
        .get("url")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines_and_comments_are_skipped() {
        let mut buffer = b": hello\n\nid: 1\ndata: {\"a\":\ndata: 1}\n\ndata: rest".to_vec();
        assert_eq!(take_event(&mut buffer).as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(take_event(&mut buffer), None);
        assert_eq!(buffer, b"data: rest");
    }

    #[test]
    fn carriage_returns_are_line_ends() {
        let mut buffer = b"data: 1\r\n\r\ndata: 2\r\n\r\n".to_vec();
        assert_eq!(take_event(&mut buffer).as_deref(), Some("1"));
        assert_eq!(take_event(&mut buffer).as_deref(), Some("2"));
    }
}
