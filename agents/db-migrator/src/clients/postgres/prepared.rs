//! Statements of our own that come again, parsed once: planning one takes longer than running it.

use std::collections::{BTreeSet, HashMap};

use postgres_protocol::escape::escape_literal;
use tokio_postgres::{
    Client, Statement,
    types::{ToSql, Type},
};

use super::{
    super::{
        question::{Own, Row, Value},
        target::TargetError,
    },
    values,
};

/// A session uses a handful of texts; a question about several tables has one for every number of them.
const MAX_TEXTS: usize = 64;
const MAX_LENGTH: usize = 1_000;

/// SQLSTATE of a prepared statement that is not there.
pub(super) const UNKNOWN: &str = "26000";

/// What a session has prepared. Scripts can drop all of it (`DEALLOCATE ALL`); then nothing more is prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// A text that came once has no statement yet.
    statements: HashMap<String, Option<Statement>>,
    off: bool,
}

impl Prepared {
    /// Prepares those that come for the second time. Not within a transaction that failed.
    pub(super) async fn learn(&mut self, client: &Client, all: &[Own]) -> Result<(), TargetError> {
        let worth = |own: &&Own| !own.parameters.is_empty() && own.sql.len() <= MAX_LENGTH;
        let room = MAX_TEXTS > self.statements.len() + all.len();
        for own in all.iter().filter(worth).filter(|_| !self.off) {
            match self.statements.get_mut(&own.sql) {
                Some(Some(_)) => {}
                Some(statement) => {
                    let types = own.parameters.iter().map(type_of).collect::<Vec<_>>();
                    *statement = Some(client.prepare_typed(&own.sql, &types).await?);
                }
                None if room => {
                    self.statements.insert(own.sql.clone(), None);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Prepares a text that is sure to come again.
    pub(super) async fn keep(&mut self, client: &Client, own: &Own) -> Result<(), TargetError> {
        if !self.off && !self.statements.contains_key(&own.sql) {
            let types = own.parameters.iter().map(type_of).collect::<Vec<_>>();
            let statement = client.prepare_typed(&own.sql, &types).await?;
            self.statements.insert(own.sql.clone(), Some(statement));
        }
        Ok(())
    }

    /// Runs a statement, as prepared where it is.
    pub(super) async fn query(&self, client: &Client, own: &Own) -> Result<Vec<Row>, TargetError> {
        let known = self.statements.get(&own.sql).and_then(Option::as_ref);
        // A null has the type of a text.
        let fits = |statement: &&Statement| {
            let types = own.parameters.iter().map(type_of);
            statement.params().iter().cloned().eq(types)
        };
        let Some(statement) = known.filter(fits) else {
            return values::query(client, &own.sql, &own.parameters).await;
        };
        let none: Option<String> = None;
        let parameters = own.parameters.iter().map(|value| match value {
            Value::Null => &none as &(dyn ToSql + Sync),
            Value::Integer(number) => number,
            Value::Text(text) => text,
        });
        let found = client
            .query(statement, &parameters.collect::<Vec<_>>())
            .await;
        match found {
            Ok(rows) => values::rows(&rows),
            Err(error) if error.code().is_some_and(|code| code.code() == UNKNOWN) => {
                Err(TargetError::Forgotten)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of statements that are gone.
    pub(super) fn look_at<T>(&mut self, result: &Result<T, TargetError>) {
        if matches!(result, Err(TargetError::Forgotten)) {
            *self = Self {
                statements: HashMap::new(),
                off: true,
            };
        }
    }
}

/// Statements of our own within a message of many, where only a name can stand for what is prepared.
#[derive(Debug, Default)]
pub(super) struct Named {
    names: HashMap<String, String>,
    drawn: usize,
    /// Whether scripts drop what is prepared.
    off: bool,
}

/// How one of them is run.
#[derive(Debug)]
pub(super) struct Call {
    /// What prepares it, for later messages too.
    pub(super) once: Option<String>,
    pub(super) commands: Vec<String>,
}

impl Named {
    pub(super) fn call(&mut self, own: &Own) -> Call {
        let parameters = own.parameters.iter().map(|value| match value {
            Value::Null => "NULL".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => escape_literal(text),
        });
        let parameters = listed(parameters);
        let run = |name: &str| format!("EXECUTE {name}{parameters}");
        if let Some(name) = self.names.get(&own.sql) {
            return Call {
                once: None,
                commands: vec![run(name)],
            };
        }
        self.drawn += 1;
        let name = format!("db_migrator_{}", self.drawn);
        let types = own
            .parameters
            .iter()
            .map(|value| type_of(value).to_string());
        let prepare = format!("PREPARE {name}{} AS {}", listed(types), own.sql);
        if self.off || self.names.len() >= MAX_TEXTS {
            return Call {
                once: None,
                commands: vec![prepare, run(&name), format!("DEALLOCATE {name}")],
            };
        }
        let commands = vec![run(&name)];
        self.names.insert(own.sql.clone(), name);
        Call {
            once: Some(prepare),
            commands,
        }
    }

    /// Takes note of a message that failed.
    pub(super) fn look_at(&mut self, done: usize, error: &TargetError) {
        self.off |= matches!(error, TargetError::Forgotten);
        // What was to be prepared comes first in a message.
        if self.off || done == 0 {
            self.names.clear();
        }
    }
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let all = all.collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        all
    } else {
        format!(" ({all})")
    }
}

/// The query of a catalog, which a run reads time and again: planning it takes longer than reading a small catalog.
#[derive(Debug, Default)]
pub(super) struct ReadOften {
    /// Answers of the last reading, and of the one that the plan was made for.
    last: usize,
    planned_for: usize,
    /// The catalogs that it leaves out because they held nothing.
    without: BTreeSet<&'static str>,
}

impl ReadOften {
    /// What runs the query, as planned before while that plan fits and a script has not dropped it. `empty` are catalogs
    /// that need not be read now.
    pub(super) async fn text(
        &mut self,
        client: &Client,
        empty: BTreeSet<&'static str>,
        query: impl FnOnce(&BTreeSet<&'static str>) -> String + Send,
    ) -> Result<String, TargetError> {
        let known = "SELECT count(*) FROM pg_catalog.pg_prepared_statements WHERE name = 'db_migrator_catalog'";
        let known = values::integer(client, known, &[]).await? > 0;
        let run = "EXECUTE db_migrator_catalog";
        let reads_all = self.without.is_subset(&empty);
        if known && reads_all && self.last <= self.planned_for.saturating_mul(2) {
            return Ok(run.to_owned());
        }
        self.planned_for = 0;
        self.without = empty;
        let former = if known {
            "DEALLOCATE db_migrator_catalog;\n"
        } else {
            ""
        };
        let query = query(&self.without);
        Ok(format!(
            "{former}PREPARE db_migrator_catalog AS {query};\n{run}"
        ))
    }

    /// Takes note of how much was read.
    pub(super) const fn read(&mut self, answers: usize) {
        if self.planned_for == 0 {
            self.planned_for = answers;
        }
        self.last = answers;
    }
}

const fn type_of(value: &Value) -> Type {
    match value {
        Value::Null | Value::Text(_) => Type::TEXT,
        Value::Integer(_) => Type::INT8,
    }
}
