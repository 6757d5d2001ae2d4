//! Pods that stand in the way. A controller that replaces its pods in order waits for each; a pod of the bad revision
//! that never becomes ready keeps it waiting for ever, even after the old template is back.

use super::workload::{Kind, Rollout, WorkloadId};

/// A pod of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Unique id of the object.
    pub uid: String,
    /// Optimistic lock of the object.
    pub resource_version: String,
    /// Name of its revision.
    pub revision: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
}

impl Member {
    /// The number that a `StatefulSet` gives it; 0 for pods of other workloads.
    pub fn ordinal(&self) -> u32 {
        let number = self.name.rsplit('-').next();
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_default()
    }
}

/// Name of the revision that the label `controller-revision-hash` of a pod means: `StatefulSets` write the name itself,
/// `DaemonSets` its last part.
pub fn revision_of(workload: &WorkloadId, label: &str) -> String {
    match workload.kind {
        Kind::DaemonSet => format!("{}-{label}", workload.name),
        Kind::StatefulSet | Kind::Deployment | Kind::Rollout => label.to_owned(),
    }
}

/// The pod that has to go so that the pods of `target` can come: at most one at a time, and none while another one is on
/// its way out.
pub fn in_the_way<'a>(
    kind: Kind,
    rollout: &Rollout,
    members: &'a [Member],
    target: &str,
) -> Option<&'a Member> {
    if members.iter().any(|member| member.leaving) {
        return None;
    }
    let stays = |member: &Member| kind == Kind::StatefulSet && member.ordinal() < rollout.partition;
    let others = members
        .iter()
        .filter(|member| member.revision != target && !stays(member));
    if rollout.on_delete {
        // Nobody else replaces them. The next one goes when all are ready, or is itself what is not.
        let (ready, unready): (Vec<_>, Vec<_>) = others.partition(|member| member.ready);
        let whole = members.iter().all(|member| member.ready);
        let next = ready
            .into_iter()
            .filter(|_| whole)
            .max_by_key(|member| member.ordinal());
        return unready
            .into_iter()
            .max_by_key(|member| member.ordinal())
            .or(next);
    }
    if kind != Kind::StatefulSet || !rollout.ordered {
        return None;
    }
    // The controller waits for the first pod that is not ready and looks no further.
    let first = members
        .iter()
        .filter(|member| !member.ready)
        .min_by_key(|member| member.ordinal())?;
    (first.revision != target && !stays(first)).then_some(first)
}

/// The pod that keeps an ordered workload from scaling to zero: it deletes a pod that is not ready only when no pod of a
/// lower ordinal is unready too.
pub fn keeps_from_stopping<'a>(rollout: &Rollout, members: &'a [Member]) -> Option<&'a Member> {
    if !rollout.ordered || members.iter().any(|member| member.leaving) {
        return None;
    }
    let unready = members.iter().filter(|member| !member.ready);
    let last = members.iter().max_by_key(|member| member.ordinal())?;
    (!last.ready && unready.count() > 1).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(ordinal: u32, revision: &str, ready: bool) -> Member {
        Member {
            name: format!("web-{ordinal}"),
            uid: format!("u{ordinal}"),
            resource_version: "1".into(),
            revision: revision.into(),
            ready,
            leaving: false,
        }
    }

    const ORDERED: Rollout = Rollout {
        on_delete: false,
        ordered: true,
        partition: 0,
        deletes_claims: false,
    };

    fn named(rollout: Rollout, members: &[Member]) -> Option<&str> {
        in_the_way(Kind::StatefulSet, &rollout, members, "good").map(|member| member.name.as_str())
    }

    #[test]
    fn the_pod_that_never_becomes_ready_goes_and_no_other() {
        let stuck = [
            member(0, "good", true),
            member(1, "good", true),
            member(2, "bad", false),
        ];
        assert_eq!(named(ORDERED, &stuck), Some("web-2"));
        let parallel = Rollout {
            ordered: false,
            ..ORDERED
        };
        assert_eq!(named(parallel, &stuck), None, "its controller does it");
    }

    #[test]
    fn a_pod_of_the_target_that_is_not_ready_yet_is_waited_for() {
        let coming = [
            member(0, "bad", true),
            member(1, "good", false),
            member(2, "bad", false),
        ];
        assert_eq!(named(ORDERED, &coming), None);
    }

    #[test]
    fn never_two_at_a_time() {
        let mut both = [member(0, "bad", false), member(1, "bad", false)];
        assert_eq!(named(ORDERED, &both), Some("web-0"));
        both[0].leaving = true;
        assert_eq!(named(ORDERED, &both), None);
    }

    #[test]
    fn what_the_partition_keeps_is_left_alone() {
        let partition = Rollout {
            partition: 2,
            ..ORDERED
        };
        let pods = [
            member(0, "other", true),
            member(1, "other", false),
            member(2, "bad", false),
        ];
        assert_eq!(named(partition, &pods), None);
    }

    #[test]
    fn where_nobody_replaces_pods_they_go_one_by_one() {
        let by_hand = Rollout {
            on_delete: true,
            ..ORDERED
        };
        let mut pods = vec![
            member(0, "bad", true),
            member(1, "bad", false),
            member(2, "bad", true),
        ];
        assert_eq!(named(by_hand, &pods), Some("web-1"), "the broken one first");
        pods[1] = member(1, "good", false);
        assert_eq!(named(by_hand, &pods), None, "its successor is waited for");
        pods[1].ready = true;
        assert_eq!(named(by_hand, &pods), Some("web-2"));
    }

    #[test]
    fn two_unready_pods_block_each_other_on_the_way_to_zero() {
        let both = [
            member(0, "bad", true),
            member(1, "bad", false),
            member(2, "bad", false),
        ];
        let found = keeps_from_stopping(&ORDERED, &both);
        assert_eq!(found.map(|member| member.name.as_str()), Some("web-2"));
        assert_eq!(keeps_from_stopping(&ORDERED, &both[..2]), None);
    }

    #[test]
    fn a_pods_label_names_its_revision() {
        let id = |kind| WorkloadId {
            namespace: "shop".into(),
            kind,
            name: "web".into(),
        };
        assert_eq!(revision_of(&id(Kind::StatefulSet), "web-5d"), "web-5d");
        assert_eq!(revision_of(&id(Kind::DaemonSet), "5d"), "web-5d");
    }
}
