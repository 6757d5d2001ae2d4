//! Fleets: one plan over many databases, in waves.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan;

/// Share of a fleet in its second wave, in percent.
const SECOND_WAVE: usize = 5;
/// Share of a fleet in its third wave, in percent.
const THIRD_WAVE: usize = 25;

/// The waves of a fleet of `total` databases as ranges of their order: one (the canary), 5 % of all, 25 % of all, the
/// rest. Shares are rounded up, so that a wave has at least one database while there are any.
pub fn waves(total: usize) -> Vec<Range<usize>> {
    let share = |percent: usize| (total * percent).div_ceil(100);
    let mut found = Vec::new();
    let mut start = 0;
    for size in [1, share(SECOND_WAVE), share(THIRD_WAVE), total] {
        let end = (start + size).min(total);
        if end > start {
            found.push(start..end);
        }
        start = end;
    }
    found
}

/// Whether a name fits a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.is_empty()
}

/// What a member of a fleet is about to do: the digest of its own plan, none when it has nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberPlan {
    /// The database.
    pub database: String,
    /// Digest of its plan.
    pub plan_digest: Option<String>,
}

/// SHA-256 over the plans of all members and the hooks between the waves: what one approval of a fleet is bound to.
pub fn digest(fleet: &str, kind: &'static str, members: &[MemberPlan]) -> String {
    #[derive(Serialize)]
    struct Canonical<'a> {
        schema: &'static str,
        fleet: &'a str,
        kind: &'static str,
        members: &'a [MemberPlan],
    }
    plan::digest(&Canonical {
        schema: "db-migrator/fleet/v1",
        fleet,
        kind,
        members,
    })
}

/// How a member of a fleet stands at the end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its plan was carried out.
    Completed,
    /// It had nothing to do.
    UpToDate,
    /// Its run failed; the error says why.
    Failed,
    /// An earlier failure or a cancellation came first.
    NotStarted,
    /// Nothing was to be changed: this is the plan.
    Planned,
}

/// One member of a fleet in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberReport {
    /// The database.
    pub database: String,
    /// Its wave, from 1.
    pub wave: usize,
    /// How it stands.
    pub outcome: Outcome,
    /// The newest version in force now.
    pub head: Option<String>,
    /// Versions that were, or would be, applied or reverted, in order.
    pub versions: Vec<String>,
    /// Digest of its own plan; absent without one.
    pub plan_digest: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A fleet in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetReport {
    /// Its name.
    pub fleet: String,
    /// Digest that one approval of the whole plan is bound to.
    pub plan_digest: String,
    /// Number of waves.
    pub waves: usize,
    /// Whether every member is where the plan leads.
    pub complete: bool,
    /// Why later waves were not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Its members in the order of their waves.
    pub members: Vec<MemberReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_with_one_and_rounds_shares_up() {
        let sizes = |total| {
            waves(total)
                .iter()
                .map(ExactSizeIterator::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(2), [1, 1]);
        assert_eq!(sizes(3), [1, 1, 1]);
        assert_eq!(sizes(4), [1, 1, 1, 1]);
        assert_eq!(sizes(40), [1, 2, 10, 27]);
        assert_eq!(sizes(1_000), [1, 50, 250, 699]);
    }

    #[test]
    fn covers_every_database_once_and_in_order() {
        for total in 0..300 {
            let all = waves(total);
            assert!(all.iter().all(|wave| !wave.is_empty()), "{total}");
            assert!(all.len() <= 4, "{total}");
            let flat = all.into_iter().flatten().collect::<Vec<_>>();
            assert_eq!(flat, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn knows_patterns() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "shop-2", false),
            ("tenant-*", "tenant-1", true),
            ("tenant-*", "tenant-", true),
            ("tenant-*", "a-tenant-1", false),
            ("*", "", true),
            ("*-eu", "a-eu", true),
            ("*-eu", "a-us", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn binds_the_approval_to_every_member() {
        let member = |name: &str, digest: &str| MemberPlan {
            database: name.into(),
            plan_digest: Some(digest.into()),
        };
        let whole = [member("a", "1"), member("b", "2")];
        assert_eq!(
            digest("f", "apply", &whole),
            digest("f", "apply", &whole.clone())
        );
        for other in [
            digest("g", "apply", &whole),
            digest("f", "rollback", &whole),
            digest("f", "apply", &whole[..1]),
            digest("f", "apply", &[member("a", "1"), member("b", "3")]),
            digest("f", "apply", &[member("b", "2"), member("a", "1")]),
        ] {
            assert_ne!(digest("f", "apply", &whole), other);
        }
    }
}
