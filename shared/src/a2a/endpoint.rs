//! `POST /a2a` and the agent card: one axum handler from bytes to answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{
        HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode, header,
        request::Parts,
    },
    response::IntoResponse,
    routing::{get, post},
};
use identity::{PeerIdentity, Principal};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use tokio::time::timeout;
use tracing::{Instrument, Span, field};

use super::{
    card::{self, Cards},
    envelope, extensions,
    fault::{Fault, Kind},
    methods::{self, Answer},
};
use crate::{
    approvals,
    engine::{Call, Engine, Meta, Work, clip},
    registry::DELIVERY_SKILL,
    telemetry::traces,
};

/// Largest request body. An SBOM or a folder of manifests stays below.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// Time for a body to arrive: against clients that send a byte now and then.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The header that names the task of a direct call.
pub const TASK_HEADER: &str = "a2a-task-id";

/// What the handlers need.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Runs the skills.
    pub(crate) engine: Arc<Engine>,
    /// The agent's cards.
    pub(crate) cards: Arc<Cards>,
    /// Who calls.
    pub(crate) callers: Arc<dyn Callers>,
}

/// The routes of the A2A port.
pub(crate) fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/a2a", post(handle))
        .route("/.well-known/agent-card.json", get(serve_card))
        .with_state(endpoint)
}

async fn serve_card(State(endpoint): State<Endpoint>, headers: HeaderMap) -> Response<Body> {
    endpoint.cards.serve(&headers)
}

async fn handle(State(endpoint): State<Endpoint>, request: HttpRequest<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(fault) = check_content_type(&parts.headers) {
        return envelope::failure(None, &fault, None);
    }
    let body = match read(&parts.headers, body).await {
        Ok(body) => body,
        Err(fault) => return envelope::failure(None, &fault, None),
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
    answer(endpoint, parts, body).instrument(span).await
}

/// The whole body, within its limits of size and time.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let too_large = |got: &str| {
        let said = format!("the body is larger than {MAX_BODY} bytes or broke off");
        Fault::new(Kind::BodyTooLarge, said)
            .with("expected", format!("at most {MAX_BODY} bytes"))
            .with("got", got)
    };
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if let Some(length) = length
        && length
            .parse::<usize>()
            .is_ok_and(|length| length > MAX_BODY)
    {
        return Err(too_large(&format!("{length} bytes")));
    }
    let arrived = timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await;
    let body = arrived.map_err(|_| {
        let said = format!(
            "the body did not arrive within {} s",
            BODY_TIMEOUT.as_secs()
        );
        Fault::new(Kind::BodyTooSlow, said)
    })?;
    body.map_err(|_| too_large("more, or an end before its time"))
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

async fn answer(endpoint: Endpoint, parts: Parts, body: Bytes) -> Response<Body> {
    let trace_id = traces::ids(&Span::current()).map(|(trace, _)| trace);
    let request = match envelope::Request::parse(&body) {
        Ok(request) => request,
        Err(fault) => return failed(None, &fault, trace_id.as_deref()),
    };
    let Some(id) = request.id else {
        return StatusCode::NO_CONTENT.into_response();
    };
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
    let result = match endpoint.callers.principal(engine, &parts) {
        Ok(principal) => {
            Span::current().record("peer", principal.name.as_str());
            dispatch(&endpoint, &principal, &request, &parts.headers).await
        }
        Err(fault) => Err(fault),
    };
    let mut response = match result {
        Ok(Answer::Result(result, task_id)) => {
            let mut response = envelope::success(id, &result);
            if let Some(task_id) = task_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
                response.headers_mut().insert(TASK_HEADER, task_id);
            }
            response
        }
        Ok(Answer::Stream(updates)) => updates.respond(id),
        Err(fault) => return failed(Some(id), &fault, trace_id.as_deref()),
    };
    let activated = extensions::activated(&endpoint.cards, &parts.headers);
    if let Some(activated) = activated {
        response.headers_mut().insert(extensions::HEADER, activated);
    }
    response
}

fn failed(id: Option<&RawValue>, fault: &Fault, trace_id: Option<&str>) -> Response<Body> {
    Span::current()
        .record("rpc.status_code", fault.kind.code().to_string())
        .record("error.type", fault.kind.reason());
    envelope::failure(id, fault, trace_id)
}

