//! Columns and constraints of a table.

use super::{Name, read::Cursor};
use crate::domain::lex::{Kind, Token, bare_name};

/// A column's definition.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the statement"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, as compared.
    pub name: String,
    /// The first word of its type in lower case; empty without one.
    pub kind: String,
    /// Whether it is `NOT NULL`.
    pub not_null: bool,
    /// Whether it has a default, and whether that is a constant.
    pub default: Option<Constant>,
    /// Whether it is a stored generated column.
    pub stored: bool,
    /// Whether it is any generated or identity column.
    pub generated: bool,
    /// Whether it is `UNIQUE` or `PRIMARY KEY`.
    pub unique: bool,
    /// Whether it references a table.
    pub references: bool,
}

/// Whether a default is a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constant {
    /// A literal.
    Yes,
    /// An expression, or what changes with time.
    No,
}

/// A constraint of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Which.
    pub kind: ConstraintKind,
    /// Its columns, as written.
    pub columns: Vec<String>,
    /// Whether existing rows are not checked.
    pub not_valid: bool,
    /// Whether an index that is there is used.
    pub using_index: bool,
}

/// The kinds of constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// `UNIQUE`.
    Unique,
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `FOREIGN KEY`.
    ForeignKey,
    /// `CHECK`.
    Check,
    /// `EXCLUDE`.
    Exclude,
    /// `NOT NULL` (PostgreSQL 18).
    NotNull,
}

/// A name and what follows it.
pub(super) fn column(tokens: &[Token<'_>]) -> Option<Column> {
    let (name, rest) = tokens.split_first()?;
    if !matches!(name.kind, Kind::Word | Kind::Quoted) {
        return None;
    }
    let outside = outside_parentheses(rest);
    let has = |word: &str| outside.iter().any(|token| token.is(word));
    let pair = |first: &str, second: &str| {
        outside
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.is(first) && b.is(second)))
    };
    let kind = outside.first().filter(|token| token.kind == Kind::Word);
    Some(Column {
        name: bare_name(name.text),
        kind: kind.map_or_else(String::new, |kind| kind.text.to_ascii_lowercase()),
        not_null: pair("not", "null"),
        default: default(rest),
        stored: has("generated") && has("stored"),
        generated: has("generated") || (has("as") && !has("default")),
        unique: has("unique") || pair("primary", "key"),
        references: has("references"),
    })
}

fn default(tokens: &[Token<'_>]) -> Option<Constant> {
    let at = tokens.iter().position(|token| token.is("default"))?;
    let value = tokens.get(at + 1)?;
    let next = tokens.get(at + 2);
    let changes = ["current_timestamp", "current_date", "current_time"];
    let is_call = next.is_some_and(|next| next.is_symbol('('));
    let is_constant =
        !value.is_symbol('(') && !is_call && !changes.iter().any(|word| value.is(word));
    Some(if is_constant {
        Constant::Yes
    } else {
        Constant::No
    })
}

/// A table constraint, with or without `CONSTRAINT name`; `None` when it is none.
pub(super) fn constraint(tokens: &[Token<'_>]) -> Option<Constraint> {
    let mut cursor = Cursor::new(tokens);
    if cursor.eat("constraint") {
        cursor.name();
    }
    let kind = if cursor.eat("unique") {
        ConstraintKind::Unique
    } else if cursor.eat_all(&["primary", "key"]) {
        ConstraintKind::PrimaryKey
    } else if cursor.eat_all(&["foreign", "key"]) {
        ConstraintKind::ForeignKey
    } else if cursor.eat("check") {
        ConstraintKind::Check
    } else if cursor.eat("exclude") {
        ConstraintKind::Exclude
    } else if cursor.eat_all(&["not", "null"]) {
        ConstraintKind::NotNull
    } else {
        return None;
    };
    let named = matches!(
        kind,
        ConstraintKind::Unique | ConstraintKind::PrimaryKey | ConstraintKind::ForeignKey
    );
    let using_index = cursor.eat_all(&["using", "index"]);
    if cursor.eat("nulls") {
        cursor.eat("not");
        cursor.eat("distinct");
    }
    let columns = if kind == ConstraintKind::NotNull {
        cursor
            .name()
            .map(|name: Name| name.written)
            .into_iter()
            .collect()
    } else if named {
        names(cursor.parentheses().unwrap_or_default())
    } else {
        Vec::new()
    };
    let not_valid = tokens
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.is("not") && b.is("valid")));
    Some(Constraint {
        kind,
        columns,
        not_valid,
        using_index,
    })
}

fn names(tokens: &[Token<'_>]) -> Vec<String> {
    let is_name = |token: &&Token<'_>| matches!(token.kind, Kind::Word | Kind::Quoted);
    let names = super::read::by_comma(tokens).into_iter();
    names
        .filter_map(|part| part.iter().find(is_name))
        .map(|token| token.text.to_owned())
        .collect()
}

/// The tokens that are in no parentheses.
pub(super) fn outside_parentheses<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t Token<'a>> {
    let mut depth = 0_usize;
    let outside = tokens.iter().filter(|token| {
        if token.is_symbol('(') {
            depth += 1;
            return false;
        }
        if token.is_symbol(')') {
            depth = depth.saturating_sub(1);
            return false;
        }
        depth == 0
    });
    outside.collect()
}
