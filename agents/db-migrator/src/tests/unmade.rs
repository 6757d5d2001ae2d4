//! Rare objects of PostgreSQL: kept, or named before apply as what no inverse brings back.

use super::support::*;
use crate::{
    domain::{Dialect, Verdict, Version},
    engine::Goal,
};

const OBJECTS: &str = "CREATE SEQUENCE numbers INCREMENT BY 5; SELECT setval('numbers', 41); CREATE SEQUENCE others; SELECT setval('others', 7);
    CREATE TYPE point3 AS (x int, y int);
    CREATE FUNCTION point3_cmp(point3, point3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).x - ($2).x';
    CREATE OPERATOR FAMILY point3_family USING btree;
    CREATE OPERATOR CLASS point3_class FOR TYPE point3 USING btree FAMILY point3_family AS FUNCTION 1 point3_cmp(point3, point3);
    CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE LANGUAGE plsample HANDLER plpgsql_call_handler";

#[tokio::test]
async fn keeps_the_position_of_a_sequence_without_an_owner() {
    for up in [
        "DROP SEQUENCE numbers; DROP SEQUENCE others",
        "DROP SEQUENCE numbers, others",
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        let database = &fixture.database;
        let sequences = OBJECTS.split("CREATE TYPE").next().unwrap();
        let source = migrations(
            Dialect::Postgres,
            &[("sequences", sequences, ""), ("drop", up, "")],
        );
        apply(database, &Caller::operator("a"), &source[..1], None)
            .await
            .unwrap();
        let before = fingerprint(database).await;
        let lossy = plan_without_retention(database, &source).await.unwrap();
        let proof = &lossy.migrations[0].proof;
        assert_eq!(proof.verdict, Verdict::Lossy, "{proof:?}");
        apply(database, &Caller::operator("b"), &source, None)
            .await
            .unwrap();
        let goal = Goal::Version(Version::parse("0001").unwrap());
        rollback(database, &Caller::coordinator("c"), goal)
            .await
            .unwrap();
        assert_eq!(fingerprint(database).await, before);
        let next = "SELECT nextval('numbers') + nextval('others')";
        assert_eq!(count(database, next).await, 54, "{up}");
    }
}

#[tokio::test]
async fn names_what_no_inverse_makes_again() {
    for (up, named) in [
        (
            "DROP OPERATOR CLASS point3_class USING btree",
            "operator class",
        ),
        (
            "DROP OPERATOR FAMILY point3_family USING btree CASCADE",
            "operator",
        ),
        ("DROP CONVERSION latin", "conversion"),
        ("DROP LANGUAGE plsample", "language"),
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        let database = &fixture.database;
        execute(database, OBJECTS).await;
        let source = migrations(Dialect::Postgres, &[("drop", up, "")]);
        let plan = plan(database, &source).await.unwrap();
        let proof = &plan.migrations[0].proof;
        assert_eq!(proof.verdict, Verdict::Irreversible, "{up}: {proof:?}");
        let refusals = plan.refusals().join("; ");
        assert!(
            refusals.contains("no inverse can be synthesised") && refusals.contains(named),
            "{up}: {refusals}"
        );
        let wanted = apply(database, &Caller::operator("b"), &source, None).await;
        digest_of(wanted.unwrap_err());
    }
}
