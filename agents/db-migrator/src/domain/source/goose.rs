//! goose: `-- +goose` annotations in one file.

use super::{
    SourceError,
    assemble::{Piece, Role},
    plain::Section,
};

/// The word of a `-- +goose WORD` line.
fn annotation(line: &str) -> Option<String> {
    let line = line.trim();
    let (_, word) = line
        .strip_prefix("--")
        .and_then(|rest| rest.split_once("+goose"))?;
    Some(word.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether a file has an annotation.
pub(super) fn is_marked(content: &str) -> bool {
    super::normalize(content)
        .lines()
        .any(|line| annotation(line).is_some())
}

/// The sections of a file. Blocks between `StatementBegin` and `StatementEnd` stay one statement.
pub(super) fn sections(file: &str, text: &str) -> Result<Vec<Section>, SourceError> {
    let mut reader = Reader {
        file,
        found: Vec::new(),
        in_block: false,
        no_transaction: false,
    };
    for line in text.split_inclusive('\n') {
        match annotation(line) {
            Some(word) => reader.annotation(&word)?,
            None => reader.line(line)?,
        }
    }
    let Reader {
        mut found,
        in_block,
        no_transaction,
        ..
    } = reader;
    if in_block || found.is_empty() {
        let missing = if in_block { "StatementEnd" } else { "Up" };
        return Err(SourceError::Rule {
            file: file.to_owned(),
            rule: format!("it has no `-- +goose {missing}`"),
        });
    }
    for section in &mut found {
        section.no_transaction = no_transaction;
    }
    Ok(found)
}

struct Reader<'a> {
    file: &'a str,
    found: Vec<Section>,
    in_block: bool,
    no_transaction: bool,
}

impl Reader<'_> {
    fn rule(&self, rule: impl Into<String>) -> SourceError {
        SourceError::Rule {
            file: self.file.to_owned(),
            rule: rule.into(),
        }
    }

    fn annotation(&mut self, word: &str) -> Result<(), SourceError> {
        let open = self.found.last().map(|section| section.role);
        match (word, open) {
            ("Up", None) => self.open(Role::Up),
            ("Down", Some(Role::Up)) if !self.in_block => self.open(Role::Down),
            ("StatementBegin", Some(_)) if !self.in_block => self.turn(true),
            ("StatementEnd", Some(_)) if self.in_block => self.turn(false),
            ("NO TRANSACTION", _) => self.no_transaction = true,
            ("ENVSUB OFF", _) => {}
            ("ENVSUB ON", _) => {
                return Err(SourceError::Unsupported {
                    file: self.file.to_owned(),
                    feature: "`-- +goose ENVSUB ON`".into(),
                    instead: "a migration says the same everywhere, so write the values out",
                });
            }
            _ => return Err(self.rule(format!("`-- +goose {word}` is out of place or unknown"))),
        }
        Ok(())
    }

    fn open(&mut self, role: Role) {
        self.found.push(Section {
            role,
            pieces: vec![Piece::Sql(String::new())],
            no_transaction: false,
        });
    }

    fn turn(&mut self, in_block: bool) {
        self.in_block = in_block;
        let piece = if in_block { Piece::Block } else { Piece::Sql };
        if let Some(section) = self.found.last_mut() {
            section.pieces.push(piece(String::new()));
        }
    }

    fn line(&mut self, line: &str) -> Result<(), SourceError> {
        let comment = line.trim().is_empty() || line.trim_start().starts_with("--");
        let open = self
            .found
            .last_mut()
            .and_then(|section| section.pieces.last_mut());
        match open {
            Some(Piece::Sql(text) | Piece::Block(text)) => text.push_str(line),
            None if comment => {}
            None => return Err(self.rule("no statement may come before `-- +goose Up`")),
        }
        Ok(())
    }
}
