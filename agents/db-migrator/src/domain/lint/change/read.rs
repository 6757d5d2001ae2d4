//! Reads the changes from tokens.

use super::{
    Action, Change, Index, Name, Verb,
    column::{self, outside_parentheses},
};
use crate::domain::lex::{Kind, Token};

/// Walks over tokens.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub(super) fn new(tokens: &'t [Token<'a>]) -> Self {
        Self { tokens }
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        self.eat_all(&[word])
    }

    /// Takes these words if all of them are next.
    pub(super) fn eat_all(&mut self, words: &[&str]) -> bool {
        let next = self.tokens.get(..words.len()).unwrap_or_default();
        let here =
            next.len() == words.len() && next.iter().zip(words).all(|(token, word)| token.is(word));
        if here {
            self.tokens = self.tokens.get(words.len()..).unwrap_or_default();
        }
        here
    }

    fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    /// Takes a name with its schema.
    pub(super) fn name(&mut self) -> Option<Name> {
        let mut parts = Vec::new();
        loop {
            let (token, rest) = self.tokens.split_first()?;
            if !matches!(token.kind, Kind::Word | Kind::Quoted) {
                return None;
            }
            parts.push(token.text);
            self.tokens = rest;
            match rest.split_first() {
                Some((dot, rest)) if dot.is_symbol('.') => self.tokens = rest,
                _ => return Some(Name::of(&parts)),
            }
        }
    }

    /// Takes what is in the parentheses that are next.
    pub(super) fn parentheses(&mut self) -> Option<&'t [Token<'a>]> {
        let (open, rest) = self.tokens.split_first()?;
        if !open.is_symbol('(') {
            return None;
        }
        let mut depth = 1_usize;
        for (at, token) in rest.iter().enumerate() {
            if token.is_symbol('(') {
                depth += 1;
            } else if token.is_symbol(')') {
                depth -= 1;
            }
            if depth == 0 {
                self.tokens = rest.get(at + 1..).unwrap_or_default();
                return rest.get(..at);
            }
        }
        None
    }

    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(word))
    }
}

