//! A script and its ledger rows in one round trip: every message is sent before the first answer is awaited.
//!
//! Each statement is a message of its own, so the server says which one failed; those after it fail with 25P02 and the
//! final `COMMIT` of a failed transaction is a rollback.

use std::{future::Future, pin::Pin};

use futures::poll;
use tokio_postgres::Client;

use super::{
    super::target::{Batch, BatchOutcome, Own, Row, TargetError, Transaction},
    values::query,
};

/// SQLSTATE of a statement in a transaction that failed.
const ABORTED: &str = "25P02";

/// Opens a transaction. The setting ends with it, so each attempt sends it anew.
pub(super) fn begin(transaction: Transaction) -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout = {}",
        transaction.lock_timeout_ms
    )
}

type Answer<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// What was sent, and its answer when it came at once.
struct Sent<'a, T = ()>(Answer<'a, T>, Option<Result<T, TargetError>>);

/// The first poll of an answer sends its message; in this order the server runs them.
async fn send<T>(mut answer: Answer<'_, T>) -> Sent<'_, T> {
    let early = match poll!(&mut answer) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    };
    Sent(answer, early)
}

async fn receive<T>(sent: Sent<'_, T>) -> Result<T, TargetError> {
    match sent {
        Sent(_, Some(result)) => result,
        Sent(answer, None) => answer.await,
    }
}

fn message(client: &Client, sql: String) -> Answer<'_> {
    Box::pin(async move { Ok(client.batch_execute(&sql).await?) })
}

/// Runs statements in the transaction that is open; it stays open.
pub(super) async fn statements(
    client: &Client,
    statements: &[&str],
) -> Vec<Result<(), TargetError>> {
    let mut sent = Vec::with_capacity(statements.len());
    for statement in statements {
        sent.push(send(message(client, (*statement).to_owned())).await);
    }
    let mut outcome = Vec::with_capacity(sent.len());
    for statement in sent {
        outcome.push(receive(statement).await.map_err(skipped));
    }
    outcome
}

/// Runs statements of our own; the first failure counts, and every answer is awaited.
pub(super) async fn pipeline(
    client: &Client,
    queries: &[Own],
) -> Result<Vec<Vec<Row>>, TargetError> {
    let mut sent = Vec::with_capacity(queries.len());
    for own in queries {
        let answer: Answer<'_, Vec<Row>> = Box::pin(query(client, &own.sql, &own.parameters));
        sent.push(send(answer).await);
    }
    let mut found = Vec::with_capacity(sent.len());
    for query in sent {
        found.push(receive(query).await);
    }
    found.into_iter().collect()
}

/// Runs a batch; afterwards no transaction is open, whatever happened.
pub(super) async fn run(client: &Client, batch: Batch<'_>, reset: &str) -> BatchOutcome {
    let begin = send(message(client, begin(batch.transaction))).await;
    let mut statements = Vec::with_capacity(batch.statements.len());
    for statement in batch.statements {
        statements.push(send(message(client, (*statement).to_owned())).await);
    }
    let mut own = Vec::with_capacity(batch.own.len());
    for row in batch.own {
        let answer: Answer<'_> =
            Box::pin(async move { query(client, &row.sql, &row.parameters).await.map(drop) });
        own.push(send(answer).await);
    }
    let commit = send(message(client, format!("COMMIT; {reset}"))).await;

    let mut first = receive(begin).await;
    let mut outcome = Vec::with_capacity(statements.len());
    for statement in statements {
        let result = receive(statement).await.map_err(skipped);
        let failed = first.is_err();
        outcome.push(match result {
            Ok(()) if failed => Err(TargetError::Skipped),
            other => other,
        });
        if !failed && matches!(outcome.last(), Some(Err(_))) {
            first = Err(TargetError::Skipped);
        }
    }
    for row in own {
        let result = receive(row).await.map_err(skipped);
        first = first.and(result);
    }
    // Of a failed transaction this succeeds, as a rollback.
    let commit = receive(commit).await;
    BatchOutcome {
        statements: outcome,
        commit: first.and(commit),
    }
}

fn skipped(error: TargetError) -> TargetError {
    match error {
        TargetError::Sql { code, .. } if code == ABORTED => TargetError::Skipped,
        other => other,
    }
}
