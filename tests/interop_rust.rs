//! The official Rust library: its client against our agent, and its agent for our client.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "tests fail loudly and show their steps"
)]

#[path = "interop/rust/agent.rs"]
mod agent;
#[path = "interop/rust/client.rs"]
mod client;

use tests::{
    conformance::{self, Running},
    interop,
};

#[tokio::test(flavor = "multi_thread")]
async fn its_client_calls_our_agent() {
    let agent = conformance::agent().loopback_webhooks(true);
    let agent = Running::start(agent).await.unwrap();
    client::call_everything(&agent.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_calls_its_agent() {
    let url = agent::start().await;
    interop::call_everything(&url).await.unwrap();
}
