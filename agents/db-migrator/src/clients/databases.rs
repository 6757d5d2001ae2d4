//! The databases that an operator configured, by name.

mod fleets;

pub use fleets::{Fleet, FleetError, FleetSpec};

use std::{fmt, str::FromStr, sync::Arc};

use store::postgres::{Address, AddressError};

use super::{
    hooks::{Desk, Outlets},
    postgres::PostgresTarget,
    sqlite::SqliteTarget,
    target::{Target, TargetError},
};
use crate::domain::{Dialect, Tenant, fleet::matches, source::Placeholders, tenant::NoTenant};

/// `NAME=URL[,dev][,service=NAME][,owner=ROLE][,schema=SCHEMA][,tenants=PATTERN][,superuser=allow]`, for example
/// `shop=sqlite:shop.db,dev`. Its `Debug` never shows the URL.
#[derive(Clone)]
pub struct DatabaseSpec {
    name: String,
    target: Arc<dyn Target>,
    options: Options,
}

/// What follows the URL of a specification.
#[derive(Debug, Clone, Default)]
struct Options {
    dev: bool,
    superuser: bool,
    service: Option<String>,
    owner: Option<String>,
    schema: Option<Tenant>,
    tenants: Option<String>,
}

impl fmt::Debug for DatabaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSpec")
            .field("name", &self.name)
            .field("dialect", &self.target.dialect())
            .field("dev", &self.options.dev)
            .finish_non_exhaustive()
    }
}

/// Why a database cannot be configured. Never shows the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseSpecError {
    /// Not `NAME=URL`.
    #[error("expected NAME=URL[,dev]")]
    Form,
    /// An option that is none.
    #[error(
        "an option is dev, superuser=allow, service=NAME, owner=ROLE, schema=SCHEMA or tenants=PATTERN"
    )]
    Option,
    /// Roles and schemas are PostgreSQL's.
    #[error("owner, schema and tenants are options of PostgreSQL databases")]
    NotPostgres,
    /// A schema that no tenant can have.
    #[error(transparent)]
    Schema(#[from] NoTenant),
    /// One schema, or many.
    #[error("either schema or tenants: a target is one schema, or has many")]
    SchemaAndTenants,
    /// The name is empty, too long or has other characters.
    #[error("a name has 1 to 63 of a-z, 0-9, - and _")]
    Name,
    /// Neither `sqlite:` nor `postgres://`, or a URL that cannot be read.
    #[error("a URL is sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
    /// The URL's form, or a parameter of TLS.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl FromStr for DatabaseSpec {
    type Err = DatabaseSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) = text.trim().split_once('=').ok_or(DatabaseSpecError::Form)?;
        let (url, options) = options(url)?;
        if options.schema.is_some() && options.tenants.is_some() {
            return Err(DatabaseSpecError::SchemaAndTenants);
        }
        if !is_name(name) {
            return Err(DatabaseSpecError::Name);
        }
        let target: Arc<dyn Target> = if let Some(path) =
            url.strip_prefix("sqlite:").filter(|path| !path.is_empty())
        {
            if options.owner.is_some() || options.schema.is_some() || options.tenants.is_some() {
                return Err(DatabaseSpecError::NotPostgres);
            }
            Arc::new(SqliteTarget::new(path.trim_start_matches("//")))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let address: Address = url.parse()?;
            address.check()?;
            let target = PostgresTarget::new(address, options.owner.clone());
            Arc::new(match &options.schema {
                Some(tenant) => target.of_tenant(tenant.clone()),
                None => target,
            })
        } else {
            return Err(DatabaseSpecError::Url);
        };
        Ok(Self {
            name: name.to_owned(),
            target,
            options,
        })
    }
}

/// Takes the options off a URL, last first. What looks like an option but is none is refused: it would become a part of
/// the database's name.
fn options(text: &str) -> Result<(&str, Options), DatabaseSpecError> {
    let mut options = Options::default();
    let mut url = text;
    while let Some((rest, option)) = url.rsplit_once(',') {
        let (key, value) = option
            .split_once('=')
            .map_or((option, None), |(key, value)| (key, Some(value)));
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        if key.is_empty() || !key.chars().all(word) {
            break;
        }
        let value = value.map(str::to_owned);
        match (key, &value) {
            ("dev", None) => options.dev = true,
            ("superuser", Some(allow)) if allow == "allow" => options.superuser = true,
            ("service", Some(name)) if is_name(name) => options.service = value,
            ("owner", Some(name)) if is_name(name) => options.owner = value,
            ("schema", Some(schema)) => options.schema = Some(Tenant::new(schema)?),
            ("tenants", Some(pattern)) if !pattern.is_empty() => options.tenants = value,
            _ => return Err(DatabaseSpecError::Option),
        }
        url = rest;
    }
    Ok((url, options))
}

/// 1 to 63 of a-z, 0-9, - and _: names that need no further quoting anywhere.
fn is_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    (1..=63).contains(&name.len()) && name.chars().all(valid)
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
    /// Whether migrations may run as a superuser there.
    pub superuser: bool,
    /// The service whose database it is, when that has another name.
    pub service: Option<String>,
    /// Which of its schemas are tenants, with `*` for any text; none when absent.
    pub tenants: Option<String>,
    /// Where the hooks of its runs lie.
    pub desk: Arc<Desk>,
}

