//! What a tenant's migrations may name, and what they may not.

use shared::SkillError;

use super::{
    support::*,
    tenants::{shared, version},
};
use crate::domain::Dialect;

/// Extensions belong to the database: every tenant uses what they bring, by its schema.
#[tokio::test]
async fn uses_what_extensions_bring() {
    let (_, shop) = shared(&["one", "two"], ",dev").await;
    execute(
        &shop,
        "CREATE EXTENSION citext; CREATE SCHEMA tools; CREATE EXTENSION pg_trgm SCHEMA tools",
    )
    .await;
    let up = "CREATE TABLE people (mail public.citext UNIQUE, name text); CREATE INDEX near ON people USING gin (name tools.gin_trgm_ops); \
        CREATE VIEW found AS SELECT tools.similarity(name, 'x') AS score FROM people WHERE mail OPERATOR(public.=) 'a@b.example'";
    let source = migrations(
        Dialect::Postgres,
        &[
            ("people", up, ""),
            ("name", "ALTER TABLE people DROP COLUMN name CASCADE", ""),
        ],
    );
    for name in ["one", "two"] {
        let tenant = shop.tenant(name).unwrap();
        apply(&tenant, &Caller::operator("up"), &source, None)
            .await
            .unwrap();
        rollback(&tenant, &Caller::coordinator("back"), version("0001"))
            .await
            .unwrap();
        assert_eq!(count(&tenant, "SELECT count(*) FROM found").await, 0);
    }
    let own = "CREATE TABLE tools.t (id int)";
    let bad = migrations(Dialect::Postgres, &[("people", up, ""), ("bad", own, "")]);
    let one = shop.tenant("one").unwrap();
    let error = plan(&one, &bad).await.unwrap_err().to_string();
    assert!(error.contains("it names the schema tools"), "{error}");
}

#[tokio::test]
pub(super) async fn refuses_what_reaches_beyond_a_tenant() {
    let (_, shop) = shared(&["here", "there"], ",dev").await;
    execute(&shop, "CREATE TABLE public.common (id int)").await;
    let here = shop.tenant("here").unwrap();
    for (up, down, said) in [
        (
            "CREATE TABLE there.t (id int)",
            "DROP TABLE there.t",
            "names the schema there",
        ),
        (
            "CREATE TABLE t (id int); INSERT INTO t SELECT id FROM public.common",
            "",
            "statement 2 of its up: it names the schema public",
        ),
        (
            "CREATE TABLE t (id int)",
            "DROP TABLE there.t",
            "statement 1 of its down",
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM there.t'",
            "",
            "names the schema there",
        ),
        (
            "CREATE EXTENSION hstore",
            "",
            "CREATE EXTENSION is about the whole database",
        ),
        ("SET search_path = there", "", "search_path"),
    ] {
        let source = migrations(Dialect::Postgres, &[("bad", up, down)]);
        let error = plan(&here, &source).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, SkillError::Rejected { ref field, .. } if field == "source")
                && text.contains(said),
            "{up}: {text}"
        );
    }
    // An unqualified name leads nowhere but home.
    let source = migrations(
        Dialect::Postgres,
        &[("shared", "ALTER TABLE common ADD COLUMN x int", "")],
    );
    let error = plan(&here, &source).await.unwrap_err().to_string();
    assert!(error.contains("fails on the shadow"), "{error}");
}

#[tokio::test]
async fn names_a_schema_that_is_none_of_a_tenant() {
    let (url, shop) = shared(&["here"], ",dev").await;
    let source = migrations(Dialect::Postgres, &[("t", "CREATE TABLE t (id int)", "")]);
    let absent = shop.tenant("nobody").unwrap();
    let error = plan(&absent, &source).await.unwrap_err().to_string();
    assert!(
        error.contains("the database has no schema nobody"),
        "{error}"
    );
    assert!(shop.tenant("pg_toast").is_none() && shop.tenant("db_migrator").is_none());
    let bad = |spec: String| {
        spec.parse::<crate::clients::DatabaseSpec>()
            .unwrap_err()
            .to_string()
    };
    assert!(bad(format!("a={url},schema=pg_x")).contains("a tenant's schema"));
    assert!(bad(format!("a={url},schema=a,tenants=*")).contains("either schema or tenants"));
    assert!(bad("a=sqlite:x,schema=a".into()).contains("options of PostgreSQL"));
}