/// Says who sent a request. Nobody else gets an answer.
pub(crate) trait Callers: std::fmt::Debug + Send + Sync {
    /// The principal.
    ///
    /// # Errors
    /// `Unauthenticated`.
    fn principal(&self, engine: &Engine, request: &Parts) -> Result<Principal, Fault>;
}

/// The declared callers of the mesh, by the identity of their connection.
#[derive(Debug)]
pub(crate) struct MeshCallers;

impl Callers for MeshCallers {
    fn principal(&self, engine: &Engine, request: &Parts) -> Result<Principal, Fault> {
        let unknown = || {
            engine
                .metrics
                .observe_request("unknown", &engine.name, "denied");
            Fault::new(
                Kind::Unauthenticated,
                "the connection carries no identity that this mesh declares",
            )
        };
        let Some(PeerIdentity(id)) = request.extensions.get::<PeerIdentity>() else {
            return Err(unknown());
        };
        engine.access.principal(id).ok_or_else(|| {
            engine.trail.stranger(id);
            unknown()
        })
    }
}

async fn dispatch(
    endpoint: &Endpoint,
    principal: &Principal,
    request: &envelope::Request<'_>,
    headers: &HeaderMap,
) -> Result<Answer, Fault> {
    let engine = &endpoint.engine;
    let method = request.method.as_ref();
    let reads = methods::is_defined(method) && !methods::starts_work(method);
    engine.rates.check(&principal.name, reads)?;
    match method {
        method if methods::is_defined(method) => {
            check_version(headers)?;
            extensions::check(&endpoint.cards, headers)?;
            let request = methods::Request {
                engine,
                cards: &endpoint.cards,
                principal,
                params: request.params,
                idempotent: engine.always_idempotent
                    || extensions::declares(headers, a2a::IDEMPOTENT_SEND),
                last_event: last_event(headers)?,
            };
            methods::dispatch(method, request).await
        }
        "rpc.discover" => Answer::of(&card::open_rpc(&engine.registry, engine.access.manifest())),
        "list_approvals" | "decide_approval" => {
            if !engine.access.allows(principal, method) {
                engine.refuse(principal, method);
                return Err(Fault::new(
                    Kind::PermissionDenied,
                    format!("{} may not use {method}", principal.name),
                ));
            }
            let params = by_name(request.params)?;
            Answer::of(&approvals::dispatch(engine, principal, method, params).await?)
        }
        DELIVERY_SKILL => Answer::of(&engine.deliver(principal, by_name(request.params)?).await?),
        method => direct(engine, principal, method, by_name(request.params)?).await,
    }
}

/// The number of the last event that a resuming client has seen.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        Fault::field(
            "Last-Event-ID",
            "the id of an event of this task",
            "another text",
        )
    })
}

/// Parameters by name; absent means none.
pub(crate) fn by_name(raw: Option<&RawValue>) -> Result<Map<String, Value>, Fault> {
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
) -> Result<Answer, Fault> {
    let meta = Meta::take(&mut input)?;
    let detached = meta.detached;
    let call = Call {
        principal: principal.clone(),
        work: Work::Skill(skill.to_owned(), input),
        meta,
        message: None,
        once: false,
        continues: None,
        shown: detached,
        push: None,
    };
    let started = engine.start(call).await?;
    if detached {
        let record = started.detach().first;
        return Answer::of_task(&methods::TaskView::new(&record.task, None), &record);
    }
    let record = started.settled().await?;
    match &record.fault {
        Some(fault) => Err(fault.clone()),
        None => Answer::of_task(methods::artifact(&record), &record),
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_not_waited_for() {
        // One byte a second, as a client does that wants to hold a worker.
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(vec![b' ']), ()))
        });
        let started = tokio::time::Instant::now();
        let refused = read(&HeaderMap::new(), Body::from_stream(drops)).await;
        assert_eq!(refused.unwrap_err().kind, Kind::BodyTooSlow);
        assert_eq!(started.elapsed(), BODY_TIMEOUT);
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(MAX_BODY + 1));
        let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let refused = read(&headers, never).await;
        assert_eq!(refused.unwrap_err().kind, Kind::BodyTooLarge);
    }
}
