//! `POST /a2a` and the agent card: one axum handler from bytes to answer.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use identity::{PeerIdentity, Principal};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tracing::{Instrument, Span, field};

use super::{
    card, envelope,
    fault::{Fault, Kind},
    methods,
};
use crate::{
    approvals,
    engine::{Call, Engine, Meta, clip},
    registry::DELIVERY_SKILL,
    tasks::Record,
    telemetry::traces,
};

/// Largest request body. An SBOM or a folder of manifests stays below.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// The header that names the task of a direct call.
pub const TASK_HEADER: &str = "a2a-task-id";

/// What the handlers need.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Runs the skills.
    pub engine: Arc<Engine>,
    /// The card, encoded once.
    pub card: Arc<Value>,
}

/// The routes of the A2A port.
pub fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/a2a", post(handle))
        .route("/.well-known/agent-card.json", get(serve_card))
        .with_state(endpoint)
}

async fn serve_card(State(endpoint): State<Endpoint>) -> impl IntoResponse {
    (
        [(header::CACHE_CONTROL, "max-age=300")],
        axum::Json(Value::clone(&endpoint.card)),
    )
}

async fn handle(
    State(endpoint): State<Endpoint>,
    peer: Option<Extension<PeerIdentity>>,
    request: HttpRequest<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(fault) = check_content_type(&parts.headers) {
        return envelope::failure(None, &fault, None);
    }
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        let fault = Fault::new(
            Kind::BodyTooLarge,
            format!("the body is larger than {MAX_BODY} bytes or broke off"),
        )
        .with("expected", format!("at most {MAX_BODY} bytes"));
        return envelope::failure(None, &fault, None);
    };
    let span = tracing::info_span!(
        "a2a",
        "otel.name" = field::Empty,
        "otel.kind" = "server",
        "rpc.system.name" = "jsonrpc",
        "rpc.method" = field::Empty,
        "rpc.status_code" = field::Empty,
        "error.type" = field::Empty,
        "ossa.agent.name" = endpoint.engine.name,
        peer = field::Empty,
        trace_id = field::Empty,
    );
    traces::continue_trace(&span, &parts.headers);
    let peer = peer.map(|Extension(peer)| peer);
    answer(endpoint, peer, parts.headers, body)
        .instrument(span)
        .await
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" | "application/json-rpc" | "application/a2a+json" => Ok(()),
        _ => Err(Fault::new(
            Kind::ContentTypeNotSupported,
            "expected content-type application/json",
        )
        .with("field", "content-type")),
    }
}

async fn answer(
    endpoint: Endpoint,
    peer: Option<PeerIdentity>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let trace_id = traces::ids(&Span::current()).map(|(trace, _)| trace);
    let request = match envelope::Request::parse(&body) {
        Ok(request) => request,
        Err(fault) => return failed(None, &fault, trace_id.as_deref()),
    };
    if request.id.is_none() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let engine = &endpoint.engine;
    let known =
        methods::is_defined(&request.method) || engine.registry.get(&request.method).is_some();
    let method = if known {
        request.method.as_ref()
    } else {
        "_OTHER"
    };
    Span::current()
        .record("otel.name", method)
        .record("rpc.method", method);
    let result = match principal(engine, peer) {
        Ok(principal) => {
            Span::current().record("peer", principal.name.as_str());
            dispatch(&endpoint, &principal, &request, &headers).await
        }
        Err(fault) => Err(fault),
    };
    match result {
        Ok((result, task_id)) => {
            let mut response = envelope::success(request.id, &result);
            if let Some(task_id) = task_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
                response.headers_mut().insert(TASK_HEADER, task_id);
            }
            response
        }
        Err(fault) => failed(request.id, &fault, trace_id.as_deref()),
    }
}

fn failed(id: Option<&RawValue>, fault: &Fault, trace_id: Option<&str>) -> Response<Body> {
    Span::current()
        .record("rpc.status_code", fault.kind.code().to_string())
        .record("error.type", fault.kind.reason());
    envelope::failure(id, fault, trace_id)
}

