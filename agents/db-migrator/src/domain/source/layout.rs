//! Which tool's layout a set of files is in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Placeholders, SourceError, SourceFile, assemble::Parts, dbmate, diesel, flyway, goose, is_sql,
    plain,
};

/// The layouts that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `V_name.sql`, or `V_name.up.sql` with `V_name.down.sql`.
    Sqlx,
    /// `V_name/up.sql` with `down.sql` and `metadata.toml`.
    Diesel,
    /// `V1__name.sql`, and `U1__name.sql` for those that may run late.
    Refinery,
    /// `1_name.up.sql` with `1_name.down.sql`.
    GolangMigrate,
    /// `V_name.sql` with `-- migrate:up` and `-- migrate:down`.
    Dbmate,
    /// `V_name.sql` with `-- +goose Up` and `-- +goose Down`.
    Goose,
    /// `V1_2__name.sql` with the undo `U1_2__name.sql`, repeatables `R__name.sql` and baselines `B1_2__name.sql`.
    Flyway,
}

impl Layout {
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

    /// The parts of migrations in these files.
    pub(super) fn take_apart(
        self,
        files: &[SourceFile],
        values: &Placeholders,
    ) -> Result<Parts, SourceError> {
        match self {
            Self::Sqlx => plain::take_apart(files, plain::Tool::Sqlx),
            Self::GolangMigrate => plain::take_apart(files, plain::Tool::GolangMigrate),
            Self::Diesel => diesel::take_apart(files),
            Self::Dbmate => plain::take_apart(files, plain::Tool::Dbmate),
            Self::Goose => plain::take_apart(files, plain::Tool::Goose),
            Self::Refinery => flyway::take_apart_refinery(files),
            Self::Flyway => flyway::take_apart(files, values),
        }
    }
}

/// The one layout that all files show.
pub(super) fn recognise(files: &[SourceFile]) -> Result<Layout, SourceError> {
    let mut first: Option<(&SourceFile, Layout)> = None;
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        let Some(seen) = looks_like(file) else {
            continue;
        };
        match first {
            Some((other, layout)) if layout != seen => {
                return Err(SourceError::Ambiguous {
                    first: other.name.clone(),
                    second: file.name.clone(),
                    layouts: (layout, seen),
                });
            }
            _ => first = Some((file, seen)),
        }
    }
    match first {
        Some((_, Layout::Flyway)) => flyway::or_refinery(files),
        Some((_, layout)) => Ok(layout),
        None => Err(SourceError::Empty),
    }
}

/// The layout of one file; `None` for what several layouts share. Flyway stands for refinery too.
fn looks_like(file: &SourceFile) -> Option<Layout> {
    if goose::is_marked(&file.content) {
        Some(Layout::Goose)
    } else if dbmate::is_marked(&file.content) {
        Some(Layout::Dbmate)
    } else if flyway::is_named(&file.name) {
        Some(Layout::Flyway)
    } else if diesel::is_named(&file.name) {
        Some(Layout::Diesel)
    } else if plain::extra(&file.name).is_some() || flyway::is_callback(&file.name) {
        None
    } else {
        Some(Layout::Sqlx)
    }
}
