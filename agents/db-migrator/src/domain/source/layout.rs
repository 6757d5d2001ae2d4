//! Which tool's layout a set of files is in.

use super::{
    Placeholders, SourceError, SourceFile, assemble::Parts, dbmate, diesel, flyway, goose, is_sql,
    plain,
};
use crate::domain::Tool;

impl Tool {
    /// The parts of migrations in these files.
    pub(super) fn take_apart(
        self,
        files: &[SourceFile],
        values: &Placeholders,
    ) -> Result<Parts, SourceError> {
        match self {
            Self::Sqlx | Self::GolangMigrate | Self::Dbmate | Self::Goose => {
                plain::take_apart(files, self)
            }
            Self::Diesel => diesel::take_apart(files),
            Self::Refinery => flyway::take_apart_refinery(files),
            Self::Flyway => flyway::take_apart(files, values),
        }
    }
}

/// The one layout that all files show.
pub(super) fn recognise(files: &[SourceFile]) -> Result<Tool, SourceError> {
    let mut first: Option<(&SourceFile, Tool)> = None;
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
        Some((_, Tool::Flyway)) => flyway::or_refinery(files),
        Some((_, layout)) => Ok(layout),
        None => Err(SourceError::Empty),
    }
}

/// The layout of one file; `None` for what several layouts share. Flyway stands for refinery too.
fn looks_like(file: &SourceFile) -> Option<Tool> {
    if goose::is_marked(&file.content) {
        Some(Tool::Goose)
    } else if dbmate::is_marked(&file.content) {
        Some(Tool::Dbmate)
    } else if flyway::is_named(&file.name) {
        Some(Tool::Flyway)
    } else if diesel::is_named(&file.name) {
        Some(Tool::Diesel)
    } else if plain::extra(&file.name).is_some() || flyway::is_callback(&file.name) {
        None
    } else {
        Some(Tool::Sqlx)
    }
}
