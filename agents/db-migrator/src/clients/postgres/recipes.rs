//! PostgreSQL's objects with the statements that make and unmake them: one message, one round trip.

use std::sync::LazyLock;

use tokio_postgres::SimpleQueryRow;

use super::{TargetError, catalog::with_empty_path};
use crate::domain::inverse::{Blueprint, Recipe};

/// Columns of a recipe, as the head of `recipes.sql` lists them.
const WIDTH: usize = 12;
/// Columns of a dependency.
const EDGE: usize = 2;
/// Stands between the statements of an alternative.
const STATEMENT: char = '\u{1f}';
/// Stands between alternatives.
const ALTERNATIVE: char = '\u{1e}';

/// The queries, with an empty search path around them so that every statement names its schema.
pub(super) fn query() -> &'static str {
    static QUERY: LazyLock<String> = LazyLock::new(|| {
        with_empty_path(&format!(
            "{};\n{}",
            include_str!("recipes.sql")
                .replace("TABLE AUTOMATIC", include_str!("automatic.sql"))
                .replace("<;>", &STATEMENT.to_string())
                .replace("<|>", &ALTERNATIVE.to_string()),
            include_str!("dependencies.sql")
        ))
    });
    &QUERY
}

/// Reads the answer to [`query`].
pub(super) fn read<'a>(
    rows: impl Iterator<Item = &'a SimpleQueryRow>,
) -> Result<Blueprint, TargetError> {
    let mut blueprint = Blueprint::default();
    for row in rows {
        if row.len() == WIDTH {
            blueprint.recipes.push(recipe(row)?);
        } else if row.len() == EDGE {
            let edge = (text(row, 0)?, text(row, 1)?);
            blueprint.dependencies.extend(edge.0.zip(edge.1));
        }
    }
    Ok(blueprint)
}

fn text(row: &SimpleQueryRow, column: usize) -> Result<Option<String>, TargetError> {
    row.try_get(column)
        .map_err(TargetError::from)
        .map(|text| text.map(str::to_owned))
}

fn recipe(row: &SimpleQueryRow) -> Result<Recipe, TargetError> {
    let required =
        |column: usize| text(row, column)?.ok_or(TargetError::Unreadable("a catalog text"));
    let make = text(row, 7)?.unwrap_or_default();
    Ok(Recipe {
        kind: required(0)?,
        name: required(1)?,
        parent: text(row, 2)?,
        id: text(row, 3)?,
        own: text(row, 4)?.unwrap_or_default(),
        schema: text(row, 5)?,
        state: text(row, 6)?.unwrap_or_else(|| make.clone()),
        make: alternatives(&make),
        unmake: statements(&text(row, 8)?.unwrap_or_default()),
        set: alternatives(&text(row, 9)?.unwrap_or_default()),
        rename: text(row, 10)?,
        relocate: text(row, 11)?,
        columns: Vec::new(),
    })
}

fn statements(text: &str) -> Vec<String> {
    let all = text.split(STATEMENT).map(str::trim);
    all.filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}

fn alternatives(text: &str) -> Vec<Vec<String>> {
    let all = text.split(ALTERNATIVE).map(statements);
    all.filter(|statements| !statements.is_empty()).collect()
}
