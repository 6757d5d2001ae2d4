//! Rows that are lost, and rows on which a statement fails.

use super::{
    Hit, View,
    change::{Change, Verb},
    facts::{self, Probe},
    script::Statement,
};

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (at, statement) in view.statements().iter().enumerate() {
        hits.extend(deletes(view, statement));
        hits.extend(forces(view, at, statement));
        hits.extend(fails(view, statement));
    }
    hits
}

fn deletes(view: &View<'_>, statement: &Statement<'_>) -> Option<Hit> {
    let Change::Rows {
        verb,
        table,
        filtered,
        ..
    } = &statement.change
    else {
        return None;
    };
    let all = match verb {
        Verb::Delete => !filtered,
        Verb::Truncate => true,
        Verb::Insert | Verb::Update => false,
    };
    let known_empty = view
        .facts
        .size(&table.bare)
        .is_some_and(|size| size.is_empty());
    let matters = all && !known_empty && !view.is_made_here(&table.bare);
    let message = format!("it deletes every row of {}", table.bare);
    matters.then(|| Hit::on("deletes-data", statement, message))
}

/// `DROP TABLE IF EXISTS t` before `CREATE TABLE t`.
fn forces(view: &View<'_>, at: usize, statement: &Statement<'_>) -> Option<Hit> {
    let Change::DropTable { tables, if_exists } = &statement.change else {
        return None;
    };
    let later = view.statements().get(at + 1..)?;
    let again = tables.iter().find(|dropped| {
        later.iter().any(|next| {
            matches!(&next.change, Change::CreateTable { table, .. } if table.bare == dropped.bare)
        })
    })?;
    let message = format!("if there is a table {}, its rows are lost", again.bare);
    if_exists.then(|| Hit::on("force-create", statement, message))
}

/// What the rows of the database say.
fn fails(view: &View<'_>, statement: &Statement<'_>) -> Vec<Hit> {
    let hit = |question: facts::Question| {
        let yes = view.facts.answers.get(&question).copied()?;
        let table = question.bare_table();
        let columns = question.columns.join(", ");
        let (rule, message) = match question.probe {
            Probe::Duplicates => (
                "unique-on-existing-rows",
                format!("rows of {table} have the same {columns}"),
            ),
            Probe::Nulls => (
                "not-null-on-existing-rows",
                format!("rows of {table} have no {columns}"),
            ),
        };
        yes.then(|| Hit::on(rule, statement, message))
    };
    facts::asked(&statement.change)
        .into_iter()
        .filter_map(hit)
        .collect()
}
