//! Locks that last as long as a table is large.

use super::{
    Hit, View,
    change::{Action, Change, ConstraintKind, Verb},
    script::Statement,
};
use crate::domain::{Dialect, lex::bare_name, statement::Lock};

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    let mut hits = foreign_keys_without_index(view);
    if view.dialect == Dialect::Postgres {
        hits.extend(view.statements().iter().flat_map(rewrites));
        hits.extend(work_under_lock(view));
        hits.extend(mergeable(view.statements()));
    }
    hits
}

fn rewrites(statement: &Statement<'_>) -> Vec<Hit> {
    let rewrite = |how: &str| {
        let message = format!("{how} writes the whole table anew while nobody can read it");
        Hit::on("rewrites-table", statement, message)
    };
    if statement.starts(&["cluster"]) {
        return vec![rewrite("CLUSTER")];
    }
    if statement.starts(&["vacuum", "full"]) {
        return vec![rewrite("VACUUM FULL")];
    }
    let hit = |action: &Action| match action {
        Action::Rewrite(how) => Some(rewrite(how)),
        Action::AddColumn(column) if column.stored => Some(Hit::on(
            "add-stored-generated-column",
            statement,
            "every row is computed and written anew while nobody can read the table",
        )),
        Action::AddConstraint(constraint) if constraint.kind == ConstraintKind::Exclude => {
            Some(Hit::on(
                "add-exclusion-constraint",
                statement,
                "its index is built while nobody can read the table",
            ))
        }
        _ => None,
    };
    statement.change.actions().iter().filter_map(hit).collect()
}

/// Eugene's E4: rows are worked through while an earlier statement's lock keeps everybody out of another table.
fn work_under_lock(view: &View<'_>) -> Vec<Hit> {
    if !view.parsed().is_some_and(super::script::Parsed::is_atomic) {
        return Vec::new();
    }
    let mut locked: Option<String> = None;
    let mut hits = Vec::new();
    for statement in view.statements() {
        let table = statement.change.table();
        let works = match &statement.change {
            Change::Rows { verb, selects, .. } => {
                matches!(verb, Verb::Update | Verb::Delete) || *selects
            }
            Change::CreateIndex(_) => true,
            _ => statement.has(&["validate", "constraint"]),
        };
        let matters = table.is_some_and(|table| !view.is_harmless(&table.bare));
        if let Some(locked) = locked.as_ref().filter(|_| works && matters) {
            let message = format!(
                "nobody can use {locked} while this works through {}",
                table.map_or("its rows", |table| &table.bare)
            );
            hits.push(Hit::on("work-under-exclusive-lock", statement, message));
        }
        let exclusive = statement
            .class
            .as_ref()
            .is_ok_and(|class| class.lock == Lock::AccessExclusive);
        if let Some(table) = table.filter(|_| exclusive && matters) {
            locked.get_or_insert_with(|| table.bare.clone());
        }
    }
    hits
}

/// Eugene's W12: the actions of neighbours could share one pass and one wait.
fn mergeable(statements: &[Statement<'_>]) -> Vec<Hit> {
    let joins = |statement: &Statement<'_>| {
        let actions = statement.change.actions();
        !actions.is_empty()
            && actions.iter().all(|action| {
                matches!(
                    action,
                    Action::AddColumn(_)
                        | Action::DropColumn(_)
                        | Action::SetNotNull(_)
                        | Action::SetType
                )
            })
    };
    let pairs = statements.windows(2).filter_map(|pair| {
        let [first, second] = pair else { return None };
        let table = second.change.table()?;
        let same = first.change.table() == Some(table) && joins(first) && joins(second);
        let message = format!("the ALTER TABLE before it is of {}, too", table.bare);
        same.then(|| Hit::on("mergeable-alters", second, message))
    });
    pairs.collect()
}

/// A foreign key whose columns no index of the source begins with.
fn foreign_keys_without_index(view: &View<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for statement in view.statements() {
        let Some(table) = statement.change.table() else {
            continue;
        };
        for columns in foreign_keys(&statement.change) {
            if !is_indexed(view, &table.bare, &columns) {
                let message = format!(
                    "no index of {} begins with {}",
                    table.bare,
                    columns.join(", ")
                );
                // Tables start small and grow: only a known small one is left alone.
                let mut hit = Hit::on("foreign-key-without-index", statement, message);
                hit.table = view
                    .facts
                    .size(&table.bare)
                    .map_or(Some(String::new()), |_| Some(table.bare.clone()));
                hits.push(hit);
            }
        }
    }
    hits
}

fn foreign_keys(change: &Change) -> Vec<Vec<String>> {
    let named = |columns: &[String]| columns.iter().map(|name| bare_name(name)).collect();
    match change {
        Change::CreateTable {
            columns,
            constraints,
            ..
        } => {
            let inline = columns
                .iter()
                .filter(|column| column.references && !column.unique)
                .map(|column| vec![column.name.clone()]);
            let own = constraints
                .iter()
                .filter(|constraint| constraint.kind == ConstraintKind::ForeignKey)
                .map(|constraint| named(&constraint.columns));
            inline.chain(own).collect()
        }
        _ => change
            .actions()
            .iter()
            .filter_map(|action| match action {
                Action::AddColumn(column) if column.references && !column.unique => {
                    Some(vec![column.name.clone()])
                }
                Action::AddConstraint(constraint)
                    if constraint.kind == ConstraintKind::ForeignKey =>
                {
                    Some(named(&constraint.columns))
                }
                _ => None,
            })
            .collect(),
    }
}

/// Whether any script, also a later one, indexes these columns first.
fn is_indexed(view: &View<'_>, table: &str, columns: &[String]) -> bool {
    let covers = |keys: &mut dyn Iterator<Item = Option<String>>| {
        let first = keys.take(columns.len()).collect::<Vec<_>>();
        first.len() == columns.len()
            && columns
                .iter()
                .all(|column| first.contains(&Some(column.clone())))
    };
    let statements = view.scripts.iter().flat_map(|parsed| &parsed.statements);
    statements
        .filter(|statement| {
            statement
                .change
                .table()
                .is_some_and(|made| made.bare == table)
        })
        .any(|statement| match &statement.change {
            Change::CreateIndex(index) => covers(
                &mut index
                    .columns
                    .iter()
                    .map(|column| column.as_deref().map(bare_name)),
            ),
            Change::CreateTable {
                columns: made,
                constraints,
                ..
            } => {
                let keys = constraints.iter().filter(|constraint| {
                    matches!(
                        constraint.kind,
                        ConstraintKind::Unique | ConstraintKind::PrimaryKey
                    )
                });
                let inline = made
                    .iter()
                    .any(|column| column.unique && columns == [column.name.clone()]);
                inline
                    || keys.into_iter().any(|key| {
                        covers(&mut key.columns.iter().map(|column| Some(bare_name(column))))
                    })
            }
            _ => false,
        })
}
