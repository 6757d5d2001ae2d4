//! The lock that every coordinator of a cluster respects, whatever mesh it belongs to: a Lease a workload, whose
//! transitions are the fencing token. Each take-over raises the token, also one by the same rollback after a crash, so a
//! holder that was thought dead learns that it is no longer the one.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::hold::ObjectRef;

/// Annotation of the workload with the token of the last rollback that wrote it.
pub const FENCE_ANNOTATION: &str = "ossa.io/rollback-fence";
/// Longest name of a Lease.
const MAX_NAME: usize = 253;

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it; nobody when empty.
    pub holder: String,
    /// How often it changed hands.
    pub transitions: u64,
    /// When its holder was last heard of.
    pub renewed: Option<OffsetDateTime>,
    /// How long its holder may be silent.
    pub duration: Duration,
    /// Optimistic lock of the object.
    pub resource_version: String,
}

/// What a rollback may do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Take {
    /// There is none: create it.
    Create,
    /// Write it with this token.
    Update {
        /// The new token.
        token: u64,
    },
    /// Somebody else holds it.
    Busy,
}

/// Decides on taking a Lease.
pub fn take(lease: Option<&Lease>, holder: &str, now: OffsetDateTime) -> Take {
    let Some(lease) = lease else {
        return Take::Create;
    };
    let silent = lease
        .renewed
        .is_none_or(|renewed| now > renewed + lease.duration);
    if lease.holder.is_empty() || lease.holder == holder || silent {
        Take::Update {
            token: lease.transitions + 1,
        }
    } else {
        Take::Busy
    }
}

/// Whether a rollback still holds the Lease under its token.
pub fn holds(lease: Option<&Lease>, holder: &str, token: u64) -> bool {
    lease.is_some_and(|lease| lease.holder == holder && lease.transitions == token)
}

/// Whether an object was written under a later token than ours: then we are not the holder any more.
pub fn is_fenced(annotation: Option<&str>, token: u64) -> bool {
    annotation
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|seen| seen > token)
}

/// Name of a workload's Lease. A long name is cut and told apart by a digest.
pub fn name(kind: &str, workload: &str, digest: &str) -> String {
    let name = format!("rollback-{}-{workload}", kind.to_ascii_lowercase());
    if name.len() <= MAX_NAME {
        return name;
    }
    let short: String = digest.chars().take(16).collect();
    let kept: String = name.chars().take(MAX_NAME - short.len() - 1).collect();
    format!("{kept}-{short}")
}

/// The Lease of a workload.
pub fn object(namespace: &str, name: String) -> ObjectRef {
    ObjectRef {
        api_version: "coordination.k8s.io/v1".into(),
        kind: "Lease".into(),
        plural: "leases".into(),
        namespace: namespace.into(),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn lease(holder: &str, renewed: Option<i64>) -> Lease {
        Lease {
            holder: holder.into(),
            transitions: 4,
            renewed: renewed.map(at),
            duration: Duration::seconds(30),
            resource_version: "7".into(),
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_or_its_holder_is_silent() {
        let raised = Take::Update { token: 5 };
        for (lease, now, expected) in [
            (None, 0, Take::Create),
            (Some(lease("", Some(100))), 101, raised),
            (Some(lease("one", Some(100))), 101, raised),
            (Some(lease("two", Some(100))), 130, Take::Busy),
            (Some(lease("two", Some(100))), 131, raised),
            (Some(lease("two", None)), 0, raised),
        ] {
            assert_eq!(
                take(lease.as_ref(), "one", at(now)),
                expected,
                "{lease:?} at {now}"
            );
        }
    }

    #[test]
    fn a_successor_of_the_same_rollback_fences_its_predecessor() {
        let mut taken = lease("one", Some(100));
        assert!(holds(Some(&taken), "one", 4));
        let Take::Update { token } = take(Some(&taken), "one", at(101)) else {
            panic!("it is its own")
        };
        taken.transitions = token;
        assert!(holds(Some(&taken), "one", 5));
        assert!(!holds(Some(&taken), "one", 4), "the predecessor stops");
        assert!(is_fenced(Some("5"), 4) && !is_fenced(Some("5"), 5));
        assert!(!is_fenced(None, 4) && !is_fenced(Some("no token"), 4));
        assert!(!holds(None, "one", 5), "a lease that was deleted is lost");
    }

    #[test]
    fn every_workload_has_a_lease_of_its_own() {
        assert_eq!(name("Deployment", "web", "d"), "rollback-deployment-web");
        let long = |last| {
            name(
                "StatefulSet",
                &("a".repeat(252) + last),
                &format!("{last}{:015}", 0),
            )
        };
        assert_eq!(long("b").len(), MAX_NAME);
        assert_ne!(long("b"), long("c"));
    }
}
