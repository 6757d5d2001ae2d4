//! An agent that answers from a script and writes down what it was asked.

#![allow(dead_code, reason = "each test uses its own part")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use a2a::client::{CallError, CallOptions, Client, ClientOptions};
use a2a::types::{Message, Part, Role, SendMessageRequest};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::Response,
    routing::{get, post},
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the agent answers to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A JSON-RPC result to the request's id.
    Result(Value),
    /// A JSON-RPC error to the request's id.
    Error(Value),
    /// Status, headers and body as they are.
    Http(u16, Vec<(&'static str, String)>, String),
    /// Events, then the end of the answer.
    Events(Vec<(&'static str, Value)>),
    /// Events, then the connection breaks.
    Broken(Vec<(&'static str, Value)>),
    /// An event stream as it is.
    Raw(Vec<String>),
    /// The answer begins, but the connection breaks before it is complete.
    Lost,
    /// Nothing, ever.
    Silence,
    /// An event stream in which nothing happens.
    SilentStream,
}

/// What the agent was asked.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap()
    }
}

#[derive(Debug, Default)]
struct Script {
    card: Value,
    card_headers: Vec<(&'static str, String)>,
    answers: VecDeque<Answer>,
    received: Vec<Received>,
    fetched: Vec<HeaderMap>,
}

/// The agent.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

/// A card with everything on.
pub(crate) fn card(url: &str) -> Value {
    json!({
        "name": "Scripted", "description": "Answers from a script.", "version": "1.0.0",
        "supportedInterfaces": [
            {"url": format!("{url}/grpc"), "protocolBinding": "GRPC", "protocolVersion": "1.0"},
            {"url": format!("{url}/old"), "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
            {"url": format!("{url}/a2a"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "blue"},
        ],
        "capabilities": {"streaming": true, "pushNotifications": true, "extendedAgentCard": true, "extensions": [
            {"uri": a2a::IDEMPOTENT_SEND},
        ]},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [],
    })
}

impl Agent {
    /// Starts an agent with the card of [`card`], changed by `change`.
    pub(crate) async fn start(change: impl FnOnce(&mut Value), answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut card = card(&url);
        change(&mut card);
        let script = Arc::new(Mutex::new(Script {
            card,
            answers: answers.into(),
            ..Script::default()
        }));
        let router = Router::new()
            .route("/.well-known/agent-card.json", get(serve_card))
            .route("/a2a", post(serve))
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, script }
    }

    /// Changes the card, and the headers it comes with.
    pub(crate) fn serve_card(
        &self,
        headers: &[(&'static str, &str)],
        change: impl FnOnce(&mut Value),
    ) {
        let mut script = self.script.lock().unwrap();
        change(&mut script.card);
        script.card_headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
    }

    /// Requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.script.lock().unwrap().received.clone()
    }

    /// Headers of the requests for the card so far.
    pub(crate) fn fetched(&self) -> Vec<HeaderMap> {
        self.script.lock().unwrap().fetched.clone()
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.received()
            .iter()
            .map(|it| it.method().to_owned())
            .collect()
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(ClientOptions::default()).await
    }

    pub(crate) async fn client_with(&self, options: ClientOptions) -> Client {
        Client::discover(http(), &self.url, options).await.unwrap()
    }
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A message from the user.
pub(crate) fn message(text: &str) -> SendMessageRequest {
    SendMessageRequest {
        message: Message {
            message_id: "m-1".into(),
            role: Role::User,
            parts: vec![Part::text(text)],
            context_id: None,
            task_id: None,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        },
        configuration: None,
        metadata: None,
    }
}

/// A task in a state.
pub(crate) fn task(state: &str) -> Value {
    json!({"id": "t-1", "contextId": "c-1", "status": {"state": format!("TASK_STATE_{state}")}})
}

/// A status update of the task.
pub(crate) fn update(state: &str) -> Value {
    json!({"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": {"state": format!("TASK_STATE_{state}")}}})
}

/// Sends a message with no options.
pub(crate) async fn send(client: &Client) -> Result<a2a::types::SendMessageResponse, CallError> {
    client
        .send_message(&message("hello"), &CallOptions::default())
        .await
}

fn headers(response: &mut Response, headers: &[(&'static str, String)]) {
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        response.headers_mut().append(name, value.parse().unwrap());
    }
}

async fn serve_card(State(script): State<Arc<Mutex<Script>>>, request: HeaderMap) -> Response {
    let mut script = script.lock().unwrap();
    let sent = |name: &str| {
        request
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let header = |name: &str| {
        script
            .card_headers
            .iter()
            .find(|(it, _)| *it == name)
            .map(|(_, value)| value.clone())
    };
    let matches = match (sent("if-none-match"), sent("if-modified-since")) {
        (Some(tag), _) => header("etag") == Some(tag),
        (None, Some(date)) => header("last-modified") == Some(date),
        (None, None) => false,
    };
    let mut response = Response::new(Body::from(script.card.to_string()));
    if matches {
        *response.body_mut() = Body::empty();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    headers(&mut response, &script.card_headers);
    script.fetched.push(request);
    response
}

async fn serve(
    State(script): State<Arc<Mutex<Script>>>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = body["id"].clone();
    let answer = {
        let mut script = script.lock().unwrap();
        script.received.push(Received {
            headers: request,
            body,
        });
        script.answers.pop_front().expect("the script goes on")
    };
    match answer {
        Answer::Result(result) => json_body(&json!({"jsonrpc": "2.0", "id": id, "result": result})),
        Answer::Error(error) => json_body(&json!({"jsonrpc": "2.0", "id": id, "error": error})),
        Answer::Http(status, with, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            headers(&mut response, &with);
            response
        }
        Answer::Events(events) => stream_body(lines(&id, &events), false),
        Answer::Broken(events) => stream_body(lines(&id, &events), true),
        Answer::Raw(pieces) => stream_body(pieces, false),
        Answer::Lost => {
            let mut response = stream_body(vec!["{\"jsonrpc\"".into()], true);
            let json = "application/json".parse().unwrap();
            response.headers_mut().insert("content-type", json);
            response
        }
        Answer::Silence => std::future::pending().await,
        Answer::SilentStream => event_stream(Body::from_stream(
            stream::iter([Ok::<_, Infallible>(": open\n\n")]).chain(stream::pending()),
        )),
    }
}

fn json_body(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    headers(
        &mut response,
        &[("content-type", "application/json".into())],
    );
    response
}

fn lines(id: &Value, events: &[(&'static str, Value)]) -> Vec<String> {
    let line = |(event, result): &(&str, Value)| {
        let data = match result.get("error") {
            Some(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
            None => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        };
        if event.is_empty() {
            format!("data: {data}\n\n")
        } else {
            format!("id: {event}\ndata: {data}\n\n")
        }
    };
    events.iter().map(line).collect()
}

fn stream_body(pieces: Vec<String>, broken: bool) -> Response {
    let end = broken.then(|| Err(std::io::Error::other("broken")));
    let pieces = pieces
        .into_iter()
        .map(|piece| Ok(Bytes::from(piece)))
        .chain(end);
    // Each piece is sent before the next, and the break only after them.
    let body = stream::unfold(pieces, |mut pieces| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        pieces.next().map(|piece| (piece, pieces))
    });
    event_stream(Body::from_stream(body))
}

fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = "text/event-stream; charset=utf-8".to_owned();
    headers(&mut response, &[("content-type", kind)]);
    response
}
