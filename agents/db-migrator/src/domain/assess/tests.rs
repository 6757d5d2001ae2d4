use super::*;
use crate::domain::{Place, proof::Addition};

fn record(version: &str, verdict: Verdict) -> MigrationRecord {
    let place = Place {
        table: "t".into(),
        column: None,
        default: None,
    };
    MigrationRecord {
        inverse: crate::domain::Inverse::Author,
        sequence: version.parse().unwrap(),
        version: Version::parse(version).unwrap(),
        name: "a".into(),
        release: None,
        checksum: "c".into(),
        verdict,
        evidence: vec![],
        state: MigrationState::Applied,
        run: "r".into(),
        fingerprint_before: "f0".into(),
        fingerprint_after: format!("f{version}"),
        fingerprint_reverted: Some("f0".into()),
        atomic: (true, true),
        foreign_keys_off: (false, false),
        additions: vec![MeasuredAddition {
            addition: Addition {
                what: "table t".into(),
                place,
                columns: vec![],
                seeded: true,
            },
            rows: 2,
            digest: "d".into(),
        }],
        touches: vec![],
    }
}

fn facts(verdict: Verdict, rows: u64, digest: &str) -> Facts {
    let down = vec![("DROP TABLE t".to_owned(), Lock::AccessExclusive)];
    let now = Some(TableRows {
        rows,
        digest: digest.into(),
    });
    Facts {
        migrations: vec![
            (record("1", Verdict::Reversible), down.clone()),
            (record("2", verdict), down),
        ],
        rows: vec![vec![now.clone()], vec![now]],
        fingerprint: "f2".into(),
        ..Facts::default()
    }
}

fn to(version: &str) -> Version {
    Version::parse(version).unwrap()
}

#[test]
fn says_reversible_only_when_nothing_was_written_since() {
    let assessment = assess("shop", &facts(Verdict::Reversible, 2, "d"), &to("1"));
    assert_eq!(
        (
            assessment.answer,
            assessment.reverts.len(),
            assessment.additive_only
        ),
        (Answer::Reversible, 1, true)
    );
    let assessment = assess("shop", &facts(Verdict::Reversible, 5, "e"), &to("1"));
    assert_eq!(
        (assessment.answer, assessment.rows_at_risk),
        (Answer::PointOfNoReturn, 3)
    );
    assert_eq!(
        assess("shop", &facts(Verdict::Reversible, 2, "changed"), &to("1")).rows_at_risk,
        1
    );
}

#[test]
fn additions_that_ask_something_of_every_writer_are_not_only_additions() {
    let asking = Facts {
        demanding: BTreeSet::from([2]),
        ..facts(Verdict::Reversible, 2, "d")
    };
    let assessment = assess("shop", &asking, &to("1"));
    assert_eq!(
        (assessment.answer, assessment.additive_only),
        (Answer::Reversible, false)
    );
}

#[test]
fn values_that_the_old_type_does_not_hold_are_at_risk() {
    let misfit = RowsAtRisk {
        what: "column t.a".into(),
        rows: 5,
    };
    let wide = Facts {
        misfits: vec![(2, misfit)],
        ..facts(Verdict::Reversible, 2, "d")
    };
    let assessment = assess("shop", &wide, &to("1"));
    assert_eq!(
        (assessment.answer, assessment.rows_at_risk),
        (Answer::PointOfNoReturn, 5)
    );
}

#[test]
fn a_backfill_that_is_left_asks_nothing_of_the_application() {
    let mut filling = facts(Verdict::Reversible, 2, "d");
    filling.migrations[1].0.state = MigrationState::Applying;
    assert!(assess("shop", &filling, &to("1")).additive_only);
    filling.unfinished.insert(2);
    assert!(!assess("shop", &filling, &to("1")).additive_only);
    filling.unfinished.clear();
    filling.migrations[1].0.state = MigrationState::Reverting;
    assert!(!assess("shop", &filling, &to("1")).additive_only);
}

#[test]
fn says_what_no_approval_can_bring_back() {
    let of = |verdict| assess("shop", &facts(verdict, 2, "d"), &to("1")).impossible;
    assert_eq!(of(Verdict::Lossy), None);
    let said = of(Verdict::Irreversible).unwrap();
    assert!(said.contains("2 a has no down script"), "{said}");
}

#[test]
fn says_point_of_no_return_for_unproven_downs_and_drift() {
    assert_eq!(
        assess("shop", &facts(Verdict::Lossy, 2, "d"), &to("1")).answer,
        Answer::PointOfNoReturn
    );
    let drifted = Facts {
        fingerprint: "other".into(),
        ..facts(Verdict::Reversible, 2, "d")
    };
    let assessment = assess("shop", &drifted, &to("1"));
    assert_eq!(assessment.answer, Answer::PointOfNoReturn);
    assert!(assessment.evidence[0].contains("changed since"));
}

#[test]
fn needs_no_database_step_when_nothing_is_newer() {
    let assessment = assess("shop", &facts(Verdict::Irreversible, 9, "x"), &to("2"));
    assert_eq!(
        (assessment.answer, assessment.reverts.len()),
        (Answer::SafeWithoutDatabase, 0)
    );
}

#[test]
fn reverts_newest_first_and_binds_the_digest_to_it() {
    let facts = facts(Verdict::OrderOnly, 2, "d");
    let assessment = assess("shop", &facts, &Version::zero());
    assert_eq!(
        assessment
            .reverts
            .iter()
            .map(|r| r.version.as_str())
            .collect::<Vec<_>>(),
        ["2", "1"]
    );
    assert_ne!(
        assessment.plan_digest,
        assess("shop", &facts, &to("1")).plan_digest
    );
    assert_ne!(
        assessment.plan_digest,
        assess("other", &facts, &Version::zero()).plan_digest
    );
}
