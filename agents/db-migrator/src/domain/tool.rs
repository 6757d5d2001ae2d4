//! The tools whose files and histories are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tool by the layout of its files and the table of its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// `V_name.sql`, or `V_name.up.sql` with `V_name.down.sql`; `_sqlx_migrations`.
    Sqlx,
    /// `V_name/up.sql` with `down.sql` and `metadata.toml`; `__diesel_schema_migrations`.
    Diesel,
    /// `V1__name.sql`, and `U1__name.sql` for those that may run late; `refinery_schema_history`.
    Refinery,
    /// `1_name.up.sql` with `1_name.down.sql`; `schema_migrations` with one row: the newest version.
    GolangMigrate,
    /// `V_name.sql` with `-- migrate:up` and `-- migrate:down`; `schema_migrations` with a row a version.
    Dbmate,
    /// `V_name.sql` with `-- +goose Up` and `-- +goose Down`; `goose_db_version`.
    Goose,
    /// `V1_2__name.sql` with the undo `U1_2__name.sql`, repeatables `R__name.sql` and baselines `B1_2__name.sql`;
    /// `flyway_schema_history`.
    Flyway,
}

impl Tool {
    /// The word in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::Refinery => "refinery",
            Self::GolangMigrate => "golang_migrate",
            Self::Dbmate => "dbmate",
            Self::Goose => "goose",
            Self::Flyway => "flyway",
        }
    }
}
