//! Flyway and refinery: `V1__name.sql`, with what each adds to it.

use super::{
    Layout, SourceError, SourceFile,
    assemble::{Half, Parts, Piece, Role},
    is_sql, normalize,
    plain::extra,
};
use crate::domain::Version;

/// The parts of a name such as `V1_2__add_orders.sql`.
struct Named<'a> {
    prefix: char,
    version: &'a str,
    description: &'a str,
    role: Role,
}

fn named(path: &str) -> Option<Named<'_>> {
    let file = path.rsplit('/').next()?;
    let (stem, role) = match extra(file) {
        Some(extra) => extra,
        None => (file.strip_suffix(".sql")?, Role::Up),
    };
    let prefix = stem.chars().next().filter(|c| "VURB".contains(*c))?;
    let (version, description) = stem.get(1..)?.split_once("__")?;
    let numeric = version.starts_with(|c: char| c.is_ascii_digit())
        && version
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.' || c == '_');
    (numeric != (prefix == 'R' && version.is_empty())).then_some(Named {
        prefix,
        version,
        description,
        role,
    })
}

/// Whether a file is named as these tools do.
pub(super) fn is_named(path: &str) -> bool {
    named(path).is_some()
}

/// Whether a file is one of Flyway's callbacks, for example `beforeMigrate.sql` or `afterEachUndo__log.sql`.
pub(super) fn is_callback(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let event = file.split(['.', '_']).next().unwrap_or_default();
    ["before", "after", "create"].iter().any(|moment| {
        event
            .strip_prefix(moment)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

/// What only one of the two tools has decides; where both would do different things, the caller does.
pub(super) fn or_refinery(files: &[SourceFile]) -> Result<Layout, SourceError> {
    let all = || {
        files
            .iter()
            .filter_map(|file| named(&file.name).map(|named| (file, named)))
    };
    let only_flyway =
        |named: &Named<'_>| matches!(named.prefix, 'R' | 'B') || named.version.contains(['.', '_']);
    let undoes = |(_, undo): (&SourceFile, Named<'_>)| {
        undo.prefix == 'U'
            && all().any(|(_, other)| other.prefix == 'V' && other.version == undo.version)
    };
    let settings = |file: &SourceFile| file.name.ends_with(".sql.conf") || is_callback(&file.name);
    if all().any(|(_, named)| only_flyway(&named))
        || all().any(undoes)
        || files.iter().any(settings)
    {
        return Ok(Layout::Flyway);
    }
    let unclear =
        all().find(|(file, named)| named.prefix == 'U' || placeholder(&file.content).is_some());
    match unclear {
        Some((file, _)) => Err(SourceError::Ambiguous {
            first: file.name.clone(),
            second: file.name.clone(),
            layouts: (Layout::Flyway, Layout::Refinery),
        }),
        None => Ok(Layout::Flyway),
    }
}

/// The first `${name}` of a text.
fn placeholder(text: &str) -> Option<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    text.split("${").skip(1).find_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        (!name.is_empty() && name.chars().all(part)).then_some(name)
    })
}

/// Flyway's rules.
pub(super) fn take_apart(files: &[SourceFile]) -> Result<Parts, SourceError> {
    let mut parts = Parts::default();
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        if is_callback(&file.name) {
            parts.notes.push(format!(
                "{} was left out: a callback of Flyway is no migration",
                file.name
            ));
            continue;
        }
        let named = named(&file.name).ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
        let role = match (named.prefix, named.role) {
            ('V', role) => role,
            ('U', Role::Up) => Role::Down,
            ('R', _) => {
                return Err(unsupported(
                    file,
                    "a repeatable migration (R__)",
                    "give it a version, and a new one whenever it changes",
                ));
            }
            ('B', _) => {
                return Err(unsupported(
                    file,
                    "a baseline migration (B)",
                    "name the version in `baseline`",
                ));
            }
            _ => return Err(SourceError::NoVersion(file.name.clone())),
        };
        if let Some(name) = placeholder(&file.content) {
            return Err(unsupported(
                file,
                &format!("the placeholder ${{{name}}}"),
                "a migration says the same everywhere, so write the value out",
            ));
        }
        let no_transaction = runs_without_transaction(file, files);
        parts.halves.push(half(file, &named, role, no_transaction)?);
    }
    Ok(parts)
}

/// refinery's rules: `U` is no undo, it may run although newer ones are in force.
pub(super) fn take_apart_refinery(files: &[SourceFile]) -> Result<Parts, SourceError> {
    let mut parts = Parts::default();
    for file in files.iter().filter(|file| is_sql(&file.name)) {
        let named = named(&file.name)
            .filter(|named| {
                matches!(named.prefix, 'V' | 'U')
                    && named.version.chars().all(|c| c.is_ascii_digit())
            })
            .ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
        let half = half(file, &named, named.role, false)?;
        parts.halves.push(Half {
            may_run_late: named.prefix == 'U',
            ..half
        });
    }
    Ok(parts)
}

fn unsupported(file: &SourceFile, feature: &str, instead: &'static str) -> SourceError {
    SourceError::Unsupported {
        file: file.name.clone(),
        feature: feature.into(),
        instead,
    }
}

fn half(
    file: &SourceFile,
    named: &Named<'_>,
    role: Role,
    no_transaction: bool,
) -> Result<Half, SourceError> {
    let version = Version::parse(&named.version.replace('_', "."))
        .ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
    Ok(Half {
        version,
        name: named.description.to_owned(),
        file: file.name.clone(),
        role,
        pieces: vec![Piece::Sql(normalize(&file.content))],
        no_transaction,
        original: file.content.clone(),
        may_run_late: false,
    })
}

/// `executeInTransaction=false` in `NAME.sql.conf`.
fn runs_without_transaction(file: &SourceFile, files: &[SourceFile]) -> bool {
    let settings = format!("{}.conf", file.name);
    let lines = files
        .iter()
        .filter(|other| other.name == settings)
        .flat_map(|settings| settings.content.lines());
    lines
        .filter_map(|line| line.split_once('='))
        .any(|(key, value)| key.trim() == "executeInTransaction" && value.trim() == "false")
}
