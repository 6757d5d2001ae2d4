//! Reads a set of files as migrations: plain SQL up/down pairs in the layouts of sqlx, golang-migrate and diesel.

use std::collections::BTreeMap;

use super::{
    Dialect, Statement, Version, sha256_hex,
    split::{SplitError, split},
    statement::{Forbidden, classify},
};

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
}

impl Script {
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
    /// Its place in the order.
    pub version: Version,
    /// What its file name says it does.
    pub name: String,
    /// SHA-256 of the normalised up text: equal for CRLF and LF checkouts.
    pub checksum: String,
    /// What applies it.
    pub up: Script,
    /// What the author says reverts it; absent or without statements means there is none.
    pub down: Option<Script>,
    /// What `complete_migration` runs once nothing needs the old form any more.
    pub contract: Option<Script>,
    /// What the author says reverts the contract.
    pub contract_down: Option<Script>,
    /// The UPDATE that fills what up added, run in batches.
    pub backfill: Option<String>,
}

/// Why files are no migrations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Too many or too large files.
    #[error(
        "the source is larger than {MAX_FILES} files, {MAX_FILE_BYTES} bytes a file or {MAX_TOTAL_BYTES} bytes in all"
    )]
    TooLarge,
    /// No `.sql` file whose name starts with a version.
    #[error("the source has no migration")]
    Empty,
    /// Two files claim the same half of the same version.
    #[error("{0} and another file are the same half of the same version")]
    Duplicate(String),
    /// A down without its up.
    #[error("{0} has no up script")]
    NoUp(String),
    /// A `.sql` file whose name does not start with a version.
    #[error("{0} does not start with a version")]
    NoVersion(String),
    /// One file with both halves (goose, dbmate), which is not read.
    #[error(
        "{0} holds up and down in one file, which is not supported: use NAME.up.sql and NAME.down.sql"
    )]
    Sections(String),
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

/// One text for one meaning: no byte order mark, line ends as LF.
pub fn normalize(text: &str) -> String {
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n")
        .replace('\r', "\n")
}

/// Reads files as migrations, in the order of their versions. Files that are not `.sql` are ignored.
///
/// # Errors
/// Every variant of [`SourceError`].
pub fn read(files: &[SourceFile], dialect: Dialect) -> Result<Vec<Migration>, SourceError> {
    check_size(files)?;
    let mut halves: BTreeMap<Version, Halves> = BTreeMap::new();
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        let (version, name, part) =
            place(&file.name).ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
        let script = script(file, dialect)?;
        let entry = halves.entry(version.clone()).or_insert_with(|| Halves {
            version,
            name,
            file: file.name.clone(),
            up: None,
            down: None,
            contract: None,
            contract_down: None,
            backfill: None,
        });
        let half = match part {
            Part::Up => &mut entry.up,
            Part::Down => &mut entry.down,
            Part::Contract => &mut entry.contract,
            Part::ContractDown => &mut entry.contract_down,
            Part::Backfill => &mut entry.backfill,
        };
        if half.replace(script).is_some() {
            return Err(SourceError::Duplicate(file.name.clone()));
        }
    }
    if halves.is_empty() {
        return Err(SourceError::Empty);
    }
    halves.into_values().map(Halves::into_migration).collect()
}

struct Halves {
    version: Version,
    name: String,
    file: String,
    up: Option<Script>,
    down: Option<Script>,
    contract: Option<Script>,
    contract_down: Option<Script>,
    backfill: Option<Script>,
}

/// Which file of a migration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Up,
    Down,
    Contract,
    ContractDown,
    Backfill,
}

impl Halves {
    fn into_migration(self) -> Result<Migration, SourceError> {
        let up = self.up.ok_or(SourceError::NoUp(self.file))?;
        let down = self
            .down
            .filter(|down| !down.statements.is_empty() || up.statements.is_empty());
        Ok(Migration {
            version: self.version,
            name: self.name,
            checksum: checksum(&up, self.contract.as_ref(), self.backfill.as_ref()),
            up,
            down,
            contract: self.contract,
            contract_down: self.contract_down,
            backfill: self.backfill.map(|backfill| backfill.text),
        })
    }
}

