//! Codes of OSSA's error catalogue: a general one for each problem, a special one for some fields.

use super::rule::Format;

/// What can be wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    Type,
    Word,
    Pattern,
    Format(Format),
    Duplicate,
    Unknown,
    Range,
    Length,
}

/// Fields with codes of their own: where the pointer begins, where it ends, which problem, the code.
const SPECIAL: &[(&str, &str, Problem, &str)] = &[
    ("/apiVersion", "", Problem::Pattern, "OSSA-003"),
    ("/kind", "", Problem::Word, "OSSA-004"),
    (
        "/spec/identity",
        "/service_account",
        Problem::Missing,
        "OSSA-110",
    ),
    ("/spec/identity", "/provider", Problem::Word, "OSSA-109"),
    ("/spec/taxonomy/domain", "", Problem::Missing, "OSSA-500"),
    ("/spec/taxonomy/domain", "", Problem::Word, "OSSA-501"),
    (
        "/spec/taxonomy/capability",
        "",
        Problem::Pattern,
        "OSSA-503",
    ),
    ("/spec/taxonomy/concerns", "", Problem::Word, "OSSA-504"),
    (
        "/spec/taxonomy/recommended_tier",
        "",
        Problem::Word,
        "OSSA-508",
    ),
    ("/spec/access/tier", "", Problem::Missing, "OSSA-600"),
    ("/spec/access/tier", "", Problem::Word, "OSSA-600"),
    ("/spec/access/permissions", "", Problem::Word, "OSSA-602"),
    ("/spec/access/audit_level", "", Problem::Word, "OSSA-604"),
    ("/spec/access/isolation", "", Problem::Word, "OSSA-606"),
    ("/spec/separation/role", "", Problem::Word, "OSSA-608"),
    (
        "/spec/delegation/allowed_tiers",
        "",
        Problem::Word,
        "OSSA-610",
    ),
    (
        "/metadata/catalog/visibility",
        "",
        Problem::Word,
        "OSSA-901",
    ),
    ("/metadata/catalog/ratings", "", Problem::Range, "OSSA-904"),
    ("/metadata/name", "", Problem::Pattern, "OSSA-800"),
    ("/metadata/namespace", "", Problem::Pattern, "OSSA-800"),
    ("/metadata/name", "", Problem::Length, "OSSA-801"),
    ("/metadata/namespace", "", Problem::Length, "OSSA-801"),
    ("/metadata/version", "", Problem::Pattern, "OSSA-806"),
    (
        "/metadata/decentralized_identity",
        "/did",
        Problem::Pattern,
        "OSSA-100",
    ),
    ("/spec/identity", "/did", Problem::Pattern, "OSSA-101"),
];

pub(super) fn of(problem: Problem, pointer: &str) -> &'static str {
    let special = SPECIAL.iter().find(|(begin, end, only, _)| {
        let inside = pointer
            .strip_prefix(begin)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        inside && pointer.ends_with(end) && *only == problem
    });
    match (special, problem) {
        (Some((.., code)), _) => code,
        (None, Problem::Missing) if pointer == "/spec" => "OSSA-005",
        (None, Problem::Type) if pointer == "/spec" => "OSSA-006",
        (None, Problem::Missing) => "OSSA-001",
        (None, Problem::Type) if is_item(pointer) => "OSSA-009",
        (None, Problem::Type) => "OSSA-002",
        (None, Problem::Word) => "OSSA-007",
        (None, Problem::Pattern) => "OSSA-008",
        (None, Problem::Duplicate) => "OSSA-010",
        (None, Problem::Unknown) => "OSSA-013",
        (None, Problem::Range) => "OSSA-014",
        (None, Problem::Length) => "OSSA-015",
        (None, Problem::Format(Format::Uri)) => "OSSA-803",
        (None, Problem::Format(Format::Email)) => "OSSA-804",
        (None, Problem::Format(Format::DateTime)) => "OSSA-805",
    }
}

fn is_item(pointer: &str) -> bool {
    pointer
        .rsplit('/')
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}
