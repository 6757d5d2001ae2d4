//! The way back of a staged script.

use super::{Staged, Taken};
use crate::domain::{
    Dialect, Statement,
    lex::{self, Kind},
    source::Script,
};

/// What brings everything back when the staged statements are all there was, newest first.
pub fn reversed(staged: &[Staged]) -> Vec<String> {
    let back = staged.iter().rev().map(|one| one.down.join(";\n"));
    first(staged).chain(back).chain(last_of(staged)).collect()
}

/// What has to run after everything else is back.
fn last_of(staged: &[Staged]) -> impl Iterator<Item = String> {
    let last = staged.iter().rev().filter(|one| !one.last.is_empty());
    last.map(|one| one.last.join(";\n"))
}

/// What has to run before anything is changed back.
fn first(staged: &[Staged]) -> impl Iterator<Item = String> {
    let first = staged.iter().rev().filter(|one| !one.first.is_empty());
    first.map(|one| one.first.join(";\n"))
}

/// The author's down with what it would create anew replaced by what is retained.
pub fn composed(down: &Script, staged: &[Staged], dialect: Dialect) -> Vec<String> {
    let mut left = staged.iter().rev().collect::<Vec<_>>();
    let mut texts = first(staged).collect::<Vec<_>>();
    for statement in &down.statements {
        if let Some(at) = left
            .iter()
            .position(|one| recreates(statement, &one.taken, dialect))
        {
            texts.push(left.remove(at).down.join(";\n"));
        } else if !staged
            .iter()
            .any(|one| made(statement, dialect).is_some_and(|name| one.brings.contains(&name)))
        {
            texts.push(statement.text.clone());
        }
    }
    texts.extend(left.into_iter().map(|one| one.down.join(";\n")));
    texts.extend(last_of(staged));
    texts
}

fn last(name: &str) -> String {
    lex::bare_name(name.rsplit('.').next().unwrap_or(name))
}

/// Whether a statement creates the table or adds the column that is retained.
fn recreates(statement: &Statement, taken: &Taken, dialect: Dialect) -> bool {
    match taken {
        Taken::Table(table) => {
            statement.kind.ends_with("TABLE")
                && statement.kind.starts_with("CREATE")
                && last(&statement.object) == last(table)
        }
        Taken::Column(table, column) => {
            let names = names(statement, dialect);
            let add = names.iter().position(|name| name == "add");
            let rest = add.and_then(|at| names.get(at + 1..)).unwrap_or_default();
            let skipped = rest
                .iter()
                .find(|name| !matches!(name.as_str(), "column" | "if" | "not" | "exists"));
            statement.kind == "ALTER TABLE"
                && last(&statement.object) == last(table)
                && skipped.is_some_and(|name| *name == column.to_ascii_lowercase())
        }
        Taken::Sequence(sequence) => {
            statement.kind == "CREATE SEQUENCE" && last(&statement.object) == last(sequence)
        }
        Taken::Rows(..) | Taken::Values(..) => false,
    }
}

/// The index, trigger or constraint that a statement makes, in lower case.
fn made(statement: &Statement, dialect: Dialect) -> Option<String> {
    let creates = statement.kind.starts_with("CREATE")
        && ["INDEX", "TRIGGER", "SEQUENCE"]
            .iter()
            .any(|kind| statement.kind.contains(kind));
    if creates {
        return Some(last(&statement.object));
    }
    let names = names(statement, dialect);
    let at = names
        .windows(2)
        .position(|pair| pair == ["add", "constraint"])?;
    (statement.kind == "ALTER TABLE")
        .then(|| names.get(at + 2).cloned())
        .flatten()
}

fn names(statement: &Statement, dialect: Dialect) -> Vec<String> {
    let tokens = lex::tokens(&statement.text, dialect).unwrap_or_default();
    let names = tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted));
    names.map(|token| lex::bare_name(token.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        SourceFile, source,
        staging::{Kept, Retained},
    };

    #[test]
    fn replaces_what_the_author_would_create_anew() {
        let file = |name: &str, content: &str| SourceFile {
            name: name.into(),
            content: content.into(),
        };
        let down = source::read(
            &[
                file("1_a.up.sql", "select 1"),
                file("1_a.down.sql", "drop index other; alter table public.t add column note text; create index t_note on t (note); create table u (a int)"),
            ],
            Dialect::Postgres,
        )
        .unwrap()
        .remove(0)
        .down
        .unwrap();
        let staged = |taken, back: &str, brings: &[&str]| Staged {
            taken,
            up: vec![],
            first: vec![],
            down: vec![back.into()],
            last: vec![],
            brings: brings.iter().map(|name| (*name).to_owned()).collect(),
            retained: Retained {
                what: String::new(),
                kind: Kept::Column,
                purge: vec![],
                lost: None,
                since: String::new(),
            },
        };
        let all = [
            staged(Taken::Table("u".into()), "table back", &[]),
            staged(
                Taken::Column("t".into(), "note".into()),
                "note back",
                &["t_note"],
            ),
            staged(
                Taken::Rows("t".into(), super::super::target::Change::Delete),
                "rows back",
                &[],
            ),
        ];
        assert_eq!(
            composed(&down, &all, Dialect::Postgres),
            ["drop index other", "note back", "table back", "rows back"]
        );
        assert_eq!(reversed(&all), ["rows back", "note back", "table back"]);
    }
}
