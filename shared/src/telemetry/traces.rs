//! Traces over OTLP/gRPC and W3C trace context on every hop.
//!
//! The batch processor runs on its own OS thread, and the gRPC exporter gets a runtime of its own: an
//! exporter that shares a one-worker runtime with the agent can deadlock, and an async HTTP exporter
//! dies with its thread after a few seconds. Flushing happens off the runtime for the same reason.

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Why no exporter could be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot export traces to {endpoint}")]
pub struct ExportError {
    endpoint: String,
    #[source]
    source: opentelemetry_otlp::ExporterBuildError,
}

/// The tracer of a process. Without an endpoint, spans still get ids (logs and audit records carry them).
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    /// Drives the exporter's connection; kept alive as long as the provider.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Traces {
    /// Builds the tracer of `agent`.
    ///
    /// # Errors
    /// When the endpoint is no URL or the exporter cannot start.
    pub fn new(
        agent: &str,
        namespace: &str,
        endpoint: Option<&str>,
        ratio: f64,
    ) -> Result<Self, ExportError> {
        let resource = Resource::builder()
            .with_attributes([
                KeyValue::new("service.name", agent.to_owned()),
                KeyValue::new("service.namespace", namespace.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let builder = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                ratio,
            ))));
        let Some(endpoint) = endpoint else {
            return Ok(Self {
                provider: builder.build(),
                runtime: None,
            });
        };
        let failed = |source| ExportError {
            endpoint: endpoint.to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(|e| {
                failed(opentelemetry_otlp::ExporterBuildError::InternalFailure(
                    e.to_string(),
                ))
            })?;
        let exporter = {
            let _inside = runtime.enter();
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()
                .map_err(failed)?
        };
        Ok(Self {
            provider: builder.with_batch_exporter(exporter).build(),
            runtime: Some(runtime),
        })
    }

    /// The layer that turns `tracing` spans into OpenTelemetry spans.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(
        &self,
    ) -> impl Layer<S> + use<S> {
        let own = tracing_subscriber::filter::filter_fn(|metadata| {
            let target = metadata.target();
            metadata.is_span()
                && !["h2", "hyper", "tonic", "tower", "opentelemetry"]
                    .iter()
                    .any(|noisy| target.starts_with(noisy))
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("agent-mesh"))
            .with_filter(own)
    }

    /// Exports what is left. Blocks, so call it from outside the agent's runtime.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "cannot flush the last spans");
        }
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<http::HeaderName>(), value.parse()) {
            self.0.insert(name, value);
        }
    }
}

/// Makes `span` a child of the caller's span. It must not have been entered yet: a later call is ignored.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    if parent.has_active_span() && span.set_parent(parent).is_err() {
        tracing::debug!("the span had started before its parent was known");
    }
    if let Some((trace_id, _)) = ids(span) {
        span.record("trace_id", trace_id);
    }
}

/// Writes the trace context of `span` into the headers of an outgoing request.
pub fn propagate(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeadersMut(headers));
}

/// The W3C `traceparent` of a span, to continue its trace after a restart.
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let mut headers = HeaderMap::new();
    propagate(span, &mut headers);
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// Trace id and span id in hex.
pub fn ids(span: &Span) -> Option<(String, String)> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        (
            context.trace_id().to_string(),
            context.span_id().to_string(),
        )
    })
}

/// Makes one short span of this name, to prove that the way to the receiver is open.
pub fn mark(name: &str) {
    let span = tracing::info_span!("mark", "otel.name" = name);
    span.in_scope(|| ());
}

/// A span that continues the trace of a `traceparent`, for work that nobody called for just now.
pub fn resumed(name: &str, traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        "resume",
        "otel.name" = name,
        trace_id = tracing::field::Empty
    );
    let mut headers = HeaderMap::new();
    if let Some(parent) = traceparent.and_then(|parent| parent.parse().ok()) {
        headers.insert("traceparent", parent);
    }
    continue_trace(&span, &headers);
    span
}
