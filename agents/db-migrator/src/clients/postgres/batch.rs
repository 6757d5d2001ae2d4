//! Many statements in one round trip: every message is sent before the first answer is awaited.
//!
//! Each statement is a message of its own, so the server says which one failed; those after it fail with 25P02 and the
//! final `COMMIT` of a failed transaction is a rollback.

use std::{future::Future, pin::Pin};

use futures::poll;
use tokio_postgres::Client;

use super::{
    super::{
        question::{Own, Row},
        target::{Ran, TargetError, Transaction},
    },
    prepared::Prepared,
};

/// SQLSTATE of a statement in a transaction that failed.
const ABORTED: &str = "25P02";

/// Opens a transaction. The settings end with it, so each attempt sends them anew.
pub(super) fn begin(transaction: Transaction) -> String {
    let later = if transaction.flushes_later {
        "; SET LOCAL synchronous_commit = off"
    } else {
        ""
    };
    format!(
        "BEGIN; SET LOCAL lock_timeout = {}{later}",
        transaction.lock_timeout_ms
    )
}

/// Statements of our own, and which of them are prepared.
type Ours<'a> = (&'a Prepared, &'a [Own]);

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

async fn send_all<'a>(client: &'a Client, (prepared, all): Ours<'a>) -> Vec<Sent<'a, Vec<Row>>> {
    let mut sent = Vec::with_capacity(all.len());
    for own in all {
        let answer: Answer<'_, Vec<Row>> = Box::pin(prepared.query(client, own));
        sent.push(send(answer).await);
    }
    sent
}

/// The first failure counts, and every answer is awaited.
async fn receive_all(sent: Vec<Sent<'_, Vec<Row>>>) -> Result<Vec<Vec<Row>>, TargetError> {
    let mut found = Vec::with_capacity(sent.len());
    for query in sent {
        found.push(receive(query).await.map_err(skipped));
    }
    found.into_iter().collect()
}

async fn send_statements<'a>(client: &'a Client, statements: &[&str]) -> Vec<Sent<'a>> {
    let mut sent = Vec::with_capacity(statements.len());
    for statement in statements {
        sent.push(send(message(client, (*statement).to_owned())).await);
    }
    sent
}

/// Opens a transaction and asks in it.
pub(super) async fn begin_asking(
    client: &Client,
    transaction: Transaction,
    ours: Ours<'_>,
) -> Result<Vec<Vec<Row>>, TargetError> {
    let begun = send(message(client, begin(transaction))).await;
    let questions = send_all(client, ours).await;
    let begun = receive(begun).await;
    let answers = receive_all(questions).await;
    begun.and(answers)
}

/// Runs statements in the transaction that is open and asks after them; it stays open.
pub(super) async fn statements(client: &Client, statements: &[&str], ours: Ours<'_>) -> Ran {
    let sent = send_statements(client, statements).await;
    let questions = send_all(client, ours).await;
    let mut outcome = Vec::with_capacity(sent.len());
    for statement in sent {
        outcome.push(receive(statement).await.map_err(skipped));
    }
    Ran {
        statements: outcome,
        answers: receive_all(questions).await,
    }
}

/// Runs statements of our own.
pub(super) async fn pipeline(
    client: &Client,
    ours: Ours<'_>,
) -> Result<Vec<Vec<Row>>, TargetError> {
    receive_all(send_all(client, ours).await).await
}

/// Notes rows and commits.
pub(super) async fn commit_with(
    client: &Client,
    ours: Ours<'_>,
    commit: String,
) -> Result<(), TargetError> {
    let rows = send_all(client, ours).await;
    let commit = send(message(client, commit)).await;
    let noted = receive_all(rows).await;
    // Of a failed transaction this succeeds, as a rollback.
    let committed = receive(commit).await;
    noted.and(committed)
}

fn skipped(error: TargetError) -> TargetError {
    match error {
        TargetError::Sql { code, .. } if code == ABORTED => TargetError::Skipped,
        other => other,
    }
}
