//! The health and metrics listeners: plain HTTP, ports of their own.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use crate::{
    readiness::Readiness,
    telemetry::metrics::{SharedRegistry, render},
};

/// `/livez` answers while the process serves; `/readyz` says what it waits for.
pub(crate) fn health(readiness: Readiness) -> Router {
    let ready = move || async move {
        match readiness.check() {
            Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// `/metrics` for Prometheus and `/manifest`, the manifest as it was loaded.
pub(crate) fn metrics(registry: SharedRegistry, manifest: Arc<str>) -> Router {
    let scrape = move |headers: HeaderMap| async move {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let (kind, text) = render(&registry, accept);
        ([(header::CONTENT_TYPE, kind)], text)
    };
    let show = move || async move {
        (
            [(header::CONTENT_TYPE, "application/yaml")],
            manifest.to_string(),
        )
            .into_response()
    };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/manifest", get(show))
}
