//! Scripts as rules see them: statements with their places in the file as it was written.

use std::ops::Range;

use super::change::{self, Change};
use crate::domain::{
    Dialect, SourceFile, Version,
    lex::{self, Token},
    split::{self, SplitError},
    statement::{self, Forbidden, Lock},
};

/// Whether a script applies or reverts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// It applies.
    Up,
    /// It reverts.
    Down,
}

/// One script: a file, or the part of a file between the marks of goose and dbmate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintScript {
    /// The file's name in the source.
    pub file: String,
    /// The version in its name.
    pub version: Option<Version>,
    /// Which half.
    pub half: Half,
    /// The file's text; what belongs to the other half is blank, so that places stay.
    pub text: String,
    /// Whether it is in force already: then it says what there is, and is not reported on.
    pub applied: bool,
}

impl LintScript {
    /// The scripts of the `.sql` files of a source, in the order of their versions.
    pub fn of(files: &[SourceFile]) -> Vec<Self> {
        let mut scripts = files
            .iter()
            .filter(|file| crate::domain::source::is_sql(&file.name))
            .flat_map(of_file)
            .collect::<Vec<_>>();
        scripts.sort_by(|a, b| {
            let downs_last = (a.half == Half::Down).cmp(&(b.half == Half::Down));
            downs_last
                .then_with(|| a.version.cmp(&b.version))
                .then_with(|| a.file.cmp(&b.file))
        });
        scripts
    }
}

/// The version of Flyway's `R__name` and `B1_2__name`.
fn repeatable_or_baseline(name: &str) -> Option<Version> {
    if let Some(description) = name.strip_prefix("R__") {
        return Some(Version::repeatable(description));
    }
    let (digits, _) = name.strip_prefix('B')?.split_once("__")?;
    Version::parse(&digits.replace('_', ".")).map(|version| version.baseline())
}

fn of_file(file: &SourceFile) -> Vec<LintScript> {
    let text = file.content.replacen('\u{feff}', "   ", 1);
    let stem = file.name.strip_suffix(".sql").unwrap_or(&file.name);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let is_down = name.rsplit('.').next() == Some("down");
    // Flyway's undo scripts are U1__name.
    let undo = name
        .strip_prefix('U')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_down = is_down || undo.is_some();
    let version = repeatable_or_baseline(name).or_else(|| {
        let stems = [undo.unwrap_or(name), folder];
        let found = stems.iter().find_map(|stem| Version::split_stem(stem));
        found.map(|(version, _)| version)
    });
    let script = |half, text| LintScript {
        file: file.name.clone(),
        version: version.clone(),
        half,
        text,
        applied: false,
    };
    match section_start(&text) {
        Some(down) => vec![
            script(Half::Up, blanked(&text, down..text.len())),
            script(Half::Down, blanked(&text, 0..down)),
        ],
        None if is_down => vec![script(Half::Down, text)],
        None => vec![script(Half::Up, text)],
    }
}

/// Where the line that begins the down half starts.
fn section_start(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    ["-- +goose down", "-- migrate:down"]
        .iter()
        .filter_map(|mark| lower.find(mark))
        .min()
}

fn blanked(text: &str, range: Range<usize>) -> String {
    let blank = |(at, c): (usize, char)| {
        if range.contains(&at) && c != '\n' && c != '\r' {
            " ".repeat(c.len_utf8())
        } else {
            c.to_string()
        }
    };
    text.char_indices().map(blank).collect()
}

/// One statement in its file.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// Its number in the script, from 1.
    pub ordinal: usize,
    /// Its bytes in the file.
    pub range: Range<usize>,
    /// Its tokens, with places in the file.
    pub tokens: Vec<Token<'a>>,
    /// What it changes.
    pub change: Change,
    /// The lock it takes, and whether it may share a transaction; or why no migration may contain it.
    pub class: Result<Class, Forbidden>,
}

/// What the runner needs to know of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// The strongest lock it takes.
    pub lock: Lock,
    /// Whether it may run inside a transaction.
    pub transactional: bool,
    /// Whether it must commit before its result is used.
    pub commits_alone: bool,
}

impl Statement<'_> {
    /// Whether its first words are these.
    pub(super) fn starts(&self, words: &[&str]) -> bool {
        self.tokens.len() >= words.len()
            && self
                .tokens
                .iter()
                .zip(words)
                .all(|(token, word)| token.is(word))
    }

    /// Whether these words stand in it, one after the other.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.tokens
            .windows(words.len())
            .any(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))
    }
}

/// A script with its statements.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// The script.
    pub script: &'a LintScript,
    /// Its statements; none when it cannot be split.
    pub statements: Vec<Statement<'a>>,
    /// Why it cannot be split.
    pub error: Option<SplitError>,
    /// The places without a token: white space and comments.
    pub gaps: Vec<Range<usize>>,
}

impl<'a> Parsed<'a> {
    /// Reads a script.
    pub(super) fn new(script: &'a LintScript, dialect: Dialect) -> Self {
        let (ranges, error) = match split::ranges(&script.text, dialect) {
            Ok(ranges) => (ranges, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let (tokens, _) = lex::scan(&script.text, dialect);
        let statements = ranges
            .into_iter()
            .enumerate()
            .map(|(at, range)| statement(script, &tokens, (at + 1, range), dialect))
            .collect();
        Self {
            script,
            statements,
            error,
            gaps: gaps(&tokens, script.text.len()),
        }
    }

    /// Whether the runner applies it in one transaction.
    pub(super) fn is_atomic(&self) -> bool {
        let classes = || {
            self.statements
                .iter()
                .filter_map(|statement| statement.class.as_ref().ok())
        };
        let alone = self.statements.len() > 1 && classes().any(|class| class.commits_alone);
        classes().all(|class| class.transactional) && !alone
    }

    /// Whether it is reported on.
    pub(super) fn is_up(&self) -> bool {
        self.script.half == Half::Up
    }
}

fn statement<'a>(
    script: &'a LintScript,
    tokens: &[Token<'a>],
    (ordinal, range): (usize, Range<usize>),
    dialect: Dialect,
) -> Statement<'a> {
    let from = tokens.partition_point(|token| token.start < range.start);
    let to = tokens.partition_point(|token| token.start < range.end);
    let tokens = tokens.get(from..to).unwrap_or_default().to_vec();
    let text = script.text.get(range.clone()).unwrap_or_default();
    let class = statement::classify(text.to_owned(), dialect).map(|statement| Class {
        lock: statement.lock,
        transactional: statement.transactional,
        commits_alone: statement.commits_alone,
    });
    Statement {
        ordinal,
        change: change::read(&tokens),
        range,
        tokens,
        class,
    }
}

fn gaps(tokens: &[Token<'_>], length: usize) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut end = 0;
    for token in tokens {
        if token.start > end {
            gaps.push(end..token.start);
        }
        end = token.end();
    }
    if end < length {
        gaps.push(end..length);
    }
    gaps
}
