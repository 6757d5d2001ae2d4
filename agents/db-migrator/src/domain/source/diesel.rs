//! diesel: a folder a migration with `up.sql`, `down.sql` and perhaps `metadata.toml`.

use super::{
    SourceError, SourceFile,
    assemble::{Half, Parts, Piece, Role},
    is_sql, normalize,
};
use crate::domain::Version;

fn role(file: &str) -> Option<Role> {
    match file {
        "up.sql" => Some(Role::Up),
        "down.sql" => Some(Role::Down),
        "contract.sql" => Some(Role::Contract),
        "contract.down.sql" => Some(Role::ContractDown),
        "backfill.sql" => Some(Role::Backfill),
        _ => None,
    }
}

/// Whether a path is a part of a folder that is a migration.
pub(super) fn is_named(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(_, file)| role(file).is_some())
}

pub(super) fn take_apart(files: &[SourceFile]) -> Result<Parts, SourceError> {
    let mut parts = Parts::default();
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        let (path, name) = file.name.rsplit_once('/').unwrap_or(("", &file.name));
        let folder = path.rsplit('/').next().unwrap_or_default();
        let Some(role) = role(name).filter(|_| !path.is_empty()) else {
            parts.notes.push(format!(
                "{} was left out: diesel reads up.sql and down.sql of folders",
                file.name
            ));
            continue;
        };
        let (version, name) =
            Version::split_stem(folder).ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
        let settings = format!("{path}/metadata.toml");
        let settings = files.iter().find(|other| other.name == settings);
        parts.halves.push(Half {
            version,
            name,
            file: file.name.clone(),
            role,
            pieces: vec![Piece::Sql(normalize(&file.content))],
            no_transaction: settings.map_or(Ok(false), runs_without_transaction)?,
            original: file.content.clone(),
            may_run_late: false,
        });
    }
    Ok(parts)
}

fn runs_without_transaction(file: &SourceFile) -> Result<bool, SourceError> {
    let rule = |rule: &str| SourceError::Rule {
        file: file.name.clone(),
        rule: rule.into(),
    };
    let table = normalize(&file.content)
        .parse::<toml::Table>()
        .map_err(|_| rule("it is no TOML"))?;
    match table.get("run_in_transaction") {
        None => Ok(false),
        Some(toml::Value::Boolean(inside)) => Ok(!inside),
        Some(_) => Err(rule("run_in_transaction is true or false")),
    }
}
