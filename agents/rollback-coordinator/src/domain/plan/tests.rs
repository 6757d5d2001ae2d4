use serde_json::json;

use super::*;
use crate::domain::Rollout;

fn revision(number: u64, health: Health, schema: &str) -> Revision {
    Revision {
        number,
        name: format!("web-{number}"),
        replicas: 0,
        ready: 0,
        health,
        template: json!({"metadata": {"annotations": {"ossa.io/database": "shop", "ossa.io/schema-version": schema}}, "spec": {"containers": [{"image": format!("shop:{number}")}]}}),
        created: None,
    }
}

fn workload(revisions: Vec<Revision>) -> Workload {
    Workload {
        id: WorkloadId {
            namespace: "shop".into(),
            kind: Kind::Deployment,
            name: "web".into(),
        },
        resource_version: "7".into(),
        uid: "u".into(),
        replicas: 3,
        paused: false,
        rollout: Rollout::default(),
        template: json!({}),
        annotations: json!({}),
        revisions,
    }
}

fn assessment(answer: DatabaseAnswer, additive_only: bool) -> Assessment {
    Assessment {
        answer,
        rows_at_risk: 4,
        additive_only,
        plan_digest: String::new(),
        reverts: Vec::new(),
        impossible: None,
        evidence: Vec::new(),
    }
}

#[test]
fn goes_back_to_the_newest_healthy_revision_and_skips_others() {
    let all = workload(vec![
        revision(1, Health::Healthy, "1"),
        revision(2, Health::Healthy, "1"),
        revision(3, Health::NeverHealthy, "1"),
        revision(4, Health::Quarantined, "1"),
        revision(5, Health::NeverHealthy, "2"),
    ]);
    let (from, to) = choose(&all, Target::LastHealthy).unwrap();
    assert_eq!((from.number, to.number), (5, 2));
}

#[test]
fn refuses_what_must_not_be_rolled_back() {
    let one = workload(vec![revision(1, Health::Healthy, "1")]);
    assert_eq!(
        choose(&one, Target::LastHealthy).unwrap_err(),
        Refusal::NoEarlierRevision
    );
    assert_eq!(
        choose(&one, Target::Revision(1)).unwrap_err(),
        Refusal::AlreadyThere(1)
    );
    assert!(matches!(
        choose(&one, Target::Revision(9)).unwrap_err(),
        Refusal::UnknownRevision { wanted: 9, .. }
    ));
    let never = workload(vec![
        revision(1, Health::NeverHealthy, "1"),
        revision(2, Health::NeverHealthy, "1"),
    ]);
    assert_eq!(
        choose(&never, Target::LastHealthy).unwrap_err(),
        Refusal::NeverHealthy
    );
    assert!(
        choose(&never, Target::Revision(1)).is_ok(),
        "a caller may vouch for a revision"
    );
    let left = workload(vec![
        revision(1, Health::Quarantined, "1"),
        revision(2, Health::NeverHealthy, "1"),
    ]);
    assert_eq!(
        choose(&left, Target::Revision(1)).unwrap_err(),
        Refusal::Quarantined(1)
    );
    let paused = Workload {
        paused: true,
        ..workload(vec![
            revision(1, Health::Healthy, "1"),
            revision(2, Health::NeverHealthy, "1"),
        ])
    };
    assert_eq!(
        choose(&paused, Target::LastHealthy).unwrap_err(),
        Refusal::Paused
    );
}

/// The decision table of stateful rollbacks.
#[test]
fn the_database_decides_the_steps_and_the_approval() {
    use DatabaseAnswer::{PointOfNoReturn, Reversible, SafeWithoutDatabase};
    for (answer, additive, moves, approval) in [
        (SafeWithoutDatabase, false, false, false),
        (Reversible, true, false, false),
        (Reversible, false, true, false),
        (PointOfNoReturn, true, false, false),
        (PointOfNoReturn, false, true, true),
    ] {
        let web = workload(vec![
            revision(1, Health::Healthy, "1"),
            revision(2, Health::NeverHealthy, "2"),
        ]);
        let assessment = assessment(answer, additive);
        let pair = choose(&web, Target::LastHealthy).unwrap();
        let plan = decide(Facts {
            workload: &web,
            pair,
            assessment: Some(&assessment),
            diff: String::new(),
        })
        .unwrap();
        assert_eq!(
            (plan.database.is_some(), plan.needs_approval),
            (moves, approval),
            "{answer:?} additive {additive}"
        );
        assert_eq!(plan.steps.contains(&Step::RollBackDatabase), moves);
        assert!(
            plan.steps.is_sorted(),
            "steps are executed in the order of the saga"
        );
    }
}

#[test]
fn the_schema_moves_after_the_last_new_writer_and_before_the_old_template() {
    let steps = steps(Kind::Deployment, true);
    let at = |step| steps.iter().position(|s| *s == step).unwrap();
    assert!(
        at(Step::StopWriters) < at(Step::RollBackDatabase)
            && at(Step::RollBackDatabase) < at(Step::RestoreTemplate)
    );
}

#[test]
fn vouching_for_an_unproven_revision_needs_a_person() {
    let web = workload(vec![
        revision(1, Health::NeverHealthy, "1"),
        revision(2, Health::NeverHealthy, "1"),
    ]);
    let pair = choose(&web, Target::Revision(1)).unwrap();
    assert!(
        decide(Facts {
            workload: &web,
            pair,
            assessment: None,
            diff: String::new()
        })
        .unwrap()
        .needs_approval
    );
}

#[test]
fn what_nothing_leads_back_from_stays() {
    let web = workload(vec![
        revision(1, Health::Healthy, "1"),
        revision(2, Health::NeverHealthy, "2"),
    ]);
    let pair = choose(&web, Target::LastHealthy).unwrap();
    let decided = |additive_only| {
        let assessment = Assessment {
            impossible: Some("2 a has no down script".into()),
            ..assessment(DatabaseAnswer::PointOfNoReturn, additive_only)
        };
        decide(Facts {
            workload: &web,
            pair,
            assessment: Some(&assessment),
            diff: String::new(),
        })
    };
    assert_eq!(
        decided(false).unwrap_err(),
        Refusal::NoWayBack("2 a has no down script".into())
    );
    assert_eq!(
        decided(true).unwrap().database,
        None,
        "the schema stays as it is"
    );
}
