//! Rare objects of PostgreSQL: kept, or named before apply as what no inverse brings back.

use super::support::*;
use crate::{
    domain::{Dialect, Inverse, Verdict, Version},
    engine::Goal,
};

const OBJECTS: &str = "CREATE SEQUENCE numbers INCREMENT BY 5; SELECT setval('numbers', 41); CREATE SEQUENCE others; SELECT setval('others', 7);
    CREATE TYPE point3 AS (x int, y int);
    CREATE FUNCTION point3_cmp(point3, point3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).x - ($2).x';
    CREATE OPERATOR FAMILY point3_family USING btree;
    CREATE OPERATOR CLASS point3_class FOR TYPE point3 USING btree FAMILY point3_family AS FUNCTION 1 point3_cmp(point3, point3);
    CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE LANGUAGE plsample HANDLER plpgsql_call_handler";
const MORE: &str = "CREATE FUNCTION point3_lt(point3, point3) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1).x < ($2).x';
    CREATE OPERATOR <<< (FUNCTION = point3_lt, LEFTARG = point3, RIGHTARG = point3); CREATE OPERATOR FAMILY loose_family USING btree;
    ALTER OPERATOR FAMILY loose_family USING btree ADD OPERATOR 1 <<< (point3, point3), FUNCTION 1 (point3, point3) point3_cmp(point3, point3);
    CREATE TEXT SEARCH DICTIONARY short (TEMPLATE = pg_catalog.simple, STOPWORDS = 'english');
    CREATE TEXT SEARCH CONFIGURATION words (PARSER = pg_catalog.default); ALTER TEXT SEARCH CONFIGURATION words ADD MAPPING FOR word, asciiword WITH short, pg_catalog.simple;
    CREATE FUNCTION sampled() RETURNS int LANGUAGE plsample AS 'BEGIN RETURN 1; END'";

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
pub(super) async fn makes_operator_classes_conversions_and_languages_again() {
    for up in [
        "DROP OPERATOR CLASS point3_class USING btree",
        "DROP OPERATOR FAMILY point3_family USING btree CASCADE",
        "DROP OPERATOR FAMILY loose_family USING btree",
        "ALTER OPERATOR FAMILY loose_family USING btree DROP FUNCTION 1 (point3, point3)",
        "DROP CONVERSION latin",
        "ALTER CONVERSION latin RENAME TO latin1",
        "DROP LANGUAGE plsample CASCADE",
        "DROP TEXT SEARCH CONFIGURATION words; DROP TEXT SEARCH DICTIONARY short",
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        let database = &fixture.database;
        execute(database, OBJECTS).await;
        execute(database, MORE).await;
        let before = fingerprint(database).await;
        let source = migrations(Dialect::Postgres, &[("drop", up, "")]);
        let plan = plan(database, &source).await.unwrap();
        let planned = &plan.migrations[0];
        assert_eq!(
            (planned.proof.verdict, planned.inverse),
            (Verdict::Reversible, Inverse::Synthesised),
            "{up}: {:?}",
            planned.proof
        );
        apply(database, &Caller::operator("b"), &source, None)
            .await
            .unwrap();
        assert_ne!(fingerprint(database).await, before, "{up}");
        let zero = Goal::Version(Version::zero());
        rollback(database, &Caller::coordinator("c"), zero)
            .await
            .unwrap();
        assert_eq!(fingerprint(database).await, before, "{up}");
    }
}

#[tokio::test]
async fn names_what_no_inverse_makes_again() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    execute(
        database,
        "CREATE ACCESS METHOD plain TYPE TABLE HANDLER heap_tableam_handler",
    )
    .await;
    let source = migrations(
        Dialect::Postgres,
        &[("drop", "DROP ACCESS METHOD plain", "")],
    );
    let plan = plan(database, &source).await.unwrap();
    let proof = &plan.migrations[0].proof;
    assert_eq!(proof.verdict, Verdict::Irreversible, "{proof:?}");
    let refusals = plan.refusals().join("; ");
    assert!(
        refusals.contains("no inverse can be synthesised") && refusals.contains("access method"),
        "{refusals}"
    );
    let wanted = apply(database, &Caller::operator("b"), &source, None).await;
    digest_of(wanted.unwrap_err());
}
