//! A script and its ledger rows as one message: the server runs it in one go and stops at the first failure.

use std::pin::pin;

use futures::TryStreamExt as _;
use tokio_postgres::{Client, Error, SimpleQueryMessage, error::ErrorPosition};

use super::{
    super::{
        question::Own,
        target::{Batch, BatchOutcome, TargetError},
    },
    batch::begin,
    count::NOT_EMPTY,
    prepared::{Named, UNKNOWN},
};

/// A message of many commands.
#[derive(Debug, Default)]
struct Message {
    text: String,
    commands: usize,
    /// Where each statement of the script begins: its byte, and the number of commands before it.
    script: Vec<(usize, usize)>,
    /// Where the script ends.
    end: (usize, usize),
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Statement(usize),
    After,
}

impl Message {
    fn new(named: &mut Named, batch: Batch<'_>, guard: Option<&Own>, commit: &str) -> Self {
        let guards = guard.map(|guard| [named.call(guard), named.call(guard)]);
        let [before, after] = guards.map_or_else(Default::default, |both| both.map(Some));
        let rows = batch.own.iter().map(|own| named.call(own));
        let rows = rows.collect::<Vec<_>>();
        let mut message = Self::default();
        for call in before.iter().chain(&after).chain(&rows) {
            message.add_all(call.once.iter());
        }
        // Texts of our own without a literal.
        message.add_all(begin(batch.transaction).split("; "));
        message.add_all(before.iter().flat_map(|call| &call.commands));
        for statement in batch.statements {
            message.script.push(message.here());
            message.add(statement);
        }
        message.end = message.here();
        let own = after.iter().chain(&rows);
        message.add_all(own.flat_map(|call| &call.commands));
        message.add_all(commit.split("; "));
        message
    }

    const fn here(&self) -> (usize, usize) {
        (self.text.len(), self.commands)
    }

    /// On lines of its own: a statement may end with a comment.
    fn add(&mut self, command: &str) {
        self.text.push_str(command);
        self.text.push_str("\n;\n");
        self.commands += 1;
    }

    fn add_all(&mut self, commands: impl Iterator<Item = impl AsRef<str>>) {
        for command in commands {
            self.add(command.as_ref());
        }
    }

    /// Whose the command after `done` others is. An error of syntax comes before the first one runs, with its place.
    fn blamed(&self, done: usize, character: Option<usize>) -> Place {
        let byte = character.and_then(|at| self.text.char_indices().nth(at).map(|(byte, _)| byte));
        let reached = |(place, commands): &(usize, usize)| match byte {
            Some(byte) => *place <= byte,
            None => *commands <= done,
        };
        if reached(&self.end) {
            return Place::After;
        }
        let begun = self.script.iter().filter(|place| reached(place)).count();
        begun.checked_sub(1).map_or(Place::Before, Place::Statement)
    }

    /// Sends it and awaits its end. A failure comes with the number of commands that ran before it.
    async fn send(&self, client: &Client) -> Result<(), (usize, Error)> {
        let mut done = 0;
        let sent = async {
            let mut answers = pin!(client.simple_query_raw(&self.text).await?);
            while let Some(answer) = answers.try_next().await? {
                done += usize::from(matches!(answer, SimpleQueryMessage::CommandComplete(_)));
            }
            Ok(())
        };
        let sent: Result<(), Error> = sent.await;
        sent.map_err(|error| (done, error))
    }
}

/// Runs a batch between two calls of its guard, if any; afterwards no transaction is open, whatever happened.
pub(super) async fn run(
    client: &Client,
    named: &mut Named,
    batch: Batch<'_>,
    guard: Option<&Own>,
    [commit, rollback]: [&str; 2],
) -> BatchOutcome {
    let message = Message::new(named, batch, guard, commit);
    let count = batch.statements.len();
    let Err((done, error)) = message.send(client).await else {
        return BatchOutcome::committed(count);
    };
    if let Err(second) = client.batch_execute(rollback).await {
        tracing::debug!(error = %second, "a transaction ended with its connection");
    }
    let character = error
        .as_db_error()
        .and_then(|refusal| match refusal.position() {
            Some(ErrorPosition::Original(nth)) => usize::try_from(*nth).ok()?.checked_sub(1),
            _ => None,
        });
    let code = error.code().map(|code| code.code().to_owned());
    let place = message.blamed(done, character);
    let error = match (place, code.as_deref()) {
        (Place::Before | Place::After, Some(NOT_EMPTY)) if guard.is_some() => TargetError::NotEmpty,
        (Place::Before | Place::After, Some(UNKNOWN)) => TargetError::Forgotten,
        _ => error.into(),
    };
    named.look_at(done, &error);
    if matches!(error, TargetError::Unreachable(_)) {
        return BatchOutcome::lost(count, error);
    }
    match place {
        Place::Before => BatchOutcome::not_begun(count, error),
        Place::Statement(at) => BatchOutcome::failed(count, at, error),
        Place::After => BatchOutcome::failed(count, count, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Transaction;

    const COMMIT: &str = "COMMIT; RESET ALL";

    fn own(text: &str) -> Own {
        Own {
            sql: "UPDATE t SET x = $1 WHERE n = $2".into(),
            parameters: vec![text.into(), 7.into()],
        }
    }

    fn message(named: &mut Named, statements: &[&str], guard: Option<&Own>) -> Message {
        let batch = Batch {
            transaction: Transaction::default(),
            statements,
            own: &[own("it's")],
        };
        Message::new(named, batch, guard, COMMIT)
    }

    #[test]
    fn prepares_once() {
        let mut named = Named::default();
        let first = message(&mut named, &["SELECT 1 -- one"], None);
        assert_eq!(
            first.text,
            "PREPARE db_migrator_1 (text, int8) AS UPDATE t SET x = $1 WHERE n = $2\n;\n\
             BEGIN\n;\nSET LOCAL lock_timeout = 0\n;\nSELECT 1 -- one\n;\n\
             EXECUTE db_migrator_1 ('it''s', 7)\n;\nCOMMIT\n;\nRESET ALL\n;\n"
        );
        let second = message(&mut named, &["SELECT 1"], None);
        assert!(second.text.starts_with("BEGIN"), "{}", second.text);
        named.look_at(5, &TargetError::Forgotten);
        let third = message(&mut named, &["DEALLOCATE ALL"], None);
        let script = third.text.find("DEALLOCATE ALL");
        assert!(script < third.text.find("PREPARE"), "{}", third.text);
        assert!(third.text.contains("DEALLOCATE db_migrator_2\n;\nCOMMIT"));
    }

    #[test]
    fn blames_the_command_that_failed() {
        let guard = own("guard");
        let sent = message(
            &mut Named::default(),
            &["CREATE TABLE ä ()", "CREATE TABLE b ()"],
            Some(&guard),
        );
        // Prepared, begun, two settings, guarded.
        let places = (0..11).map(|done| sent.blamed(done, None));
        let (before, after) = (Place::Before, Place::After);
        let [first, second] = [0, 1].map(Place::Statement);
        assert_eq!(
            places.collect::<Vec<_>>(),
            [
                before, before, before, before, first, second, after, after, after, after, after
            ]
        );
        let at = |text: &str| {
            let byte = sent.text.find(text).unwrap();
            let character = sent.text[..byte].chars().count();
            sent.blamed(0, Some(character))
        };
        assert_eq!([at("ä"), at("b ()"), at("COMMIT")], [first, second, after]);
    }
}
