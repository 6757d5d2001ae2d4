//! The two databases this agent speaks to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which database a target is, and with it which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}

impl Dialect {
    /// `sqlite` or `postgres`: the metric label and the dependency's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// The audited action of running one statement.
    pub const fn execute_action(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.execute",
            Self::Postgres => "postgres.execute",
        }
    }

    /// The audited action of committing a migration together with its ledger rows.
    pub const fn commit_action(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.commit",
            Self::Postgres => "postgres.commit",
        }
    }

    /// The audited action of proving a plan on a shadow.
    pub const fn prove_action(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.prove",
            Self::Postgres => "postgres.prove",
        }
    }

    /// The audited action of reading catalog and ledger.
    pub const fn read_action(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.read",
            Self::Postgres => "postgres.read",
        }
    }
}
