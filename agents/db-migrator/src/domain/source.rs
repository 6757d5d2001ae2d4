//! Reads a set of files as migrations, in the layouts of the usual tools.

mod assemble;
mod dbmate;
mod diesel;
mod flyway;
mod goose;
mod layout;
mod placeholders;
mod plain;
mod script;
#[cfg(test)]
mod tests;

pub use placeholders::{MAX_PLACEHOLDERS, MAX_VALUE, Placeholders};

use super::{Dialect, Statement, Tool, Version, split::SplitError, statement::Forbidden};

/// Most files a source may have.
pub const MAX_FILES: usize = 2_000;
/// Most bytes one file may have.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most bytes all files may have together.
pub const MAX_TOTAL_BYTES: usize = 8 << 20;

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the source's root with `/` between parts.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// One half of a migration, split and classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The normalised text.
    pub text: String,
    /// Its statements in order.
    pub statements: Vec<Statement>,
    /// Whether its author wants no transaction around all of it.
    pub no_transaction: bool,
}

impl Script {
    /// A script of statements that were made here, not read.
    pub fn of(statements: Vec<Statement>) -> Self {
        let text = statements
            .iter()
            .map(|statement| statement.text.as_str())
            .collect::<Vec<_>>()
            .join(";\n");
        Self {
            text,
            statements,
            no_transaction: false,
        }
    }

    /// Whether all of it may run in one transaction.
    pub fn is_atomic(&self) -> bool {
        let alone = self.statements.len() > 1
            && self
                .statements
                .iter()
                .any(|statement| statement.commits_alone);
        self.statements
            .iter()
            .all(|statement| statement.transactional)
            && !alone
            && !self.no_transaction
    }

    /// Whether it switches SQLite's foreign keys off, as a rebuild of a table must.
    pub fn foreign_keys_off(&self) -> bool {
        self.statements
            .iter()
            .any(|statement| statement.foreign_key_switch)
    }
}

/// A migration as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order; a repeatable of Flyway has none before it is [`super::pending::pending`].
    pub version: Version,
    /// What its file name says it does.
    pub name: String,
    /// SHA-256 of the normalised up text: equal for CRLF and LF checkouts.
    pub checksum: String,
    /// What applies it.
    pub up: Script,
    /// What the author says reverts it; absent or without statements means there is none.
    pub down: Option<Script>,
    /// What removes the old form once nothing uses it any more (`NAME.contract.sql`).
    pub contract: Option<Script>,
    /// What the author says reverts the contract (`NAME.contract.down.sql`).
    pub contract_down: Option<Script>,
    /// The text that moves rows to the new form (`NAME.backfill.sql`), as its author wrote it.
    pub backfill: Option<String>,
    /// The file that holds its up, byte for byte: other tools' checksums are over this.
    pub original: String,
    /// Whether it may run although newer ones are in force.
    pub may_run_late: bool,
}

/// What a set of files holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The layout they were read in.
    pub layout: Tool,
    /// The migrations in the order of their versions.
    pub migrations: Vec<Migration>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Why files are no migrations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Too many or too large files.
    #[error(
        "the source is larger than {MAX_FILES} files, {MAX_FILE_BYTES} bytes a file or {MAX_TOTAL_BYTES} bytes in all"
    )]
    TooLarge,
    /// No file that the layout takes for a migration.
    #[error("the source has no migration")]
    Empty,
    /// The files fit more than one layout.
    #[error("{first} looks like {}, but {second} like {}: name one of them in source.layout", layouts.0.name(), layouts.1.name())]
    Ambiguous {
        /// A file.
        first: String,
        /// Another, or the same.
        second: String,
        /// What they look like.
        layouts: (Tool, Tool),
    },
    /// Two files claim the same half of the same version.
    #[error("{0} and another file are the same half of the same version")]
    Duplicate(String),
    /// A down without its up.
    #[error("{0} has no up script")]
    NoUp(String),
    /// A `.sql` file whose name does not start with a version.
    #[error("{0} does not start with a version")]
    NoVersion(String),
    /// A file that breaks the rules of its layout.
    #[error("{file}: {rule}")]
    Rule {
        /// The file.
        file: String,
        /// Which rule.
        rule: String,
    },
    /// Something of a tool that is not supported.
    #[error("{file} uses {feature}, which is not supported: {instead}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it uses.
        feature: String,
        /// What to do.
        instead: &'static str,
    },
    /// A script that cannot be split.
    #[error("{file}: {source}")]
    Split {
        /// The file.
        file: String,
        /// Why.
        source: SplitError,
    },
    /// A statement that no migration may contain.
    #[error("{file}: {source}")]
    Forbidden {
        /// The file.
        file: String,
        /// Which and why.
        source: Forbidden,
    },
}

/// Whether a file is SQL by its name.
pub fn is_sql(name: &str) -> bool {
    std::path::Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "sql")
}

/// Whether a file can say anything about migrations: SQL, or the settings that diesel and Flyway put beside it.
pub fn is_relevant(name: &str) -> bool {
    is_sql(name) || name.ends_with(".sql.conf") || name.rsplit('/').next() == Some("metadata.toml")
}

/// One text for one meaning: no byte order mark, line ends as LF.
pub fn normalize(text: &str) -> String {
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n")
        .replace('\r', "\n")
}

/// Reads files as migrations in the layout that they show, in the order of their versions.
///
/// # Errors
/// Every variant of [`SourceError`].
pub fn read(files: &[SourceFile], dialect: Dialect) -> Result<Vec<Migration>, SourceError> {
    read_as(files, dialect, None).map(|source| source.migrations)
}

/// Reads files as migrations, in a layout that was named or the one that they show.
///
/// # Errors
/// Every variant of [`SourceError`].
pub fn read_as(
    files: &[SourceFile],
    dialect: Dialect,
    layout: Option<Tool>,
) -> Result<Source, SourceError> {
    read_with(files, dialect, layout, &Placeholders::default())
}

/// The same with the values of placeholders, which Flyway's layout has.
///
/// # Errors
/// Every variant of [`SourceError`].
pub fn read_with(
    files: &[SourceFile],
    dialect: Dialect,
    layout: Option<Tool>,
    values: &Placeholders,
) -> Result<Source, SourceError> {
    check_size(files)?;
    let files = &files
        .iter()
        .filter(|file| !super::hooks::is_hook_file(&file.name))
        .cloned()
        .collect::<Vec<_>>();
    let layout = match layout {
        Some(layout) => layout,
        None => layout::recognise(files)?,
    };
    let found = layout.take_apart(files, values)?;
    Ok(Source {
        layout,
        migrations: assemble::assemble(found.halves, dialect)?,
        notes: found.notes,
    })
}

/// The files as they are run: with values in the place of placeholders, when the layout has them.
///
/// # Errors
/// `Unsupported` with the first placeholder that has no value.
pub fn filled(
    files: Vec<SourceFile>,
    layout: Option<Tool>,
    values: &Placeholders,
) -> Result<Vec<SourceFile>, SourceError> {
    match layout.map_or_else(|| layout::recognise(&files), Ok) {
        Ok(Tool::Flyway) => flyway::filled(&files, values),
        // What is wrong with the layout is said by who reads the files.
        _ => Ok(files),
    }
}

fn check_size(files: &[SourceFile]) -> Result<(), SourceError> {
    let total: usize = files.iter().map(|file| file.content.len()).sum();
    let large = files.iter().any(|file| file.content.len() > MAX_FILE_BYTES);
    if files.len() > MAX_FILES || total > MAX_TOTAL_BYTES || large {
        Err(SourceError::TooLarge)
    } else {
        Ok(())
    }
}
