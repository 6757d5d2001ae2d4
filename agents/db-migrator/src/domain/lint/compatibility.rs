//! What the release that still runs does not expect, and who may see what.

use super::{
    Hit, View,
    change::{Action, Change},
    script::Statement,
};
use crate::domain::{
    Dialect,
    lex::{Kind, bare_name},
};

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for statement in view.statements() {
        if view.dialect == Dialect::Postgres {
            hits.extend(postgres(statement));
            hits.extend(untrackable(view, statement));
        } else {
            hits.extend(names(view, statement));
        }
        hits.extend(previous_release(view, statement));
    }
    hits
}

fn postgres(statement: &Statement<'_>) -> Option<Hit> {
    let on = |rule, message: &str| Some(Hit::on(rule, statement, message));
    if statement.starts(&["alter", "type"]) && statement.has(&["rename", "value"]) {
        return on(
            "rename-enum-value",
            "the release that runs writes the old value",
        );
    }
    if statement.starts(&["alter", "schema"]) && statement.has(&["rename", "to"]) {
        return on(
            "rename-schema",
            "the release that runs looks into the old schema",
        );
    }
    if statement.starts(&["alter", "extension"]) && statement.has(&["update"]) {
        return on("extension-upgrade", "the older version seldom comes back");
    }
    let policy = [
        ["create", "policy"],
        ["alter", "policy"],
        ["drop", "policy"],
    ]
    .iter()
    .any(|words| statement.starts(words));
    let grants = statement.starts(&["grant"]) || statement.starts(&["revoke"]);
    let rows =
        statement.starts(&["alter", "table"]) && statement.has(&["row", "level", "security"]);
    if policy || grants || rows {
        return on("access-changed", "it changes who may see or do what");
    }
    None
}

/// The rules of squawk that make sense for SQLite, which its parser does not read.
fn names(view: &View<'_>, statement: &Statement<'_>) -> Vec<Hit> {
    if let Change::DropTable { tables, .. } = &statement.change {
        let hit = |table: &super::change::Name| {
            let message = format!("the rows of {} are gone", table.bare);
            Hit::on("ban-drop-table", statement, message)
        };
        return tables
            .iter()
            .filter(|table| !view.is_rebuilt(&table.bare))
            .map(hit)
            .collect();
    }
    let made_here = statement
        .change
        .table()
        .is_some_and(|table| view.is_made_here(&table.bare));
    let hit = |action: &Action| match action {
        _ if made_here => None,
        Action::DropColumn(column) => Some(Hit::on(
            "ban-drop-column",
            statement,
            format!("the values of {} are gone", bare_name(column)),
        )),
        Action::RenameColumn(column) => Some(Hit::on(
            "renaming-column",
            statement,
            format!("the release that runs uses {}", bare_name(column)),
        )),
        Action::RenameTable(_) => Some(Hit::on(
            "renaming-table",
            statement,
            "the release that runs uses the old name",
        )),
        _ => None,
    };
    statement.change.actions().iter().filter_map(hit).collect()
}

/// What a statement takes from those who use a name: the table and, for a column, its name.
fn takes_away(view: &View<'_>, statement: &Statement<'_>) -> Vec<(String, Option<String>)> {
    match &statement.change {
        Change::DropTable { tables, .. } => tables
            .iter()
            .filter(|table| !view.is_rebuilt(&table.bare))
            .map(|table| (table.bare.clone(), None))
            .collect(),
        Change::AlterTable { table, actions } if !view.is_made_here(&table.bare) => actions
            .iter()
            .filter_map(|action| match action {
                Action::DropColumn(column) | Action::RenameColumn(column) => {
                    Some((table.bare.clone(), Some(bare_name(column))))
                }
                Action::RenameTable(_) => Some((table.bare.clone(), None)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A function's text names what is dropped or renamed, and PostgreSQL does not look into it.
fn untrackable(view: &View<'_>, statement: &Statement<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (table, column) in takes_away(view, statement) {
        let functions = view
            .earlier()
            .flat_map(|parsed| &parsed.statements)
            .filter(|made| {
                made.starts(&["create"]) && (made.has(&["function"]) || made.has(&["procedure"]))
            });
        for function in functions {
            let bodies = function
                .tokens
                .iter()
                .filter(|token| token.kind == Kind::Text);
            let mentions = bodies.clone().any(|body| {
                let words = body
                    .text
                    .split(|c: char| !(c.is_alphanumeric() || c == '_'));
                let words = words.map(str::to_ascii_lowercase).collect::<Vec<_>>();
                words.contains(&table)
                    && column.as_ref().is_none_or(|column| words.contains(column))
            });
            if mentions {
                let what = column
                    .as_ref()
                    .map_or_else(|| table.clone(), |column| format!("{table}.{column}"));
                let message =
                    format!("a function of an earlier migration names {what} in its text");
                hits.push(Hit::on("untrackable-dependency", statement, message));
                break;
            }
        }
    }
    hits
}

/// The ledger says which release is in force: what it has, it uses.
fn previous_release(view: &View<'_>, statement: &Statement<'_>) -> Vec<Hit> {
    let Some(in_force) = &view.facts.in_force else {
        return Vec::new();
    };
    let release = in_force.release.as_ref().map_or_else(
        || format!("version {}", in_force.version),
        |release| format!("release {release}"),
    );
    let hit = |(table, column): (String, Option<String>)| {
        view.facts.size(&table)?;
        let what = column.map_or_else(|| table.clone(), |column| format!("{table}.{column}"));
        let message = format!("{release} is in force and has {what}");
        Some(Hit::on("breaks-previous-release", statement, message))
    };
    takes_away(view, statement)
        .into_iter()
        .filter_map(hit)
        .collect()
}
