//! The A2A conformance tests (ACTS): a corpus of declarative tests, run against an agent over JSON-RPC.
//!
//! The corpus is data of the protocol's own project. [`corpus`] reads it, [`adapt`] says where its words differ from the
//! wire, [`runner`] runs one test, [`special`] does what the corpus leaves to runners in prose, [`report`] sums up.

pub mod adapt;
pub mod assertions;
pub mod client;
pub mod corpus;
pub mod report;
pub mod runner;
pub mod scope;
pub mod special;
pub mod target;
pub mod webhook;
pub mod wire;

use futures::StreamExt as _;

use self::{corpus::Corpus, report::Report, runner::Outcome, target::Target};

/// How many tests run at a time. Most of a run is waiting for tasks that take a second.
const CONCURRENT: usize = 8;

/// Runs every test that applies to JSON-RPC, each against the first agent that meets its preconditions.
///
/// The agents are one implementation in several configurations: complete, with fewer capabilities, with authentication.
pub async fn run(corpus: &Corpus, targets: &[Target]) -> Report {
    let results = futures::stream::iter(corpus.applicable())
        .map(|test| async move {
            let outcome = match target::choose(test, targets) {
                Ok(target) => runner::run(test, target, &corpus.variables).await,
                Err(reason) => Outcome::Skipped(reason),
            };
            (test.id.clone(), test.level, outcome)
        })
        .buffer_unordered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
    Report::new(results)
}
