//! From what rules found to what a caller is told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Choice, Hit, View, ignores,
    script::{Half, Parsed},
    table::{self, Reports, Rule, Severity},
};
use crate::domain::{
    Dialect,
    lex::{self, Kind},
    sha256_hex,
};

/// A place in a file: lines and columns from 1, columns in characters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A replacement that would settle a finding, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// From here.
    pub start: Place,
    /// To before here.
    pub end: Place,
    /// This text instead.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule, see its table.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub category: String,
    /// The file.
    pub file: String,
    /// Where it starts.
    pub start: Place,
    /// Where it ends.
    pub end: Place,
    /// The number of the statement in its script, from 1; 0 for the whole file.
    pub statement: usize,
    /// What was found.
    pub message: String,
    /// What to do instead.
    pub help: String,
    /// The same wherever the statement moves in its file, and no other finding's.
    pub fingerprint: String,
    /// Edits that settle it.
    pub fixes: Vec<Fix>,
}

/// Why something that was found is not reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quiet {
    /// A comment in the file says so.
    pub ignored: usize,
    /// The table is new or small.
    pub small_table: usize,
    /// The caller disabled the rule.
    pub disabled: usize,
}

/// What a lint found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LintReport {
    /// Number of up scripts.
    pub files: usize,
    /// Number of statements.
    pub statements: usize,
    /// The findings by file and place.
    pub findings: Vec<Finding>,
    /// What was found and is not reported.
    pub quiet: Quiet,
}

impl LintReport {
    /// Names files from the root of the repository, as GitLab wants them, when the source is a folder of it.
    pub fn in_folder(&mut self, folder: &str) {
        let folder = folder.trim_start_matches("./").trim_end_matches('/');
        if !folder.is_empty() && folder != "." {
            for finding in &mut self.findings {
                finding.file = format!("{folder}/{}", finding.file);
            }
        }
    }

    /// How many findings there are of each severity.
    pub fn counts(&self) -> BTreeMap<Severity, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.severity).or_default() += 1;
        }
        counts
    }
}

/// Adds the hits that are wanted.
pub(super) fn settle(view: &View<'_>, hits: Vec<Hit>, choice: &Choice, report: &mut LintReport) {
    let Some(parsed) = view.parsed().filter(|parsed| !parsed.script.applied) else {
        return;
    };
    let (ignores, wrong) = ignores::read(parsed);
    for hit in hits.into_iter().chain(wrong) {
        let Some(rule) = table::find(hit.rule) else {
            continue;
        };
        let enabled = choice.enable.iter().any(|id| id == rule.id);
        if (rule.default != Reports::On && !enabled)
            || (parsed.script.half == Half::Down && !rule.asks_downs())
        {
            continue;
        }
        if choice.disable.iter().any(|id| id == rule.id) {
            report.quiet.disabled += 1;
        } else if rule.quiet_when_small && is_small(view, &hit) {
            report.quiet.small_table += 1;
        } else if ignores
            .iter()
            .any(|ignore| ignore.covers(&parsed.script.text, rule.id, hit.range.start))
        {
            report.quiet.ignored += 1;
        } else {
            report
                .findings
                .push(finding(view, parsed, rule, &hit, choice));
        }
    }
}

fn is_small(view: &View<'_>, hit: &Hit) -> bool {
    let of_statement = || {
        let statement = view.statements().iter().find(|statement| {
            statement.range.start <= hit.range.start && hit.range.start < statement.range.end
        });
        statement.and_then(|statement| view.table_of(statement))
    };
    hit.table
        .as_deref()
        .or_else(of_statement)
        .is_some_and(|table| view.is_harmless(table) || view.is_dropped_here(table))
}

fn finding(
    view: &View<'_>,
    parsed: &Parsed<'_>,
    rule: &'static Rule,
    hit: &Hit,
    choice: &Choice,
) -> Finding {
    let text = &parsed.script.text;
    let statement = parsed.statements.iter().find(|statement| {
        !hit.whole_file
            && statement.range.start <= hit.range.start
            && hit.range.start <= statement.range.end
    });
    let literals = statement.map_or_else(Vec::new, |statement| {
        let texts = statement
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Text);
        texts
            .map(|token| token.text.trim_matches(['\'', '$']))
            .collect()
    });
    let shown = |sentence: &str| masked(sentence, &literals);
    let fixes = hit
        .edits
        .iter()
        .filter(|edit| !literals.iter().any(|literal| holds(&edit.text, literal)));
    let about = statement.map_or("", |statement| {
        text.get(statement.range.clone()).unwrap_or_default()
    });
    Finding {
        rule: rule.id.to_owned(),
        severity: choice
            .severity
            .get(rule.id)
            .copied()
            .unwrap_or(rule.severity),
        category: rule.category.to_owned(),
        file: parsed.script.file.clone(),
        start: place(text, hit.range.start),
        end: place(text, hit.range.end),
        statement: statement.map_or(0, |statement| statement.ordinal),
        message: shown(&hit.message),
        help: shown(hit.help.as_deref().unwrap_or(rule.instead)),
        fingerprint: format!(
            "{}\0{}\0{}",
            rule.id,
            parsed.script.file,
            normalized(about, view.dialect)
        ),
        fixes: fixes
            .map(|edit| Fix {
                start: place(text, edit.range.start),
                end: place(text, edit.range.end),
                text: edit.text.clone(),
            })
            .collect(),
    }
}

fn normalized(statement: &str, dialect: Dialect) -> String {
    lex::normalized(statement, dialect).unwrap_or_default()
}

fn holds(sentence: &str, literal: &str) -> bool {
    literal.len() > 2 && sentence.contains(literal)
}

/// Literals of the SQL may be secrets.
fn masked(sentence: &str, literals: &[&str]) -> String {
    let hidden = literals.iter().filter(|literal| holds(sentence, literal));
    hidden.fold(sentence.to_owned(), |shown, literal| {
        shown.replace(literal, "***")
    })
}

fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        line: count(before.matches('\n').count() + 1),
        column: count(before.get(line_start..).unwrap_or_default().chars().count() + 1),
    }
}

/// Sorts, drops what two rules of the same name say about the same place, and makes each fingerprint one of its own.
pub(super) fn number(report: &mut LintReport) {
    report.findings.sort_by(|a, b| {
        (&a.file, a.start, &a.rule, a.end, &a.message)
            .cmp(&(&b.file, b.start, &b.rule, b.end, &b.message))
    });
    report.findings.dedup_by(|a, b| {
        (&a.file, a.start, &a.rule, &a.message) == (&b.file, b.start, &b.rule, &b.message)
    });
    let mut seen = BTreeMap::<String, usize>::new();
    for finding in &mut report.findings {
        let count = seen.entry(finding.fingerprint.clone()).or_default();
        finding.fingerprint = sha256_hex(&format!("{}\0{count}", finding.fingerprint));
        *count += 1;
    }
}
