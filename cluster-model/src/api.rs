//! The Kubernetes API over HTTP: from requests to verbs and back.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode, header};
use serde_json::Value;

use crate::domain::Refusal;
use crate::engine::Engine;

mod body;
mod discovery;
mod openapi;
mod query;
mod read;
mod route;
mod table;
mod watch;
mod write;

use query::Query;
use route::{Route, Target};

/// The Kubernetes version that the model speaks.
pub(crate) const VERSION: &str = "v1.36.0+cluster-model";

/// One call on objects.
struct Call {
    engine: Arc<Engine>,
    target: Target,
    query: Query,
    /// What the caller accepts.
    accept: String,
    content_type: String,
    body: Vec<u8>,
}

/// The whole API.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new().fallback(handle).with_state(engine)
}

async fn handle(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    match answer(engine, request).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    }
}

async fn answer(engine: Arc<Engine>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    check_host(&head)?;
    let target = match Route::parse(head.uri.path())? {
        Route::Objects(target) => target,
        page if head.method == Method::GET => return Ok(discovery::page(&page)),
        _ => return Err(Refusal::method_not_allowed()),
    };
    let text = |name| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let call = Call {
        engine,
        query: Query::parse(&head.uri, target.kind)?,
        accept: text(header::ACCEPT),
        content_type: text(header::CONTENT_TYPE),
        target,
        body: body::read(body).await?,
    };
    dispatch(&head.method, call)
}

fn dispatch(method: &Method, call: Call) -> Result<Response, Refusal> {
    let named = !call.target.name.is_empty();
    let part = call.target.part.clone();
    match (method.as_str(), named, part.as_str()) {
        ("GET", false, "") if call.query.watch => watch::watch(call),
        ("GET", false, "") => read::list(&call),
        ("GET", true, "" | "status") => read::get(&call),
        ("GET", true, "scale") => read::scale(&call),
        ("POST", false, "") => write::create(&call),
        ("POST", true, "eviction") => write::evict(&call),
        ("PUT", true, "" | "status") => write::replace(&call),
        ("PUT" | "PATCH", true, "scale") => write::scale(&call),
        ("PUT", true, "finalize") => write::finalize(&call),
        ("PATCH", true, "" | "status") => write::patch(&call),
        ("DELETE", true, "") => write::delete(&call),
        ("DELETE", false, "") => write::delete_collection(&call),
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// Refuses a request that was sent to another name than loopback's, so that a web page cannot
/// reach the API through a name of its own that leads here.
fn check_host(head: &Parts) -> Result<(), Refusal> {
    let host = head.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.host()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    if matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return Ok(());
    }
    Err(Refusal::foreign_host())
}

fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &refusal.to_status())
}
