//! JavaScript's `@a2a-js/sdk`: its client against our agent, and its agent for our client.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use tests::{
    conformance::{self, Running},
    interop::{Language, Server, run_client},
};

#[tokio::test(flavor = "multi_thread")]
async fn its_client_calls_our_agent() {
    let agent = conformance::agent().loopback_webhooks(true);
    let agent = Running::start(agent).await.unwrap();
    run_client(Language::JavaScript, &agent.url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_calls_its_agent() {
    let server = Server::start(Language::JavaScript).await.unwrap();
    server.is_called_by_our_client().await.unwrap();
}
