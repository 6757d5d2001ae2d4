//! The A2A conformance tests (ACTS) against our agent, in the three configurations that they ask for.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail loudly and show their report"
)]

use shared::testing::OpenAgent;
use tests::{
    acts::{
        self,
        corpus::{self, Corpus},
        target::{Target, Tokens},
    },
    conformance::{self, Running},
};

/// An agent in one configuration, and how the tests reach it.
async fn target(agent: OpenAgent, tokens: Option<Tokens>) -> (Running, Target) {
    let running = Running::start(agent.loopback_webhooks(true)).await.unwrap();
    let target = Target::discover(&running.url, tokens).await.unwrap();
    (running, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_must_and_should_test_holds() {
    let Some(folder) = corpus::folder() else {
        println!(
            "skipped: the corpus is not there; MESH_TEST_DATA names the folder that has it as acts/"
        );
        return;
    };
    let corpus = Corpus::load(&folder).unwrap();
    let tokens = Tokens {
        valid: "valid-token".into(),
        other: "another-callers-token".into(),
        insufficient: "insufficient-token".into(),
    };
    let complete = conformance::agent();
    let reduced = conformance::agent()
        .without_streaming()
        .without_push()
        .without_extended_card();
    let guarded = conformance::agent()
        .bearer(&tokens.valid, true)
        .bearer(&tokens.other, true)
        .bearer(&tokens.insufficient, false);
    let (_complete, complete) = target(complete, None).await;
    let (_reduced, reduced) = target(reduced, None).await;
    let (_guarded, guarded) = target(guarded, Some(tokens)).await;
    let report = acts::run(&corpus, &[complete, reduced, guarded]).await;
    println!("{report}");
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures:#?}\n{report}");
    let stale = report.stale_defects();
    assert!(stale.is_empty(), "these hold and are no defects: {stale:?}");
}
