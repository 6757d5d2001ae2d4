//! Splits and classifies the text of one half of a migration.

use super::{
    Script, SourceError,
    assemble::{Half, Piece},
};
use crate::domain::{
    Dialect, Statement,
    split::split,
    statement::{Lock, classify},
};

/// The statements of a half.
pub(super) fn build(half: &Half, dialect: Dialect) -> Result<Script, SourceError> {
    let mut texts = Vec::new();
    for piece in &half.pieces {
        match piece {
            Piece::Sql(text) => texts.extend(
                pieces(half, text, dialect)?
                    .into_iter()
                    .map(|text| vec![text]),
            ),
            Piece::Block(text) => texts.push(pieces(half, text, dialect)?),
        }
    }
    let wrapped = is_wrapped(&texts);
    if wrapped {
        texts.pop();
        texts.remove(0);
    }
    let statements = texts
        .into_iter()
        .filter(|block| !block.is_empty())
        .map(|block| statement(half, block, dialect))
        .collect::<Result<_, _>>()?;
    Ok(Script {
        text: half.pieces.iter().map(Piece::text).collect(),
        statements,
        no_transaction: half.no_transaction && !wrapped,
    })
}

fn pieces(half: &Half, text: &str, dialect: Dialect) -> Result<Vec<String>, SourceError> {
    split(text, dialect).map_err(|source| SourceError::Split {
        file: half.file.clone(),
        source,
    })
}

/// Whether a script is one transaction of its own: the runner's takes its place.
fn is_wrapped(texts: &[Vec<String>]) -> bool {
    const BEGINS: [&str; 6] = [
        "BEGIN",
        "BEGIN TRANSACTION",
        "BEGIN WORK",
        "START TRANSACTION",
        "BEGIN IMMEDIATE",
        "BEGIN IMMEDIATE TRANSACTION",
    ];
    const ENDS: [&str; 5] = [
        "COMMIT",
        "COMMIT TRANSACTION",
        "COMMIT WORK",
        "END",
        "END TRANSACTION",
    ];
    let is = |block: Option<&Vec<String>>, words: &[&str]| {
        let Some([text]) = block.map(Vec::as_slice) else {
            return false;
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains(&text.to_ascii_uppercase().as_str())
    };
    texts.len() > 1 && is(texts.first(), &BEGINS) && is(texts.last(), &ENDS)
}

/// One statement; a block of several is sent in one message and takes effect as one.
fn statement(half: &Half, block: Vec<String>, dialect: Dialect) -> Result<Statement, SourceError> {
    let text = block.join(";\n");
    let parts = block
        .into_iter()
        .map(|text| classify(text, dialect))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| SourceError::Forbidden {
            file: half.file.clone(),
            source,
        })?;
    let transactional = parts.iter().all(|part| part.transactional);
    let lock = parts
        .iter()
        .map(|part| part.lock)
        .max()
        .unwrap_or(Lock::None);
    let commits_alone = parts.iter().any(|part| part.commits_alone);
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or(SourceError::Empty)?;
    Ok(Statement {
        text,
        transactional,
        lock,
        commits_alone,
        rename: parts.fold(first.rename.clone(), |found, part| found.or(part.rename)),
        ..first
    })
}
