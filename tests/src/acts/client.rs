//! The corpus' other half: canonical answers for a client to read, given to ours by a server that says nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use a2a::{
    client::{CallError, CallOptions, Client, ClientOptions},
    types::{GetTaskRequest, Message, Part, PushConfig, Role, SendMessageRequest},
};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    corpus::{ClientResponse, Test},
    runner::chain,
    wire::CARD_PATH,
};

/// A server with one card and one answer.
#[derive(Debug)]
struct Canned {
    url: String,
    calls: Arc<AtomicUsize>,
    _stop: DropGuard,
}

#[derive(Debug, Clone)]
struct Script {
    card: Value,
    answer: Value,
    calls: Arc<AtomicUsize>,
}

impl Canned {
    async fn start(card: &Value, answer: Value) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let calls = Arc::default();
        let script = Script {
            card: completed(card, &url),
            answer,
            calls: Arc::clone(&calls),
        };
        let app = Router::new()
            .route(
                CARD_PATH,
                get(async |State(script): State<Script>| Json(script.card)),
            )
            .route("/", post(speak))
            .with_state(script);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .await
        });
        Ok(Self {
            url,
            calls,
            _stop: stop.drop_guard(),
        })
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Client::discover(http, &self.url, ClientOptions::default()).await?)
    }
}

async fn speak(State(script): State<Script>, Json(request): Json<Value>) -> Json<Value> {
    script.calls.fetch_add(1, Ordering::Relaxed);
    let mut answer = script.answer;
    // The corpus has fixed ids; a client is right to refuse an answer to another request.
    if let (Some(members), Some(id)) = (answer.as_object_mut(), request.get("id")) {
        members.insert("id".into(), id.clone());
    }
    Json(answer)
}

/// The corpus' cards leave out members that the protocol requires, and every binding but REST.
fn completed(card: &Value, url: &str) -> Value {
    let mut complete = json!({
        "name": "canned",
        "description": "gives one answer",
        "version": "1.0.0",
        "capabilities": {"streaming": true, "pushNotifications": true, "extendedAgentCard": true},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [],
    });
    if let (Some(complete), Some(given)) = (complete.as_object_mut(), card.as_object()) {
        complete.extend(given.clone());
        let interface = json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
        complete.insert("supportedInterfaces".into(), json!([interface]));
        for skill in complete
            .get_mut("skills")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            skill
                .entry("description")
                .or_insert_with(|| json!("a skill"));
            skill.entry("tags").or_insert_with(|| json!([]));
        }
    }
    complete
}

/// What our client makes of an answer.
///
/// # Errors
/// That it cannot read it.
pub async fn parse(response: &ClientResponse) -> Result<Value, String> {
    match response.operation.as_str() {
        "get_agent_card" => {
            let server = Canned::start(&response.wire_payload, Value::Null).await;
            let client = server.map_err(chain)?.client().await.map_err(chain)?;
            json_of(&client.card())
        }
        "get_extended_agent_card" => {
            let card = completed(&response.wire_payload, "http://127.0.0.1:1");
            let answer = json!({"jsonrpc": "2.0", "result": card});
            let client = Canned::start(&json!({}), answer).await.map_err(chain)?;
            let client = client.client().await.map_err(chain)?;
            let read = client
                .get_extended_agent_card(&CallOptions::default())
                .await;
            shown(read.map(|card| json_of(&card)))
        }
        operation => call(operation, response.wire_payload.clone()).await,
    }
}

async fn call(operation: &str, answer: Value) -> Result<Value, String> {
    let server = Canned::start(&json!({}), answer).await.map_err(chain)?;
    let client = server.client().await.map_err(chain)?;
    let options = CallOptions::default();
    match operation {
        "send_message" => {
            let read = client.send_message(&message(), &options).await;
            shown(read.map(|answer| json_of(&answer)))
        }
        "get_task" => {
            let request = GetTaskRequest {
                id: "any".into(),
                history_length: None,
            };
            let read = client.get_task(&request, &options).await;
            shown(read.map(|task| json_of(&task)))
        }
        other => Err(format!("unknown operation {other}")),
    }
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// An error of the agent is what the client read; any other says that it could not read.
fn shown(read: Result<Result<Value, String>, CallError>) -> Result<Value, String> {
    match read {
        Ok(value) => value,
        Err(CallError::Refused(error)) => {
            Ok(json!({"error": {"code": error.code, "message": error.message}}))
        }
        Err(error) => Err(chain(error.into())),
    }
}

fn message() -> SendMessageRequest {
    SendMessageRequest {
        message: Message {
            message_id: "m".into(),
            role: Role::User,
            parts: vec![Part::text("hello")],
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

fn payload(test: &Test, step: usize) -> Result<&Value, String> {
    let response = test
        .steps
        .get(step)
        .and_then(|step| step.client_response.as_ref());
    let response = response.ok_or_else(|| format!("{} has no answer number {step}", test.id))?;
    Ok(&response.wire_payload)
}

/// `CLIENT-CAP-001`: what the card does not offer is not even asked for.
///
/// # Errors
/// What the client asks for all the same.
pub async fn goes_by_the_card(test: &Test) -> Result<(), String> {
    let server = Canned::start(payload(test, 0)?, Value::Null)
        .await
        .map_err(chain)?;
    let client = server.client().await.map_err(chain)?;
    let options = CallOptions::default();
    let stream = client.send_streaming_message(&message(), &options).await;
    let push = client
        .create_push_config(&PushConfig::default(), &options)
        .await;
    if !matches!(stream, Err(CallError::NotOffered(_))) {
        return Err("the client asks for a stream".into());
    }
    if !matches!(push, Err(CallError::NotOffered(_))) {
        return Err("the client asks for push notifications".into());
    }
    match server.calls.load(Ordering::Relaxed) {
        0 => Ok(()),
        calls => Err(format!("the agent got {calls} calls")),
    }
}

/// `CLIENT-AUTH-001`: the extended card takes the place of the public one.
///
/// # Errors
/// What the client goes by instead.
pub async fn goes_by_the_extended_card(test: &Test) -> Result<(), String> {
    let extended = completed(payload(test, 1)?, "http://127.0.0.1:1");
    let answer = json!({"jsonrpc": "2.0", "result": extended});
    let server = Canned::start(payload(test, 0)?, answer)
        .await
        .map_err(chain)?;
    let client = server.client().await.map_err(chain)?;
    let streams = || client.card().capabilities.streaming;
    if streams() != Some(false) {
        return Err("the public card is misread".into());
    }
    let read = client
        .get_extended_agent_card(&CallOptions::default())
        .await;
    read.map_err(|error| chain(error.into()))?;
    match streams() {
        Some(true) => Ok(()),
        other => Err(format!(
            "streaming is {other:?} after the extended card came"
        )),
    }
}
