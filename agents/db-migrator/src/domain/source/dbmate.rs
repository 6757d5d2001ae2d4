//! dbmate: `-- migrate:up` and `-- migrate:down` in one file, each with its options.

use super::{
    SourceError,
    assemble::{Piece, Role},
    plain::Section,
};

/// `-- migrate:up` or `-- migrate:down` at the start of a line, with what follows it.
fn mark(line: &str) -> Option<(Role, &str)> {
    let rest = line
        .strip_prefix("--")?
        .trim_start()
        .strip_prefix("migrate:")?;
    let (role, options) = match (rest.strip_prefix("up"), rest.strip_prefix("down")) {
        (Some(options), _) => (Role::Up, options),
        (None, Some(options)) => (Role::Down, options),
        (None, None) => return None,
    };
    let ends = options.is_empty() || options.starts_with(char::is_whitespace);
    ends.then_some((role, options))
}

/// Whether a file has a mark.
pub(super) fn is_marked(content: &str) -> bool {
    super::normalize(content)
        .lines()
        .any(|line| mark(line).is_some())
}

/// The sections of a file. `transaction:false` counts for the section it stands at.
pub(super) fn sections(file: &str, text: &str) -> Result<Vec<Section>, SourceError> {
    let rule = |rule: &str| SourceError::Rule {
        file: file.to_owned(),
        rule: rule.into(),
    };
    let mut found: Vec<Section> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (mark(line.trim_end_matches('\n')), found.last_mut()) {
            (Some((Role::Up, options)), None) => found.push(section(Role::Up, options)),
            (Some(_), None) => {
                return Err(rule("`-- migrate:up` comes before `-- migrate:down`"));
            }
            (Some((Role::Down, options)), Some(open)) if open.role == Role::Up => {
                found.push(section(Role::Down, options));
            }
            (Some(_), Some(_)) => {
                return Err(rule("it has more than one section of a kind"));
            }
            (None, Some(open)) => append(open, line),
            (None, None) if line.trim().is_empty() || line.trim_start().starts_with("--") => {}
            (None, None) => {
                return Err(rule("no statement may come before `-- migrate:up`"));
            }
        }
    }
    if found.is_empty() {
        return Err(rule("it has no `-- migrate:up`"));
    }
    Ok(found)
}

fn section(role: Role, options: &str) -> Section {
    Section {
        role,
        pieces: vec![Piece::Sql(String::new())],
        no_transaction: options
            .split_whitespace()
            .any(|option| option == "transaction:false"),
    }
}

fn append(section: &mut Section, line: &str) {
    if let Some(Piece::Sql(text)) = section.pieces.last_mut() {
        text.push_str(line);
    }
}
