//! Files named `V_name`: sqlx and golang-migrate with one half a file, dbmate and goose with both in one.

use super::{
    SourceError, SourceFile,
    assemble::{Half, Parts, Piece, Role},
    dbmate, goose, is_sql, normalize,
};
use crate::domain::{Tool, Version};

/// One section of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) role: Role,
    pub(super) pieces: Vec<Piece>,
    pub(super) no_transaction: bool,
}

/// The further parts that a migration may have in any layout.
const EXTRAS: [(&str, Role); 3] = [
    (".contract.down", Role::ContractDown),
    (".contract", Role::Contract),
    (".backfill", Role::Backfill),
];

/// The stem before `.contract`, `.contract.down` or `.backfill`.
pub(super) fn extra(name: &str) -> Option<(&str, Role)> {
    let stem = name.strip_suffix(".sql")?;
    EXTRAS
        .into_iter()
        .find_map(|(end, role)| Some((stem.strip_suffix(end)?, role)))
}

pub(super) fn take_apart(files: &[SourceFile], tool: Tool) -> Result<Parts, SourceError> {
    let mut parts = Parts::default();
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        if file.name.contains('/') {
            parts.notes.push(format!(
                "{} was left out: this layout has no subfolders",
                file.name
            ));
            continue;
        }
        let (stem, role) = stem_and_role(&file.name, tool);
        let (version, name) =
            Version::split_stem(stem).ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
        for section in sections(file, tool, role)? {
            parts.halves.push(Half {
                version: version.clone(),
                name: name.clone(),
                file: file.name.clone(),
                role: section.role,
                pieces: section.pieces,
                no_transaction: section.no_transaction,
                original: file.content.clone(),
                may_run_late: false,
            });
        }
    }
    Ok(parts)
}

/// The part of a name before its role; a plain name is an up.
fn stem_and_role(name: &str, tool: Tool) -> (&str, Role) {
    if let Some(extra) = extra(name) {
        return extra;
    }
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    if matches!(tool, Tool::Dbmate | Tool::Goose) {
        return (stem, Role::Up);
    }
    match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, Role::Up),
        (None, Some(stem)) => (stem, Role::Down),
        (None, None) => (stem, Role::Up),
    }
}

fn sections(file: &SourceFile, tool: Tool, role: Role) -> Result<Vec<Section>, SourceError> {
    let text = normalize(&file.content);
    let whole = extra(&file.name).is_some();
    match tool {
        Tool::Dbmate if !whole => dbmate::sections(&file.name, &text),
        Tool::Goose if !whole => goose::sections(&file.name, &text),
        _ => Ok(vec![Section {
            role,
            no_transaction: tool == Tool::Sqlx && text.starts_with("-- no-transaction"),
            pieces: vec![Piece::Sql(text)],
        }]),
    }
}
