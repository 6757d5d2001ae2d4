//! The small agent running, and callers of it.
#![allow(clippy::indexing_slicing, reason = "a failing test says so by a panic")]

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};
use shared::agent::Addresses;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Ground, Probe};

/// A running agent and a caller of it.
pub(crate) struct Agent {
    pub(crate) addresses: Addresses,
    pub(crate) probe: Probe,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<anyhow::Result<()>>,
    pub(crate) caller: Caller,
}

#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
}

/// One answer: HTTP status, task id, Retry-After, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) task: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> Option<i64> {
        self.body.pointer("/error/code").and_then(Value::as_i64)
    }

    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.body
            .pointer("/error/data/0/metadata")?
            .get(name)?
            .as_str()
    }

    pub(crate) fn text(&self) -> Option<&str> {
        self.body.pointer("/result/text").and_then(Value::as_str)
    }

    pub(crate) fn state(&self) -> Option<&str> {
        self.body
            .pointer("/result/status/state")
            .and_then(Value::as_str)
    }

    /// The error without what differs from request to request.
    pub(crate) fn anonymous(&self) -> Value {
        let mut error = self.body["error"].clone();
        let metadata = error.pointer_mut("/data/0/metadata");
        metadata
            .and_then(Value::as_object_mut)
            .map(|metadata| metadata.remove("trace_id"));
        error
    }
}

/// One server-sent event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

impl Event {
    fn read(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            id: field("id: ").map(|id| id.parse().unwrap()),
            data: serde_json::from_str(field("data: ")?).unwrap(),
        })
    }
}

impl Caller {
    pub(crate) async fn call(&self, method: &str, params: Value) -> Answer {
        self.call_with(&[], method, params).await
    }

    pub(crate) async fn call_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        params: Value,
    ) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self.client.post(&self.url).header("A2A-Version", "1.0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.json(&body).send().await.unwrap();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let (task, retry_after) = (header("a2a-task-id"), header("retry-after"));
        Answer {
            status: response.status().as_u16(),
            task,
            retry_after,
            body: response.json().await.unwrap(),
        }
    }

    pub(crate) async fn echo(&self) -> Answer {
        self.call("echo", json!({"text": "hello"})).await
    }

    /// Opens a stream; what is no stream is an answer.
    pub(crate) async fn stream(
        &self,
        method: &str,
        params: Value,
        seen: Option<&str>,
    ) -> Result<impl Stream<Item = Event> + use<>, Answer> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self.client.post(&self.url).header("A2A-Version", "1.0");
        if let Some(seen) = seen {
            request = request.header("Last-Event-ID", seen);
        }
        let response = request.json(&body).send().await.unwrap();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        if !kind.starts_with("text/event-stream") {
            let retry_after = response.headers().get("retry-after");
            return Err(Answer {
                status: response.status().as_u16(),
                task: None,
                retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
                body: response.json().await.unwrap(),
            });
        }
        let mut text = String::new();
        let blocks = response.bytes_stream().flat_map(move |piece| {
            // A connection that is cut off ends the stream.
            let piece = piece.unwrap_or_default();
            text.push_str(std::str::from_utf8(&piece).unwrap());
            let mut events = Vec::new();
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                events.extend(Event::read(&block));
            }
            futures::stream::iter(events)
        });
        Ok(blocks)
    }

    /// Starts a task and does not wait for it.
    pub(crate) async fn detached(&self, skill: &str, mut input: Value) -> String {
        input["_meta"]["async"] = json!(true);
        let answer = self.call(skill, input).await;
        answer.task.unwrap_or_else(|| panic!("{}", answer.body))
    }

    pub(crate) async fn state(&self, task: &str) -> String {
        let answer = self.call("GetTask", json!({"id": task})).await;
        answer.state().unwrap_or_default().to_owned()
    }

    /// Waits until a task is in a state.
    pub(crate) async fn reaches(&self, task: &str, state: &str) {
        for _ in 0..3_000 {
            if self.state(task).await == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{task} is {} and not {state}", self.state(task).await);
    }
}

impl Agent {
    pub(crate) async fn start(ground: &Ground, further: &[&str]) -> Self {
        let probe = ground.probe();
        let bound = ground.bind(&probe, further).await;
        let addresses = bound.addresses();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(bound.serve(shutdown.clone()));
        let caller = Caller {
            client: ground.client("operator"),
            url: format!("https://{}/a2a", addresses.a2a),
        };
        Self {
            addresses,
            probe,
            shutdown,
            serving,
            caller,
        }
    }

    /// Another caller of the same agent.
    pub(crate) fn caller_named(&self, ground: &Ground, name: &str) -> Caller {
        Caller {
            client: ground.client(name),
            url: self.caller.url.clone(),
        }
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }

    pub(crate) async fn ready(&self) -> u16 {
        let url = format!("http://{}/readyz", self.addresses.health);
        reqwest::get(url).await.unwrap().status().as_u16()
    }
}
