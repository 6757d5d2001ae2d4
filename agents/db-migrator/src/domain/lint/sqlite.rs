//! What SQLite cannot do, or does differently.

use super::{
    Hit, View,
    change::{Action, Change, Column},
    script::Statement,
};
use crate::domain::{Dialect, lint::change::Constant};

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    if view.dialect != Dialect::Sqlite {
        return Vec::new();
    }
    let foreign_keys_off = view
        .statements()
        .iter()
        .any(|statement| statement.starts(&["pragma", "foreign_keys"]));
    let mut hits = Vec::new();
    for statement in view.statements() {
        for action in statement.change.actions() {
            if let Action::AddColumn(column) = action {
                hits.extend(added(statement, column));
            }
        }
        if let Change::DropTable { tables, .. } = &statement.change
            && let Some(table) = tables.iter().find(|table| view.is_rebuilt(&table.bare))
            && !foreign_keys_off
            && is_referenced(view, &table.bare)
        {
            let message = format!("rows that reference {} go with it", table.bare);
            hits.push(Hit::on(
                "sqlite-rebuild-deletes-children",
                statement,
                message,
            ));
        }
    }
    hits
}

/// Whether any table of the source references this one; all may when the database has tables of its own.
fn is_referenced(view: &View<'_>, table: &str) -> bool {
    view.facts.tables.is_some()
        || view
            .scripts
            .iter()
            .flat_map(|parsed| &parsed.statements)
            .any(|statement| {
                statement.tokens.windows(2).any(|pair| {
                    matches!(pair, [references, name]
                        if references.is("references") && super::lex::bare_name(name.text) == table)
                })
            })
}

/// `ALTER TABLE ... ADD COLUMN`, <https://sqlite.org/lang_altertable.html#altertabaddcol>.
fn added(statement: &Statement<'_>, column: &Column) -> Vec<Hit> {
    let name = &column.name;
    let mut hits = Vec::new();
    if column.unique || column.stored {
        let message = format!("{name} cannot be added like that");
        hits.push(Hit::on(
            "sqlite-constraint-with-new-column",
            statement,
            message,
        ));
    }
    if column.default == Some(Constant::No) {
        let message = format!("the default of {name} is no constant");
        hits.push(Hit::on("sqlite-default-not-constant", statement, message));
    }
    if column.not_null && column.default.is_none() && !column.generated {
        let message = format!("{name} has no default for the rows that are there");
        hits.push(Hit::on("sqlite-add-not-null", statement, message));
    }
    hits
}
