//! What does a call cost beyond HTTP and JSON? A direct call of an echo skill through the whole runtime (edge
//! check, rate limit, persisted task, signed audit record, trace, metrics) beside a bare floor: the same axum
//! route and `serde_json`, which decodes the request and answers with the text, and nothing else.
//!
//! Both run on one thread without sockets and TLS; the store is in memory, so that no disk is measured. Records
//! are not delivered. Input: a text of 16 bytes and one of 16 KiB. Run: `cargo bench -p shared --bench echo`.
//! Only ratios are printed, since only those survive another machine.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

#[path = "../tests/probe/mod.rs"]
mod probe;

use std::{fs, hint::black_box, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    http::Request,
    routing::post,
};
use identity::{PeerIdentity, SpiffeId};
use probe::{Ground, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::memory::MemoryStore;
use tower::ServiceExt as _;

/// Calls of one measurement. The first tenth only warms up.
const CALLS: u32 = 5_000;
/// Measurements of each kind, taken in turn; the median counts.
const ROUNDS: usize = 5;

#[derive(Debug, Deserialize)]
struct Call {
    id: u64,
    params: Text,
}

#[derive(Debug, Serialize)]
struct Answer {
    jsonrpc: &'static str,
    id: u64,
    result: Text,
}

fn floor() -> Router {
    let echo = async |Json(call): Json<Call>| {
        Json(Answer {
            jsonrpc: "2.0",
            id: call.id,
            result: call.params,
        })
    };
    Router::new().route("/a2a", post(echo))
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn call(router: &Router, body: &str, caller: &SpiffeId) {
    let request = Request::post("/a2a")
        .header("content-type", "application/json")
        .extension(PeerIdentity(caller.clone()))
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(bytes.len() > body.len() / 2, "not an echo: {bytes:?}");
    black_box(bytes);
}

/// CPU time of a call, in nanoseconds.
async fn measure(router: &Router, body: &str, caller: &SpiffeId) -> f64 {
    for _ in 0..CALLS / 10 {
        call(router, body, caller).await;
    }
    let before = cpu();
    for _ in 0..CALLS {
        call(router, body, caller).await;
    }
    f64::from(u32::try_from((cpu() - before) / u64::from(CALLS)).unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn compare(ground: &Ground, size: usize) -> f64 {
    let caller = SpiffeId::external("mesh.local", "operator").unwrap();
    let cli = ground.cli(&ground.probe(), &["--max-outbox", "10000000"]);
    let store = Arc::new(MemoryStore::default());
    let agent = shared::bind_on(cli, store).await.unwrap();
    let (router, floor) = (agent.router(), floor());
    let text = "x".repeat(size);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"text": text}}).to_string();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(measure(&router, &body, &caller).await);
        bare.push(measure(&floor, &body, &caller).await);
    }
    median(ours) / median(bare)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ground = Ground::with_rate(100_000_000, 100_000_000);
    println!("input, bytes | runtime : floor, CPU");
    for size in [16, 16 * 1024] {
        println!("{size:12} | {:.1}", compare(&ground, size).await);
    }
}
