//! Flyway and refinery: `V1__name.sql`, with what each adds to it.

use super::{
    Placeholders, SourceError, SourceFile,
    assemble::{Half, Parts, Piece, Role},
    is_sql, normalize, placeholders,
    plain::extra,
};
use crate::domain::{Tool, Version};

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
pub(super) fn or_refinery(files: &[SourceFile]) -> Result<Tool, SourceError> {
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
        return Ok(Tool::Flyway);
    }
    let unclear =
        all().find(|(file, named)| named.prefix == 'U' || placeholders::any(&file.content));
    match unclear {
        Some((file, _)) => Err(SourceError::Ambiguous {
            first: file.name.clone(),
            second: file.name.clone(),
            layouts: (Tool::Flyway, Tool::Refinery),
        }),
        None => Ok(Tool::Flyway),
    }
}

/// The files with values in the place of placeholders.
pub(super) fn filled(
    files: &[SourceFile],
    values: &Placeholders,
) -> Result<Vec<SourceFile>, SourceError> {
    let fill = |file: &SourceFile| {
        let keep = !is_sql(&file.name) || says(file, files, "placeholderReplacement", "false");
        let content = if keep {
            file.content.clone()
        } else {
            values.fill(file, &file.content)?
        };
        let name = file.name.clone();
        Ok(SourceFile { name, content })
    };
    files.iter().map(fill).collect()
}

/// Flyway's rules.
pub(super) fn take_apart(
    files: &[SourceFile],
    values: &Placeholders,
) -> Result<Parts, SourceError> {
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
            ('V', role) | ('R' | 'B', role @ Role::Up) => role,
            ('U', Role::Up) => Role::Down,
            ('R' | 'B', _) => {
                return Err(SourceError::Rule {
                    file: file.name.clone(),
                    rule: "only a migration with a version (V) has a contract or a backfill".into(),
                });
            }
            _ => return Err(SourceError::NoVersion(file.name.clone())),
        };
        let no_transaction = says(file, files, "executeInTransaction", "false");
        let half = half(file, &named, role, no_transaction)?;
        let text = if says(file, files, "placeholderReplacement", "false") {
            file.content.clone()
        } else {
            values.fill(file, &file.content)?
        };
        parts.halves.push(Half {
            pieces: vec![Piece::Sql(normalize(&text))],
            ..half
        });
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

fn half(
    file: &SourceFile,
    named: &Named<'_>,
    role: Role,
    no_transaction: bool,
) -> Result<Half, SourceError> {
    let version = match named.prefix {
        'R' => Version::parse(Version::repeatable(named.description).as_str()),
        _ => Version::parse(&named.version.replace('_', ".")),
    };
    let version = version.ok_or_else(|| SourceError::NoVersion(file.name.clone()))?;
    let version = match named.prefix {
        'B' => version.baseline(),
        _ => version,
    };
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

/// Whether `NAME.sql.conf` gives a setting this value.
fn says(file: &SourceFile, files: &[SourceFile], setting: &str, wanted: &str) -> bool {
    let settings = format!("{}.conf", file.name);
    let lines = files
        .iter()
        .filter(|other| other.name == settings)
        .flat_map(|settings| settings.content.lines());
    lines
        .filter_map(|line| line.split_once('='))
        .any(|(key, value)| key.trim() == setting && value.trim() == wanted)
}