/// The parts between commas outside of parentheses.
pub(super) fn by_comma<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut depth = 0_usize;
    let parts = tokens.split(|token| {
        if token.is_symbol('(') || token.is_symbol('[') {
            depth += 1;
        } else if token.is_symbol(')') || token.is_symbol(']') {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.is_symbol(',')
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// What a statement changes.
pub fn read(tokens: &[Token<'_>]) -> Change {
    let mut cursor = Cursor::new(tokens);
    let found = if cursor.eat("create") {
        create(cursor)
    } else if cursor.eat_all(&["alter", "table"]) {
        alter(cursor)
    } else if cursor.eat_all(&["drop", "table"]) {
        let if_exists = cursor.eat_all(&["if", "exists"]);
        let tables = names(cursor.tokens);
        Some(Change::DropTable { tables, if_exists })
    } else if cursor.eat_all(&["drop", "index"]) {
        cursor.eat("concurrently");
        cursor.eat_all(&["if", "exists"]);
        Some(Change::DropIndex(names(cursor.tokens)))
    } else {
        rows(cursor)
    };
    found.unwrap_or(Change::Other)
}

fn names(tokens: &[Token<'_>]) -> Vec<Name> {
    let parts = by_comma(tokens).into_iter();
    parts.filter_map(|part| Cursor::new(part).name()).collect()
}

fn create(mut cursor: Cursor<'_, '_>) -> Option<Change> {
    cursor.eat_all(&["or", "replace"]);
    while cursor.eat_any(&[
        "temp",
        "temporary",
        "unlogged",
        "global",
        "local",
        "recursive",
    ]) {}
    let unique = cursor.eat("unique");
    if cursor.eat("table") {
        cursor.eat_all(&["if", "not", "exists"]);
        let table = cursor.name()?;
        let parts = by_comma(cursor.parentheses().unwrap_or_default());
        let (mut columns, mut constraints) = (Vec::new(), Vec::new());
        for part in parts {
            match column::constraint(part) {
                Some(constraint) => constraints.push(constraint),
                None => columns.extend(column::column(part)),
            }
        }
        return Some(Change::CreateTable {
            table,
            columns,
            constraints,
        });
    }
    if cursor.eat("index") {
        return index(cursor, unique).map(Change::CreateIndex);
    }
    cursor.eat("materialized");
    if cursor.eat("view") {
        let tokens = cursor.tokens;
        let star = tokens.windows(2).any(|pair| match pair {
            [before, star] if star.is_symbol('*') => {
                let selected = ["select", "distinct", "all"];
                before.is_symbol('.')
                    || before.is_symbol(',')
                    || selected.iter().any(|word| before.is(word))
            }
            _ => false,
        });
        return Some(Change::CreateView { star });
    }
    None
}

fn index(mut cursor: Cursor<'_, '_>, unique: bool) -> Option<Index> {
    let concurrently = cursor.eat("concurrently");
    let if_not_exists = cursor.eat_all(&["if", "not", "exists"]);
    let name = if cursor.eat("on") {
        None
    } else {
        let name = cursor.name()?;
        cursor.eat("on");
        Some(name)
    };
    cursor.eat("only");
    let table = cursor.name()?;
    if cursor.eat("using") {
        cursor.name();
    }
    let keys = by_comma(cursor.parentheses().unwrap_or_default());
    let plain = |part: &&[Token<'_>]| match *part {
        [name] | [name, ..]
            if matches!(name.kind, Kind::Word | Kind::Quoted)
                && part.iter().all(|token| !token.is_symbol('(')) =>
        {
            Some(name.text.to_owned())
        }
        _ => None,
    };
    Some(Index {
        name,
        columns: keys.iter().map(plain).collect(),
        table,
        unique,
        partial: cursor.has("where"),
        concurrently,
        if_not_exists,
    })
}

fn alter(mut cursor: Cursor<'_, '_>) -> Option<Change> {
    cursor.eat_all(&["if", "exists"]);
    cursor.eat("only");
    let table = cursor.name()?;
    let actions = by_comma(cursor.tokens)
        .into_iter()
        .map(|part| action(part))
        .collect();
    Some(Change::AlterTable { table, actions })
}

fn action(tokens: &[Token<'_>]) -> Action {
    let mut cursor = Cursor::new(tokens);
    if cursor.eat("add") {
        if let Some(constraint) = column::constraint(cursor.tokens) {
            return Action::AddConstraint(constraint);
        }
        cursor.eat("column");
        cursor.eat_all(&["if", "not", "exists"]);
        return column::column(cursor.tokens).map_or(Action::Other, Action::AddColumn);
    }
    if cursor.eat("drop") {
        if cursor.eat("constraint") {
            return Action::Other;
        }
        cursor.eat("column");
        cursor.eat_all(&["if", "exists"]);
        return named(cursor, Action::DropColumn);
    }
    if cursor.eat("rename") {
        if cursor.eat("to") {
            return named(cursor, Action::RenameTable);
        }
        if cursor.eat("constraint") {
            return Action::Other;
        }
        cursor.eat("column");
        return named(cursor, Action::RenameColumn);
    }
    if cursor.eat("alter") {
        cursor.eat("column");
        return named(cursor.clone(), |name| column_action(cursor, name));
    }
    rewrite(cursor)
}

fn named(mut cursor: Cursor<'_, '_>, action: impl FnOnce(String) -> Action) -> Action {
    cursor
        .name()
        .map_or(Action::Other, |name| action(name.written))
}

fn column_action(mut cursor: Cursor<'_, '_>, name: String) -> Action {
    cursor.name();
    if cursor.eat_all(&["set", "not", "null"]) {
        Action::SetNotNull(name)
    } else if cursor.eat("type") || cursor.eat_all(&["set", "data", "type"]) {
        Action::SetType
    } else if cursor.eat_all(&["set", "expression"]) {
        Action::Rewrite("SET EXPRESSION")
    } else {
        Action::Other
    }
}

fn rewrite(mut cursor: Cursor<'_, '_>) -> Action {
    let forms: [(&[&str], &'static str); 4] = [
        (&["set", "logged"], "SET LOGGED"),
        (&["set", "unlogged"], "SET UNLOGGED"),
        (&["set", "tablespace"], "SET TABLESPACE"),
        (&["set", "access", "method"], "SET ACCESS METHOD"),
    ];
    let found = forms.iter().find(|(words, _)| cursor.eat_all(words));
    found.map_or(Action::Other, |(_, name)| Action::Rewrite(name))
}

fn rows(mut cursor: Cursor<'_, '_>) -> Option<Change> {
    let verb = if cursor.eat_all(&["insert", "into"]) {
        Verb::Insert
    } else if cursor.eat("update") {
        Verb::Update
    } else if cursor.eat_all(&["delete", "from"]) {
        Verb::Delete
    } else if cursor.eat("truncate") {
        cursor.eat("table");
        Verb::Truncate
    } else {
        return None;
    };
    cursor.eat("only");
    let table = cursor.name()?;
    let outside = outside_parentheses(cursor.tokens);
    let has = |word: &str| outside.iter().any(|token| token.is(word));
    Some(Change::Rows {
        verb,
        table,
        filtered: has("where"),
        selects: verb == Verb::Insert && has("select"),
    })
}