/// Of the up text alone, unless there is more that changes the database.
fn checksum(up: &Script, contract: Option<&Script>, backfill: Option<&Script>) -> String {
    let more = [backfill, contract].into_iter().flatten();
    sha256_hex(&more.fold(up.text.clone(), |text, part| {
        format!("{text}\0{}", part.text)
    }))
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

/// Version, name and part: `0001_x.up.sql`, `0001_x.down.sql`, `0001_x.sql`, `0001_x/up.sql`; also `.backfill`, `.contract`
/// and `.contract.down`.
fn place(path: &str) -> Option<(Version, String, Part)> {
    const PARTS: [(&str, Part); 5] = [
        ("contract.down", Part::ContractDown),
        ("contract", Part::Contract),
        ("backfill", Part::Backfill),
        ("down", Part::Down),
        ("up", Part::Up),
    ];
    let path = path.strip_suffix(".sql")?;
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let named = PARTS.into_iter().find_map(|(word, part)| {
        let stem = if file == word {
            Some(folder)
        } else {
            file.strip_suffix(word)?.strip_suffix('.')
        };
        stem.map(|stem| (stem, part))
    });
    let (stem, part) = named.unwrap_or((file, Part::Up));
    Version::split_stem(stem).map(|(version, name)| (version, name, part))
}

fn script(file: &SourceFile, dialect: Dialect) -> Result<Script, SourceError> {
    let text = normalize(&file.content);
    if ["-- +goose down", "-- migrate:down"]
        .iter()
        .any(|mark| text.to_ascii_lowercase().contains(mark))
    {
        return Err(SourceError::Sections(file.name.clone()));
    }
    let pieces = split(&text, dialect).map_err(|source| SourceError::Split {
        file: file.name.clone(),
        source,
    })?;
    let statements = pieces
        .into_iter()
        .map(|piece| classify(piece, dialect))
        .collect::<Result<_, _>>();
    let statements = statements.map_err(|source| SourceError::Forbidden {
        file: file.name.clone(),
        source,
    })?;
    Ok(Script { text, statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> SourceFile {
        SourceFile {
            name: name.into(),
            content: content.into(),
        }
    }

    #[test]
    fn reads_the_layouts_of_sqlx_and_diesel() {
        let migrations = read(
            &[
                file("README.md", "ignored"),
                file("10_b.up.sql", "create table b (x int);"),
                file("10_b.down.sql", "drop table b;"),
                file("9_a/up.sql", "create table a (x int);"),
                file("9_a/down.sql", "-- nothing\n"),
                file("11_c.sql", "create table c (x int)"),
            ],
            Dialect::Sqlite,
        )
        .unwrap();
        let shown = migrations
            .iter()
            .map(|m| (m.version.as_str(), m.name.as_str(), m.down.is_some()))
            .collect::<Vec<_>>();
        assert_eq!(
            shown,
            [("9", "a", false), ("10", "b", true), ("11", "c", false)]
        );
    }

    #[test]
    fn gives_one_checksum_for_crlf_and_lf() {
        let checksum = |text: &str| {
            read(&[file("1_a.sql", text)], Dialect::Postgres)
                .unwrap()
                .remove(0)
                .checksum
        };
        assert_eq!(
            checksum("\u{feff}create table a (\r\n x int);\r\n"),
            checksum("create table a (\n x int);\n")
        );
    }

    #[test]
    fn says_what_is_wrong_with_the_files() {
        let check = |files: &[SourceFile], expected: &str| {
            assert!(
                read(files, Dialect::Postgres)
                    .unwrap_err()
                    .to_string()
                    .contains(expected),
                "{expected}"
            );
        };
        check(&[], "no migration");
        check(&[file("1_a.down.sql", "select 1")], "no up script");
        check(
            &[file("1_a.up.sql", ""), file("0001_b.up.sql", "")],
            "same half",
        );
        check(&[file("seed.sql", "")], "does not start with a version");
        check(
            &[file("1_a.sql", "drop database x")],
            "1_a.sql: DROP DATABASE is not allowed",
        );
        check(&[file("1_a.sql", "select 'x")], "1_a.sql: a string");
        check(
            &[file("1_a.sql", "-- migrate:up\n-- migrate:down\n")],
            "one file",
        );
        check(
            &[file("1_a.sql", &" ".repeat(MAX_FILE_BYTES + 1))],
            "larger",
        );
    }

    #[test]
    fn keeps_a_new_enum_value_apart_from_its_use() {
        let script = |text: &str| {
            read(&[file("1_a.sql", text)], Dialect::Postgres)
                .unwrap()
                .remove(0)
                .up
        };
        assert!(script("alter type e add value 'x'").is_atomic());
        assert!(!script("alter type e add value 'x'; insert into t values ('x')").is_atomic());
        assert!(
            !script("create table a (x int); create index concurrently i on a (x)").is_atomic()
        );
    }
}
