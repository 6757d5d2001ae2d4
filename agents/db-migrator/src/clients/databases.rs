//! The databases that an operator configured, by name.

use std::{fmt, str::FromStr, sync::Arc};

use super::{postgres::PostgresTarget, sqlite::SqliteTarget, target::Target};

/// `NAME=URL[,dev]`, for example `shop=sqlite:shop.db,dev`. Its `Debug` never shows the URL.
#[derive(Clone)]
pub struct DatabaseSpec {
    name: String,
    target: Arc<dyn Target>,
    dev: bool,
}

impl fmt::Debug for DatabaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSpec")
            .field("name", &self.name)
            .field("dialect", &self.target.dialect())
            .field("dev", &self.dev)
            .finish()
    }
}

/// Why a database cannot be configured. Never shows the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseSpecError {
    /// Not `NAME=URL`.
    #[error("expected NAME=URL[,dev]")]
    Form,
    /// The name is empty, too long or has other characters.
    #[error("a name has 1 to 63 of a-z, 0-9, - and _")]
    Name,
    /// Neither `sqlite:` nor `postgres://`, or a URL that cannot be read.
    #[error("a URL is sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
    /// TLS to PostgreSQL is not built in.
    #[error("sslmode=require is not supported: use sslmode=disable inside the mesh")]
    Tls,
}

impl FromStr for DatabaseSpec {
    type Err = DatabaseSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) = text.trim().split_once('=').ok_or(DatabaseSpecError::Form)?;
        let (url, dev) = url
            .strip_suffix(",dev")
            .map_or((url, false), |url| (url, true));
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 63 || !name.chars().all(valid) {
            return Err(DatabaseSpecError::Name);
        }
        let target: Arc<dyn Target> =
            if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
                Arc::new(SqliteTarget::new(path.trim_start_matches("//")))
            } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
                let config = url
                    .parse::<tokio_postgres::Config>()
                    .map_err(|_| DatabaseSpecError::Url)?;
                if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
                    return Err(DatabaseSpecError::Tls);
                }
                Arc::new(PostgresTarget::new(config))
            } else {
                return Err(DatabaseSpecError::Url);
            };
        Ok(Self {
            name: name.to_owned(),
            target,
            dev,
        })
    }
}

/// One configured database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name in requests.
    pub name: String,
    /// The adapter.
    pub target: Arc<dyn Target>,
    /// Whether proven migrations need no approval there.
    pub dev: bool,
}

/// All configured databases.
#[derive(Debug, Clone, Default)]
pub struct Databases {
    all: Vec<Database>,
}

impl Databases {
    /// The databases of these specifications; a later one of the same name wins.
    pub fn new(specs: impl IntoIterator<Item = DatabaseSpec>) -> Self {
        let mut all: Vec<Database> = Vec::new();
        for DatabaseSpec { name, target, dev } in specs {
            all.retain(|database| database.name != name);
            all.push(Database { name, target, dev });
        }
        Self { all }
    }

    /// The database of this name.
    pub fn find(&self, name: &str) -> Option<&Database> {
        self.all.iter().find(|database| database.name == name)
    }

    /// The names, for an error that lists them.
    pub fn names(&self) -> String {
        self.all
            .iter()
            .map(|database| database.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Reads one specification a line; empty lines and lines that start with `#` are skipped.
///
/// # Errors
/// The first line that is no specification, by its number.
pub fn parse_lines(text: &str) -> Result<Vec<DatabaseSpec>, (usize, DatabaseSpecError)> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines
        .map(|(at, line)| line.parse().map_err(|error| (at + 1, error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dialect;

    #[test]
    fn reads_specifications_and_hides_their_urls() {
        let spec = "shop=postgres://app:s3cret@db:5432/shop"
            .parse::<DatabaseSpec>()
            .unwrap();
        assert!(!format!("{spec:?}").contains("s3cret"));
        let databases = Databases::new(["a=sqlite:/tmp/a.db,dev".parse().unwrap(), spec]);
        assert!(!format!("{databases:?}").contains("s3cret"));
        assert!(
            databases
                .find("a")
                .is_some_and(|d| d.dev && d.target.dialect() == Dialect::Sqlite)
        );
        assert!(
            databases
                .find("shop")
                .is_some_and(|d| !d.dev && d.target.dialect() == Dialect::Postgres)
        );
        assert_eq!(databases.names(), "a, shop");
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        for (text, expected) in [
            ("shop", DatabaseSpecError::Form),
            ("Shop=sqlite:x", DatabaseSpecError::Name),
            ("a=mysql://x", DatabaseSpecError::Url),
            ("a=sqlite:", DatabaseSpecError::Url),
            ("a=postgres://h/d?sslmode=require", DatabaseSpecError::Tls),
            ("a=postgres://h:port/d", DatabaseSpecError::Url),
        ] {
            assert_eq!(
                text.parse::<DatabaseSpec>().unwrap_err(),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            parse_lines("# targets\n\na=sqlite:x\nb=what").unwrap_err(),
            (4, DatabaseSpecError::Url)
        );
    }
}
