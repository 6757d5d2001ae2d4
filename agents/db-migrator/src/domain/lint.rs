//! Lint: what is dangerous about a source of migrations, by squawk's rules, those of its peers and our own.

pub mod change;
mod compatibility;
mod data;
mod facts;
pub mod gitlab;
mod hygiene;
mod ignores;
mod locking;
mod proofs;
mod report;
pub mod sarif;
mod script;
mod sqlite;
mod squawk;
pub mod table;
pub mod text;
mod versions;

pub use facts::{
    Facts, InForce, Probe, ProofFact, Question, SMALL_BYTES, SMALL_ROWS, TableSize, questions,
};
pub use report::{Finding, Fix, LintReport, Place, Quiet};
pub use script::{Half, LintScript};
pub use table::Severity;

use std::{collections::BTreeMap, ops::Range};

use super::{Dialect, lex};
use script::{Parsed, Statement};

/// What a caller wants of the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Rules that are off unless named here.
    pub enable: Vec<String>,
    /// Rules that are not wanted.
    pub disable: Vec<String>,
    /// Other severities.
    pub severity: BTreeMap<String, Severity>,
}

/// What a rule found, before anybody asked whether it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hit {
    rule: &'static str,
    range: Range<usize>,
    /// Whether it is about the file and no statement of it.
    whole_file: bool,
    message: String,
    help: Option<String>,
    edits: Vec<TextEdit>,
    /// The table whose size decides, when it is not the statement's.
    table: Option<String>,
}

/// A replacement of bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TextEdit {
    range: Range<usize>,
    text: String,
}

impl Hit {
    fn at(rule: &'static str, range: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            rule,
            range,
            whole_file: false,
            message: message.into(),
            help: None,
            edits: Vec::new(),
            table: None,
        }
    }

    fn of_file(rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            whole_file: true,
            ..Self::at(rule, 0..0, message)
        }
    }

    fn on(rule: &'static str, statement: &Statement<'_>, message: impl Into<String>) -> Self {
        Self::at(rule, statement.range.clone(), message)
    }
}

/// What a rule sees: a script, what came before it, and what is known of the database.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    dialect: Dialect,
    scripts: &'a [Parsed<'a>],
    at: usize,
    facts: &'a Facts,
}

impl<'a> View<'a> {
    /// The script in question.
    fn parsed(&self) -> Option<&'a Parsed<'a>> {
        self.scripts.get(self.at)
    }

    /// Its statements.
    fn statements(&self) -> &'a [Statement<'a>] {
        self.parsed().map_or(&[], |parsed| &parsed.statements)
    }

    /// The up scripts before it.
    fn earlier(&self) -> impl Iterator<Item = &'a Parsed<'a>> {
        self.scripts
            .iter()
            .take(self.at)
            .filter(|parsed| parsed.is_up())
    }

    /// Whether the script itself makes this table.
    fn is_made_here(&self, table: &str) -> bool {
        self.parsed().is_some_and(|parsed| creates(parsed, table))
    }

    /// Whether the script drops this table anyway.
    fn is_dropped_here(&self, table: &str) -> bool {
        self.statements().iter().any(|statement| {
            matches!(&statement.change, change::Change::DropTable { tables, .. }
                if tables.iter().any(|dropped| dropped.bare == table))
        })
    }

    /// The table of an index that a script makes.
    fn table_of_index(&self, index: &str) -> Option<&'a str> {
        let mut statements = self.scripts.iter().flat_map(|parsed| &parsed.statements);
        statements.find_map(|statement| match &statement.change {
            change::Change::CreateIndex(made)
                if made.name.as_ref().is_some_and(|name| name.bare == index) =>
            {
                Some(made.table.bare.as_str())
            }
            _ => None,
        })
    }

    /// The table that a statement is about.
    fn table_of(&self, statement: &'a Statement<'a>) -> Option<&'a str> {
        match &statement.change {
            change::Change::DropIndex(indexes) => self.table_of_index(&indexes.first()?.bare),
            other => other.table().map(|table| table.bare.as_str()),
        }
    }

    /// Whether the script gives another table this name: a rebuild.
    fn is_rebuilt(&self, table: &str) -> bool {
        let mut actions = self
            .statements()
            .iter()
            .flat_map(|statement| statement.change.actions());
        actions.any(|action| {
            matches!(action, change::Action::RenameTable(to) if lex::bare_name(to) == table)
        })
    }

    /// Whether the table is new or small: then what reads or blocks all of it does not matter.
    fn is_harmless(&self, table: &str) -> bool {
        let here = self.is_made_here(table);
        match (&self.facts.tables, self.facts.size(table)) {
            (Some(_), Some(size)) => size.is_small(),
            (Some(_), None) => here || self.earlier().any(|parsed| creates(parsed, table)),
            (None, _) => here,
        }
    }
}

fn creates(parsed: &Parsed<'_>, table: &str) -> bool {
    parsed.statements.iter().any(|statement| {
        matches!(&statement.change, change::Change::CreateTable { table: made, .. } if made.bare == table)
    })
}

/// Looks for everything that the rules know.
pub fn lint(
    scripts: &[LintScript],
    dialect: Dialect,
    facts: &Facts,
    choice: &Choice,
) -> LintReport {
    let parsed = scripts
        .iter()
        .map(|script| Parsed::new(script, dialect))
        .collect::<Vec<_>>();
    let mut report = LintReport::default();
    for (at, parsed_script) in parsed.iter().enumerate() {
        let view = View {
            dialect,
            scripts: &parsed,
            at,
            facts,
        };
        if !parsed_script.script.applied {
            report.files += usize::from(parsed_script.is_up());
            report.statements += parsed_script.statements.len();
            report::settle(&view, hits(&view, choice), choice, &mut report);
        }
    }
    proofs::check(&parsed, facts, choice, &mut report);
    report::number(&mut report);
    report
}

/// The finding that a file is no part of a source.
pub fn source_finding(file: &str, message: String) -> Finding {
    let rule = "source-layout";
    let known = table::find(rule);
    let start = Place { line: 1, column: 1 };
    Finding {
        rule: rule.to_owned(),
        severity: Severity::Blocker,
        category: "correctness".to_owned(),
        file: file.to_owned(),
        start,
        end: start,
        statement: 0,
        fingerprint: super::sha256_hex(&format!("{rule}\0{file}\0{message}")),
        message,
        help: known.map_or("", |rule| rule.instead).to_owned(),
        fixes: Vec::new(),
    }
}

fn hits(view: &View<'_>, choice: &Choice) -> Vec<Hit> {
    let Some(parsed) = view.parsed() else {
        return Vec::new();
    };
    let mut hits = hygiene::unreadable(parsed);
    if parsed.error.is_some() {
        return hits;
    }
    if view.dialect == Dialect::Postgres {
        hits.extend(squawk::check(
            parsed,
            view.facts.server_version,
            &choice.enable,
        ));
    }
    let families = [
        hygiene::check,
        locking::check,
        compatibility::check,
        data::check,
        versions::check,
        sqlite::check,
    ];
    hits.extend(families.iter().flat_map(|family| family(view)));
    hits
}
