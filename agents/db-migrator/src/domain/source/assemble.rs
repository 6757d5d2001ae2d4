//! Puts the parts of migrations together, whatever layout they came in.

use std::collections::BTreeMap;

use super::{Migration, Script, SourceError, script};
use crate::domain::{Dialect, Version, sha256_hex};

/// Which part of a migration a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Up,
    Down,
    Contract,
    ContractDown,
    Backfill,
}

/// A stretch of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// SQL that is split into statements.
    Sql(String),
    /// One statement, whatever it holds.
    Block(String),
}

impl Piece {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Sql(text) | Self::Block(text) => text,
        }
    }
}

/// One part of one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Half {
    pub(super) version: Version,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) role: Role,
    pub(super) pieces: Vec<Piece>,
    pub(super) no_transaction: bool,
    /// The whole file as it was read.
    pub(super) original: String,
    pub(super) may_run_late: bool,
}

/// What a layout made of the files.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) halves: Vec<Half>,
    pub(super) notes: Vec<String>,
}

/// The migrations of these parts in the order of their versions.
pub(super) fn assemble(halves: Vec<Half>, dialect: Dialect) -> Result<Vec<Migration>, SourceError> {
    let mut all: BTreeMap<Version, Vec<Half>> = BTreeMap::new();
    for half in halves {
        let parts = all.entry(half.version.clone()).or_default();
        if parts.iter().any(|part| part.role == half.role) {
            return Err(SourceError::Duplicate(half.file));
        }
        parts.push(half);
    }
    if all.is_empty() {
        return Err(SourceError::Empty);
    }
    all.into_values()
        .map(|parts| migration(&parts, dialect))
        .collect()
}

fn migration(parts: &[Half], dialect: Dialect) -> Result<Migration, SourceError> {
    let of = |role| parts.iter().find(|part| part.role == role);
    let file = parts
        .first()
        .map(|part| part.file.clone())
        .unwrap_or_default();
    let first = of(Role::Up).ok_or(SourceError::NoUp(file))?;
    let up = script::build(first, dialect)?;
    let optional = |role| {
        of(role)
            .map(|half| script::build(half, dialect))
            .transpose()
    };
    let holds_any = |script: &Script| !script.statements.is_empty();
    let contract = optional(Role::Contract)?.filter(holds_any);
    let backfill = of(Role::Backfill)
        .map(|half| half.pieces.iter().map(Piece::text).collect::<String>())
        .filter(|text| !text.trim().is_empty());
    Ok(Migration {
        version: first.version.clone(),
        name: first.name.clone(),
        checksum: checksum(&up, contract.as_ref(), backfill.as_deref()),
        down: optional(Role::Down)?.filter(|down| holds_any(down) || !holds_any(&up)),
        contract,
        contract_down: optional(Role::ContractDown)?.filter(holds_any),
        backfill,
        original: first.original.clone(),
        may_run_late: first.may_run_late,
        up,
    })
}

/// Of the up text alone, unless there is more that changes the database.
fn checksum(up: &Script, contract: Option<&Script>, backfill: Option<&str>) -> String {
    let more = backfill
        .into_iter()
        .chain(contract.map(|contract| contract.text.as_str()));
    sha256_hex(&more.fold(up.text.clone(), |text, part| format!("{text}\0{part}")))
}
