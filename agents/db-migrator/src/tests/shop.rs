//! The releases of the example, from the refused one to the rollback of the bad one.

use super::support::*;
use crate::{
    domain::{Answer, Verdict, Version},
    engine::Goal,
};

fn release(name: &str) -> Goal {
    Goal::Release(name.into())
}

#[tokio::test]
async fn refuses_the_release_candidate_with_evidence() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let empty = fingerprint(&fixture.database).await;
        let plan = plan(&fixture.database, &shop("1.0.0-rc.1", dialect))
            .await
            .unwrap();
        let verdicts = plan
            .migrations
            .iter()
            .map(|m| m.proof.verdict)
            .collect::<Vec<_>>();
        assert_eq!(
            verdicts,
            [
                Verdict::Reversible,
                Verdict::Reversible,
                Verdict::Reversible,
                Verdict::Reversible,
                Verdict::Wrong
            ],
            "{dialect:?}"
        );
        let kept = &plan.migrations[3].parts.retained;
        assert!(
            kept.len() == 1 && kept[0].what.ends_with("orders.note"),
            "what it drops is retained, so its rollback is proven: {kept:?}"
        );
        assert!(
            plan.refusals()[0].contains("added index"),
            "{:?}",
            plan.refusals()
        );
        let without = plan_without_retention(&fixture.database, &shop("1.0.0-rc.1", dialect))
            .await
            .unwrap();
        assert_eq!(without.migrations[3].proof.verdict, Verdict::Lossy);
        assert!(
            without.refusals()[0].contains("which holds 4 rows"),
            "{:?}",
            without.refusals()
        );
        let refused = apply(
            &fixture.database,
            &Caller::operator("a"),
            &shop("1.0.0-rc.1", dialect),
            None,
        )
        .await
        .unwrap_err();
        assert_eq!(
            digest_of(refused),
            plan.digest(),
            "also a dev database wants an approval for it"
        );
        assert_eq!(
            fingerprint(&fixture.database).await,
            empty,
            "nothing was touched"
        );
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn takes_a_release_through_approval_failure_and_rollback() {
    for dialect in BOTH {
        let fixture = fixture(dialect, false);
        let database = &fixture.database;
        let good = shop("1.0.0", dialect);
        let digest = digest_of(
            apply(database, &Caller::operator("t1"), &good, Some("1.0.0"))
                .await
                .unwrap_err(),
        );
        assert_eq!(digest, plan(database, &good).await.unwrap().digest());
        let applied = apply(
            database,
            &Caller::operator("t1").approved(&digest),
            &good,
            Some("1.0.0"),
        )
        .await
        .unwrap();
        assert_eq!(
            applied
                .migrations
                .iter()
                .map(|m| m.version.as_str())
                .collect::<Vec<_>>(),
            ["0001", "0002", "0003"]
        );
        let before = fingerprint(database).await;

        let bad = shop("1.1.0", dialect);
        let digest = digest_of(
            apply(database, &Caller::operator("t2"), &bad, Some("1.1.0"))
                .await
                .unwrap_err(),
        );
        apply(
            database,
            &Caller::operator("t2").approved(&digest),
            &bad,
            Some("1.1.0"),
        )
        .await
        .unwrap();
        assert_ne!(fingerprint(database).await, before);

        let assessment = assess(database, &release("1.0.0")).await.unwrap();
        assert_eq!(
            (
                assessment.answer,
                assessment.to_version.as_str(),
                assessment.rows_at_risk,
                assessment.additive_only
            ),
            (Answer::Reversible, "0003", 0, false),
            "{assessment:?}"
        );
        let wanted = digest_of(
            rollback(database, &Caller::operator("t3"), release("1.0.0"))
                .await
                .unwrap_err(),
        );
        assert_eq!(
            wanted, assessment.plan_digest,
            "an operator needs an approval, the coordinator does not"
        );
        let done = rollback(
            database,
            &Caller::coordinator("t4"),
            Goal::Version(Version::parse(&assessment.to_version).unwrap()),
        )
        .await
        .unwrap();
        assert_eq!(
            (done.reverted[0].version.as_str(), done.head.as_deref()),
            ("0004", Some("0003"))
        );
        assert_eq!(fingerprint(database).await, before);
        assert_eq!(
            assess(database, &release("1.0.0")).await.unwrap().answer,
            Answer::SafeWithoutDatabase
        );
        assert_eq!(
            count(
                database,
                "SELECT count(*) FROM orders WHERE note IS NOT NULL"
            )
            .await,
            3
        );

        let status = status(database, &bad).await;
        assert_eq!(
            (
                status.head.as_deref(),
                status.pending.len(),
                status.conflict.clone()
            ),
            (Some("0003"), 1, None)
        );
        assert_eq!(
            status.expected_fingerprint.as_deref(),
            Some(before.as_str())
        );
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn asks_a_person_once_values_were_written_into_what_the_rollback_drops() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let database = &fixture.database;
        apply(
            database,
            &Caller::operator("t1"),
            &shop("1.0.0", dialect),
            Some("1.0.0"),
        )
        .await
        .unwrap();
        let up = "ALTER TABLE orders ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; CREATE INDEX orders_priority ON orders (priority)";
        let down = "DROP INDEX orders_priority; ALTER TABLE orders DROP COLUMN priority";
        let mut added = migrations(
            dialect,
            &[
                ("a", "", ""),
                ("b", "", ""),
                ("c", "", ""),
                ("priority", up, down),
            ],
        );
        let mut all = shop("1.0.0", dialect);
        all.extend(added.pop());
        apply(database, &Caller::operator("t2"), &all, Some("additive"))
            .await
            .unwrap();
        assert!(
            assess(database, &release("1.0.0"))
                .await
                .unwrap()
                .additive_only
        );
        execute(
            database,
            "INSERT INTO orders (id, customer_id, total_cents) VALUES ('o-1', 'c-1001', 1)",
        )
        .await;
        assert_eq!(
            assess(database, &release("1.0.0")).await.unwrap().answer,
            Answer::Reversible,
            "the default is nothing to lose"
        );
        execute(
            database,
            "UPDATE orders SET priority = 9 WHERE id IN ('o-1', 'o-5001')",
        )
        .await;
        let assessment = assess(database, &release("1.0.0")).await.unwrap();
        assert_eq!(
            (assessment.answer, assessment.rows_at_risk),
            (Answer::PointOfNoReturn, 2)
        );
        let digest = digest_of(
            rollback(database, &Caller::coordinator("t3"), release("1.0.0"))
                .await
                .unwrap_err(),
        );
        let done = rollback(
            database,
            &Caller::coordinator("t3").approved(&digest),
            release("1.0.0"),
        )
        .await
        .unwrap();
        assert_eq!(done.reverted.len(), 1);
        // Seeds that a later migration wrote are not at risk, the order is.
        let to_zero = assess(database, &Goal::Version(Version::zero()))
            .await
            .unwrap();
        assert_eq!(
            (to_zero.answer, to_zero.rows_at_risk),
            (Answer::PointOfNoReturn, 1),
            "one order was written since the seeds: {to_zero:?}"
        );
    }
}
