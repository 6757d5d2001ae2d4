//! What is wrong with the text itself.

use super::{
    Hit, View,
    change::{Action, Change, Column},
    script::{Parsed, Statement},
};
use crate::domain::{Dialect, lex::bare_name};

/// Where other tools keep what they applied.
const HISTORY_TABLES: [&str; 11] = [
    "_sqlx_migrations",
    "__diesel_schema_migrations",
    "schema_migrations",
    "refinery_schema_history",
    "goose_db_version",
    "flyway_schema_history",
    "databasechangelog",
    "databasechangeloglock",
    "gorp_migrations",
    "alembic_version",
    "atlas_schema_revisions",
];

/// More columns than this seldom help a search (the bound of `strong_migrations`).
const WIDE: usize = 3;

/// What no runner can apply.
pub(super) fn unreadable(parsed: &Parsed<'_>) -> Vec<Hit> {
    if let Some(error) = &parsed.error {
        let at = error.byte().min(parsed.script.text.len());
        let sentence = match error {
            crate::domain::split::SplitError::Unterminated(open) => {
                format!("{} never ends", open.what)
            }
            other => other.to_string(),
        };
        return vec![Hit::at("unsplittable", at..at, sentence)];
    }
    let forbidden = parsed.statements.iter().filter_map(|statement| {
        let error = statement.class.as_ref().err()?;
        Some(Hit::on("forbidden-statement", statement, error.to_string()))
    });
    forbidden.collect()
}

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    let Some(parsed) = view.parsed() else {
        return Vec::new();
    };
    let mut hits = ends(parsed);
    for statement in &parsed.statements {
        hits.extend(indexes(view.dialect, statement));
        hits.extend(columns(view.dialect, statement));
        hits.extend(history(statement));
    }
    hits.extend(enum_values(parsed));
    hits
}

fn ends(parsed: &Parsed<'_>) -> Vec<Hit> {
    let text = &parsed.script.text;
    let mut hits = Vec::new();
    if let Some(at) = text.find('\r') {
        let message = "lines end with a carriage return";
        hits.push(Hit::at("crlf", at..at, message));
    }
    let after = parsed.statements.last().and_then(|last| {
        let rest = text.get(last.range.end..)?;
        Some((last, rest))
    });
    // Only white space and comments can follow when the last `;` is missing.
    if let Some((last, rest)) = after
        && !parsed.gaps.iter().any(|gap| gap.start > last.range.end)
        && !rest.starts_with(';')
    {
        let end = last.range.end;
        hits.push(Hit {
            edits: vec![super::TextEdit {
                range: end..end,
                text: ";".into(),
            }],
            ..Hit::at(
                "missing-final-semicolon",
                end..end,
                "the last statement has no semicolon",
            )
        });
    }
    hits
}

fn indexes(dialect: Dialect, statement: &Statement<'_>) -> Option<Hit> {
    match &statement.change {
        Change::CreateIndex(index) if index.concurrently && index.if_not_exists => {
            let message = "an invalid index of that name would be taken for it";
            Some(Hit::on(
                "if-not-exists-hides-invalid-index",
                statement,
                message,
            ))
        }
        Change::CreateIndex(index) if !index.unique && index.columns.len() > WIDE => {
            let message = format!("it has {} columns", index.columns.len());
            Some(Hit::on("wide-index", statement, message))
        }
        Change::DropIndex(_) => {
            let message = "searches that use it will read the whole table";
            Some(Hit::on("index-dropped", statement, message))
        }
        Change::CreateView { star: true } => {
            let message = "it has only the columns that are there now";
            Some(Hit::on("view-selects-star", statement, message))
        }
        Change::AlterTable { actions, .. } if dialect == Dialect::Sqlite => actions
            .iter()
            .find_map(|action| required(statement, action)),
        _ => None,
    }
}

/// squawk's rule, for SQLite: the release that runs does not give the value. A default makes that harmless.
fn required(statement: &Statement<'_>, action: &Action) -> Option<Hit> {
    let Action::AddColumn(column) = action else {
        return None;
    };
    let required = column.not_null && column.default.is_none() && !column.generated;
    let message = format!(
        "inserts of the release that runs do not give {}",
        column.name
    );
    required.then(|| Hit::on("adding-required-field", statement, message))
}

fn columns(dialect: Dialect, statement: &Statement<'_>) -> Vec<Hit> {
    let hit = |column: &Column| {
        let message = format!("values of {} cannot be compared", column.name);
        (column.kind == "json").then(|| Hit::on("json-column", statement, message))
    };
    if dialect == Dialect::Sqlite {
        return Vec::new();
    }
    match &statement.change {
        Change::CreateTable { columns, .. } => columns.iter().filter_map(hit).collect(),
        other => other
            .actions()
            .iter()
            .filter_map(|action| match action {
                Action::AddColumn(column) => hit(column),
                _ => None,
            })
            .collect(),
    }
}

fn history(statement: &Statement<'_>) -> Option<Hit> {
    let named = statement.tokens.iter().find_map(|token| {
        let name = bare_name(token.text);
        HISTORY_TABLES.into_iter().find(|table| *table == name)
    })?;
    let message = format!("{named} belongs to another tool");
    Some(Hit::on("touches-history-table", statement, message))
}

/// `ALTER TYPE ... ADD VALUE` and a later statement with that very literal.
fn enum_values(parsed: &Parsed<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (at, statement) in parsed.statements.iter().enumerate() {
        let adds = statement
            .class
            .as_ref()
            .is_ok_and(|class| class.commits_alone);
        let value = statement
            .tokens
            .iter()
            .skip_while(|token| !token.is("value"))
            .find(|token| token.text.starts_with('\''));
        let (true, Some(value)) = (adds, value) else {
            continue;
        };
        let later = parsed.statements.get(at + 1..).unwrap_or_default();
        let uses = |next: &&Statement<'_>| next.tokens.iter().any(|token| token.text == value.text);
        if let Some(user) = later.iter().find(uses) {
            let message = format!(
                "it uses the value that statement {} adds",
                statement.ordinal
            );
            hits.push(Hit::on("enum-value-used-at-once", user, message));
        }
    }
    hits
}
