//! In which order kinds of objects are made and dropped, and which of them hold nothing of their own.

use super::Recipe;

/// Older objects first: what they need was there before them. Columns keep their order.
pub(super) fn order(recipe: &Recipe) -> Vec<u64> {
    let numbers = recipe.id.as_deref().unwrap_or_default().split('/');
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Kinds in the order in which they are made.
pub(super) const KINDS: [&str; 63] = [
    "setting",
    "schema",
    "extension",
    "collation",
    "foreign-data wrapper",
    "foreign server",
    "enum",
    "domain",
    "domain default",
    "domain not null",
    "domain constraint",
    "range",
    "composite type",
    "attribute",
    "sequence",
    "language",
    "function",
    "procedure",
    "aggregate",
    "operator",
    "operator family",
    "operator class",
    "operator of a family",
    "function of a family",
    "conversion",
    "cast",
    "virtual table",
    "table",
    "foreign table",
    "column",
    "type",
    "generated column",
    "default",
    "not null",
    "identity",
    "unlogged",
    "options",
    "storage",
    "compression",
    "statistics target",
    "column options",
    "inheritance",
    "check",
    "constraint",
    "index",
    "partition",
    "replica identity",
    "clustered",
    "view",
    "materialized view",
    "foreign key",
    "sequence owner",
    "statistics",
    "row security",
    "policy",
    "rule",
    "trigger",
    "publication",
    "event trigger",
    "default privileges",
    "owner",
    "privileges",
    "comment",
];

/// What others hang on goes first, so that nothing is dropped that would go anyway.
pub(super) const DROPS: [&str; 14] = [
    "event trigger",
    "view",
    "materialized view",
    "rule",
    "policy",
    "partition",
    "table",
    "foreign table",
    "foreign key",
    "generated column",
    "column",
    "constraint",
    "index",
    "trigger",
];

pub(super) fn make_rank(kind: &str) -> usize {
    KINDS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(KINDS.len())
}

/// Properties come last: most of them are gone with their object by then.
pub(super) fn drop_rank(kind: &str) -> usize {
    let later = DROPS.len() + KINDS.len();
    let by_kind = match kind {
        "comment" | "privileges" | "owner" | "security label" | "trigger state" | "rule state" => {
            later + 1
        }
        _ => later - make_rank(kind).min(KINDS.len()),
    };
    DROPS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(by_kind)
}

/// What may be taken away while something that it depends on changes.
pub(super) const REMADE: [&str; 19] = [
    "view",
    "materialized view",
    "rule",
    "policy",
    "trigger",
    "function",
    "procedure",
    "aggregate",
    "operator",
    "cast",
    "constraint",
    "check",
    "foreign key",
    "index",
    "statistics",
    "generated column",
    "domain constraint",
    "publication",
    "event trigger",
];

/// Kinds that hold nothing of their own: dropped and made again, they are the same.
pub(super) fn is_rebuilt(kind: &str) -> bool {
    !matches!(
        kind,
        "setting"
            | "schema"
            | "extension"
            | "table"
            | "virtual table"
            | "foreign table"
            | "column"
            | "attribute"
            | "type"
            | "composite type"
            | "enum"
            | "enum label"
            | "domain"
            | "range"
            | "sequence"
            | "identity"
            | "owner"
            | "partition"
            | "view column"
            | "foreign-data wrapper"
            | "foreign server"
    )
}
