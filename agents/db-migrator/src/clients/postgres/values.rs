//! Queries of our own with typed parameters: one round trip each.

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::super::{
    question::{Row, Value},
    target::TargetError,
};

pub(super) async fn integer(
    client: &Client,
    sql: &str,
    parameters: &[Value],
) -> Result<i64, TargetError> {
    let rows = query(client, sql, parameters).await?;
    rows.first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)
}

pub(super) async fn query(
    client: &Client,
    sql: &str,
    parameters: &[Value],
) -> Result<Vec<Row>, TargetError> {
    let none: Option<String> = None;
    let typed = parameters
        .iter()
        .map(|value| -> (&(dyn ToSql + Sync), Type) {
            match value {
                Value::Null => (&none, Type::TEXT),
                Value::Integer(number) => (number, Type::INT8),
                Value::Text(text) => (text, Type::TEXT),
            }
        });
    rows(&client.query_typed(sql, &typed.collect::<Vec<_>>()).await?)
}

pub(super) fn rows(found: &[tokio_postgres::Row]) -> Result<Vec<Row>, TargetError> {
    found
        .iter()
        .map(|row| {
            (0..row.len())
                .map(|column| value(row, column))
                .collect::<Result<_, _>>()
                .map(Row)
        })
        .collect()
}

fn value(row: &tokio_postgres::Row, column: usize) -> Result<Value, TargetError> {
    let kind = row
        .columns()
        .get(column)
        .map(|column| column.type_().clone());
    if kind == Some(Type::INT8) {
        return Ok(row
            .try_get::<_, Option<i64>>(column)?
            .map_or(Value::Null, Value::Integer));
    }
    Ok(row.try_get::<_, Option<String>>(column)?.into())
}
