//! Questions of our own in SQL that both dialects speak, and their answers.

use std::collections::BTreeSet;

use super::TargetError;

/// A value of a portable query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

/// A row of a portable query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The text of a column.
    ///
    /// # Errors
    /// `Unreadable` when it is no text.
    pub fn text(&self, column: usize) -> Result<String, TargetError> {
        self.optional_text(column)?
            .ok_or(TargetError::Unreadable("a text"))
    }

    /// The text of a column that may be null.
    ///
    /// # Errors
    /// `Unreadable` when it is a number.
    pub fn optional_text(&self, column: usize) -> Result<Option<String>, TargetError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Null) => Ok(None),
            _ => Err(TargetError::Unreadable("a text")),
        }
    }

    /// The number of a column.
    ///
    /// # Errors
    /// `Unreadable` when it is none.
    pub fn integer(&self, column: usize) -> Result<i64, TargetError> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            _ => Err(TargetError::Unreadable("a number")),
        }
    }
}

/// A statement of our own, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// SQL with `$1`, `$2` in order of appearance.
    pub sql: String,
    /// What stands for them.
    pub parameters: Vec<Value>,
}

/// Tables that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tables {
    /// Quoted tables with their quoted columns, in the order of their names.
    pub columns: Vec<(String, Vec<String>)>,
    /// Those that need not be counted: they hold no row.
    pub empty: BTreeSet<String>,
}

/// Rows of a table that are counted up to a limit, and digested when they are not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The quoted table.
    pub table: String,
    /// Which of its rows, here called `counted`; all when absent.
    pub condition: Option<String>,
    /// Quoted columns over which they are digested; nothing is when absent.
    pub digested: Option<Vec<String>>,
}

impl Counted {
    /// A query for their number, at most one more than `most`.
    pub fn query(&self, most: u64) -> String {
        let condition = self.condition.as_ref();
        let condition = condition.map_or_else(String::new, |those| format!("WHERE {those} "));
        format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} AS counted {condition}LIMIT {}) AS sample",
            self.table,
            most.saturating_add(1)
        )
    }
}

/// Reads the answers to [`Session::about`](super::Session::about).
///
/// # Errors
/// `Unreadable` when an answer holds something else.
pub fn tables(names: &[String], answers: Vec<Vec<Row>>) -> Result<Tables, TargetError> {
    let mut found = Tables::default();
    for (table, rows) in names.iter().zip(answers) {
        let Some(first) = rows.first() else {
            continue;
        };
        if first.integer(1)? != 0 {
            found.empty.insert(table.clone());
        }
        let columns = rows.iter().map(|row| row.optional_text(0));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mut columns = columns.into_iter().flatten().collect::<Vec<_>>();
        columns.sort();
        found.columns.push((table.clone(), columns));
    }
    Ok(found)
}