/// The declared caller behind a connection. Nobody else gets an answer.
fn principal(engine: &Engine, peer: Option<PeerIdentity>) -> Result<Principal, Fault> {
    let unknown = || {
        engine
            .metrics
            .observe_request("unknown", &engine.name, "denied");
        Fault::new(
            Kind::Unauthenticated,
            "the connection carries no identity that this mesh declares",
        )
    };
    let Some(PeerIdentity(id)) = peer else {
        return Err(unknown());
    };
    engine.access.principal(&id).ok_or_else(|| {
        engine.trail.stranger(&id);
        unknown()
    })
}

type Answered = (Value, Option<String>);

async fn dispatch(
    endpoint: &Endpoint,
    principal: &Principal,
    request: &envelope::Request<'_>,
    headers: &HeaderMap,
) -> Result<Answered, Fault> {
    let engine = &endpoint.engine;
    let params = params(request.params)?;
    match request.method.as_ref() {
        method if methods::is_defined(method) => {
            check_version(headers)?;
            let result = methods::dispatch(engine, principal, method, params).await?;
            let task_id = result
                .pointer("/task/id")
                .or_else(|| result.get("id"))
                .and_then(Value::as_str)
                .map(str::to_owned);
            Ok((result, task_id))
        }
        "rpc.discover" => Ok((
            card::open_rpc(&engine.registry, engine.access.manifest()),
            None,
        )),
        method @ ("list_approvals" | "decide_approval") => {
            if !engine.access.allows(principal, method) {
                engine.refuse(principal, method);
                return Err(Fault::new(
                    Kind::PermissionDenied,
                    format!("{} may not use {method}", principal.name),
                ));
            }
            approvals::dispatch(engine, principal, method, params)
                .await
                .map(|result| (result, None))
        }
        DELIVERY_SKILL => engine
            .deliver(principal, params)
            .await
            .map(|result| (result, None)),
        method => direct(engine, principal, method, params).await,
    }
}

/// Parameters by name; absent means none.
fn params(raw: Option<&RawValue>) -> Result<Map<String, Value>, Fault> {
    let Some(raw) = raw else {
        return Ok(Map::new());
    };
    Map::deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
        .map_err(|_| Fault::field("params", "an object (parameters by name)", "another type"))
}

/// Major.Minor must be 1.0; no header at all means 0.3.
fn check_version(headers: &HeaderMap) -> Result<(), Fault> {
    let version = headers
        .get("a2a-version")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut numbers = version.split('.');
    if (numbers.next(), numbers.next()) == (Some("1"), Some("0")) {
        return Ok(());
    }
    let got = if version.is_empty() {
        "none (0.3)"
    } else {
        clip(version)
    };
    Err(
        Fault::new(Kind::VersionNotSupported, "this agent speaks A2A 1.0")
            .with("field", "A2A-Version")
            .with("expected", "1.0")
            .with("got", got),
    )
}

/// A skill called by its name: the answer is the artifact, or the task when it was asked for.
async fn direct(
    engine: &Arc<Engine>,
    principal: &Principal,
    skill: &str,
    mut input: Map<String, Value>,
) -> Result<Answered, Fault> {
    let meta = Meta::take(&mut input)?;
    let detached = meta.detached;
    let call = Call {
        principal: principal.clone(),
        skill: skill.to_owned(),
        input,
        meta,
        context_id: None,
        message: None,
        continues: None,
    };
    let receiver = engine.start(call).await?;
    if detached {
        crate::context::Backplane::store(&*engine.plane)
            .submit(Vec::new())
            .await
            .map_err(methods::store_fault)?;
        let record = Record::clone(&receiver.borrow());
        return Ok((json!(record.task), Some(record.task.id)));
    }
    let record = methods::settled(receiver).await;
    let task_id = record.task.id.clone();
    match record.fault {
        Some(fault) => Err(fault),
        None => Ok((artifact(record), Some(task_id))),
    }
}

/// The data of the task's artifact.
fn artifact(record: Record) -> Value {
    let part = record
        .task
        .artifacts
        .into_iter()
        .next()
        .and_then(|artifact| artifact.parts.into_iter().next());
    part.and_then(|part| part.data).unwrap_or_default()
}