impl Database {
    /// Reads its catalog, which its target remembers.
    async fn read(&self) -> Result<(), TargetError> {
        let mut session = self.target.connect("start").await?;
        let shape = session.shape().await;
        session.close().await?;
        shape.map(drop)
    }

    /// One tenant of this database, as `NAME/SCHEMA`; `None` when the schema is none of its tenants'.
    pub fn tenant(&self, schema: &str) -> Option<Self> {
        let pattern = self.tenants.as_deref()?;
        let tenant = Tenant::new(schema).ok()?;
        let target = matches(pattern, schema).then(|| self.target.of_tenant(tenant))??;
        Some(Self {
            name: format!("{}/{schema}", self.name),
            target,
            service: None,
            tenants: None,
            desk: Arc::new(self.desk.beside()),
            ..self.clone()
        })
    }
}

/// All configured databases.
#[derive(Debug, Clone, Default)]
pub struct Databases {
    all: Vec<Database>,
    fleets: Vec<Fleet>,
    placeholders: Placeholders,
}

/// `NAME=VALUE` of a placeholder. Its `Debug` never shows the value.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaceholderSpec {
    name: String,
    value: String,
}

impl fmt::Debug for PlaceholderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaceholderSpec")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a placeholder cannot be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=VALUE of at most 1024 bytes, with a name of letters, digits, _, ., : and -")]
pub struct PlaceholderSpecError;

impl FromStr for PlaceholderSpec {
    type Err = PlaceholderSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or(PlaceholderSpecError)?;
        if !Placeholders::fits(name, value) {
            return Err(PlaceholderSpecError);
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl Databases {
    /// The databases of these specifications; a later one of the same name wins.
    pub fn new(specs: impl IntoIterator<Item = DatabaseSpec>) -> Self {
        let mut all: Vec<Database> = Vec::new();
        for DatabaseSpec {
            name,
            target,
            options,
        } in specs
        {
            all.retain(|database| database.name != name);
            all.push(Database {
                name,
                target,
                dev: options.dev,
                superuser: options.superuser,
                service: options.service,
                tenants: options.tenants,
                desk: Arc::default(),
            });
        }
        Self {
            all,
            fleets: Vec::new(),
            placeholders: Placeholders::default(),
        }
    }

    /// Gives the placeholders of sources values, unless a request has others.
    #[must_use]
    pub fn with_placeholders(self, values: impl IntoIterator<Item = PlaceholderSpec>) -> Self {
        let values = values.into_iter().map(|spec| (spec.name, spec.value));
        Self {
            placeholders: self.placeholders.with(values),
            ..self
        }
    }

    /// The values that the operator gave placeholders.
    pub fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }

    /// Lets the hooks of all databases reach what these outlets allow.
    #[must_use]
    pub fn with_outlets(mut self, outlets: &Arc<Outlets>) -> Self {
        for database in &mut self.all {
            database.desk = Arc::new(Desk::new(outlets.clone()));
        }
        self
    }

    /// The database of this name, or the tenant of a database as `NAME/SCHEMA`.
    pub fn target(&self, name: &str) -> Option<Database> {
        self.find(name).cloned().or_else(|| {
            let (database, schema) = name.split_once('/')?;
            self.find(database)?.tenant(schema)
        })
    }

    /// The database of a service: the one that names it, or the one of the same name.
    pub fn of_service(&self, service: &str) -> Option<&Database> {
        let named = |database: &&Database| database.service.as_deref() == Some(service);
        self.all.iter().find(named).or_else(|| self.find(service))
    }

    /// Reads the catalogs of the databases that name a service, so that the first question whether a release of it may go
    /// back is answered as fast as later ones. Counts those that were read; the others are read when somebody asks.
    pub async fn look_ahead(&self) -> usize {
        let mut read = 0;
        let asked_about = |database: &&Database| {
            database.service.is_some() && database.target.dialect() == Dialect::Postgres
        };
        for database in self.all.iter().filter(asked_about) {
            match database.read().await {
                Ok(()) => read += 1,
                Err(error) => {
                    tracing::debug!(database = database.name, %error, "its catalog is read later");
                }
            }
        }
        read
    }

    /// The database of this name.
    pub fn find(&self, name: &str) -> Option<&Database> {
        self.all.iter().find(|database| database.name == name)
    }

    /// The names, for an error that lists them.
    pub fn names(&self) -> String {
        self.all
            .iter()
            .map(|database| match &database.tenants {
                Some(pattern) => format!("{0}, {0}/{pattern}", database.name),
                None => database.name.clone(),
            })
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
            ("a=postgres://h:port/d", AddressError::Form.into()),
        ] {
            assert_eq!(
                text.parse::<DatabaseSpec>().unwrap_err(),
                expected,
                "{text}"
            );
        }
        let spec = "a=postgres://h/d?sslmode=verify-full".parse::<DatabaseSpec>();
        let said = spec.unwrap_err().to_string();
        assert!(said.starts_with("sslrootcert: expected a file"), "{said}");
        assert_eq!(
            parse_lines("# targets\n\na=sqlite:x\nb=what").unwrap_err(),
            (4, DatabaseSpecError::Url)
        );
    }
}
