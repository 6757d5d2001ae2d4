//! Histories of other tools, made with the tables and rows that the tools themselves write.

use std::collections::BTreeMap;

use sha2::{Digest, Sha384};
use shared::SkillError;

use super::support::{
    BOTH, Caller, Fixture, apply, assess, count, execute, fixture, plan, rollback,
};
use crate::{
    Metrics,
    domain::{
        Answer, Dialect, Migration, SourceFile, Verdict, Version,
        history::{ChecksumVerdict, DirtyDecision, Tool},
        source::read_as,
    },
    engine::{self, AdoptOutcome, AdoptRequest, Adoption, Goal, Job, Wanted},
};

pub(super) const A_UP: &str = "CREATE TABLE a (x integer NOT NULL);\n";
const B_UP: &str = "CREATE TABLE b (y integer NOT NULL);\nCREATE INDEX b_y ON b (y);\n";
const C_UP: &str = "ALTER TABLE a ADD COLUMN z integer;\n";

fn files(all: &[(&str, &str)], layout: Tool, dialect: Dialect) -> Vec<Migration> {
    let files = all
        .iter()
        .map(|(name, content)| SourceFile {
            name: (*name).into(),
            content: (*content).into(),
        })
        .collect::<Vec<_>>();
    read_as(&files, dialect, Some(layout)).unwrap().migrations
}

pub(super) fn pairs(dialect: Dialect) -> Vec<Migration> {
    files(
        &[
            ("1_a.up.sql", A_UP),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", B_UP),
            ("2_b.down.sql", "DROP TABLE b;"),
            ("3_c.up.sql", C_UP),
            ("3_c.down.sql", "ALTER TABLE a DROP COLUMN z;"),
        ],
        Tool::Sqlx,
        dialect,
    )
}

pub(super) fn wanted(source: &[Migration], wanted: Wanted) -> AdoptRequest<'_> {
    AdoptRequest {
        source,
        wanted,
        dirty: BTreeMap::new(),
        plan_digest: None,
        release: None,
    }
}

pub(super) async fn planned(
    fixture: &Fixture,
    request: &AdoptRequest<'_>,
) -> Result<Option<Adoption>, SkillError> {
    let (context, metrics) = (Caller::operator("plan").context(), Metrics::default());
    let job = Job {
        context: &context,
        database: &fixture.database,
        metrics: &metrics,
    };
    engine::plan_adoption(job, request).await
}

pub(super) async fn adopted(
    fixture: &Fixture,
    caller: &Caller,
    request: &AdoptRequest<'_>,
) -> Result<AdoptOutcome, SkillError> {
    let (context, metrics) = (caller.context(), Metrics::default());
    let job = Job {
        context: &context,
        database: &fixture.database,
        metrics: &metrics,
    };
    engine::adopt(job, request).await
}

pub(super) fn rejected(error: SkillError, field: &str, says: &str) {
    match error {
        SkillError::Rejected {
            field: found,
            expected,
            got,
        } => {
            assert_eq!(found, field);
            let text = format!("{expected}: {got}");
            assert!(text.contains(says), "{text}");
        }
        other => panic!("{other}"),
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha384::digest(text))
}

/// The table of sqlx and a row a version: (version, success, checksum).
async fn sqlx_history(fixture: &Fixture, dialect: Dialect, rows: &[(i64, bool, String)]) {
    let (bytes, when) = match dialect {
        Dialect::Sqlite => ("BLOB", "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"),
        Dialect::Postgres => ("BYTEA", "TIMESTAMPTZ NOT NULL DEFAULT now()"),
    };
    execute(
        &fixture.database,
        &format!(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on {when}, \
             success BOOLEAN NOT NULL, checksum {bytes} NOT NULL, execution_time BIGINT NOT NULL)"
        ),
    )
    .await;
    for (version, success, checksum) in rows {
        let checksum = match dialect {
            Dialect::Sqlite => format!("x'{checksum}'"),
            Dialect::Postgres => format!("'\\x{checksum}'::bytea"),
        };
        let sql = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ({version}, 'd', {success}, {checksum}, 7)"
        );
        execute(&fixture.database, &sql).await;
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn takes_over_what_sqlx_applied_and_goes_on_from_there() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = pairs(dialect);
        execute(&fixture.database, A_UP).await;
        execute(&fixture.database, "CREATE TABLE b (y integer NOT NULL)").await;
        execute(&fixture.database, "CREATE INDEX b_y ON b (y)").await;
        execute(&fixture.database, "INSERT INTO b VALUES (1), (2)").await;
        let crlf = hash(&B_UP.replace('\n', "\r\n"));
        sqlx_history(&fixture, dialect, &[(1, true, hash(A_UP)), (2, true, crlf)]).await;

        rejected(
            plan(&fixture.database, &source).await.unwrap_err(),
            "adopt",
            "sqlx in",
        );
        let plain = apply(&fixture.database, &Caller::operator("no"), &source, None).await;
        rejected(plain.unwrap_err(), "adopt", "auto or sqlx");
        let request = wanted(&source, Wanted::Any);
        let seen = planned(&fixture, &request).await.unwrap().unwrap();
        assert_eq!((seen.tool, &seen.differences), (Some(Tool::Sqlx), &vec![]));
        let checks = seen.entries.iter().map(|entry| entry.checksum);
        assert_eq!(
            checks.collect::<Vec<_>>(),
            [ChecksumVerdict::Same, ChecksumVerdict::OtherLineEnds]
        );
        assert_eq!(
            (seen.pending.clone(), seen.refusals()),
            (vec!["3".to_owned()], vec![])
        );
        let caller = Caller::operator("adopt");
        let done = adopted(&fixture, &caller, &request).await.unwrap();
        let AdoptOutcome::Done(done) = done else {
            panic!("{done:?}")
        };
        assert_eq!(done.digest(), seen.digest());
        assert!(
            done.plan
                .migrations
                .iter()
                .all(|m| m.proof.verdict == Verdict::Reversible)
        );
        let again = adopted(&fixture, &caller, &request).await.unwrap();
        assert!(matches!(again, AdoptOutcome::Before(_, taken) if taken.len() == 2));
        let other = adopted(&fixture, &Caller::operator("x"), &request)
            .await
            .unwrap();
        assert!(matches!(other, AdoptOutcome::Nothing));

        let went_on = apply(&fixture.database, &Caller::operator("c"), &source, None).await;
        assert_eq!(went_on.unwrap().migrations.len(), 1);
        let to = |version: &str| Goal::Version(Version::parse(version).unwrap());
        let back = assess(&fixture.database, &to("1")).await.unwrap();
        assert_eq!(
            (back.answer, back.rows_at_risk),
            (Answer::PointOfNoReturn, 2),
            "{:?}: rows in an adopted table count as written by applications",
            back.evidence
        );
        assert_eq!(
            assess(&fixture.database, &to("2")).await.unwrap().answer,
            Answer::Reversible
        );
        let caller = Caller::operator("r").approved(&back.plan_digest);
        rollback(&fixture.database, &caller, to("1")).await.unwrap();
        let rows = count(&fixture.database, "SELECT count(*) FROM _sqlx_migrations").await;
        assert_eq!(rows, 2, "the table of sqlx stays as it is");
    }
}

#[tokio::test]
async fn records_what_does_not_lead_to_the_catalog_as_unproven() {
    for dialect in BOTH {
        let fixture = fixture(dialect, false);
        let source = pairs(dialect);
        execute(&fixture.database, A_UP).await;
        execute(&fixture.database, "CREATE TABLE stray (x integer)").await;
        sqlx_history(&fixture, dialect, &[(1, true, hash("other"))]).await;
        let request = wanted(&source, Wanted::Tool(Tool::Sqlx));
        let seen = planned(&fixture, &request).await.unwrap().unwrap();
        assert!(
            seen.differences.iter().any(|d| d.contains("stray")),
            "{:?}",
            seen.differences
        );
        assert_eq!(seen.refusals().len(), 2, "{:?}", seen.refusals());
        let waits = adopted(&fixture, &Caller::operator("a"), &request).await;
        let digest = super::support::digest_of(waits.unwrap_err());
        assert_eq!(digest, seen.digest());
        let caller = Caller::operator("a").approved(&digest);
        adopted(&fixture, &caller, &request).await.unwrap();
        let back = assess(&fixture.database, &Goal::Version(Version::zero()))
            .await
            .unwrap();
        assert_eq!(back.answer, Answer::PointOfNoReturn);
        assert!(
            back.evidence.iter().any(|e| e.contains("1 a is unproven")),
            "{:?}",
            back.evidence
        );
    }
}

#[tokio::test]
async fn says_of_a_dirty_version_what_the_catalog_says() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = pairs(dialect);
        execute(&fixture.database, A_UP).await;
        let rows = [(1, true, hash(A_UP)), (2, false, hash(B_UP))];
        sqlx_history(&fixture, dialect, &rows).await;
        let mut request = wanted(&source, Wanted::Any);
        let error = planned(&fixture, &request).await.unwrap_err();
        rejected(
            error,
            "adopt_dirty",
            "sqlx left version 2 dirty; the catalog is as it is before it",
        );
        execute(&fixture.database, "CREATE TABLE b (y integer NOT NULL)").await;
        let error = planned(&fixture, &request).await.unwrap_err();
        rejected(error, "adopt_dirty", "neither as before nor as after");
        execute(&fixture.database, "CREATE INDEX b_y ON b (y)").await;
        let error = planned(&fixture, &request).await.unwrap_err();
        rejected(error, "adopt_dirty", "the catalog is as it is after it");
        let two = Version::parse("2").unwrap();
        request.dirty = BTreeMap::from([(two.clone(), DirtyDecision::Applied)]);
        let seen = planned(&fixture, &request).await.unwrap().unwrap();
        assert_eq!((seen.plan.migrations.len(), seen.differences.len()), (2, 0));
        request.dirty = BTreeMap::from([(two, DirtyDecision::NotApplied)]);
        let seen = planned(&fixture, &request).await.unwrap().unwrap();
        assert_eq!(seen.plan.migrations.len(), 1);
        assert_eq!(seen.pending, ["2", "3"]);
        assert!(!seen.differences.is_empty(), "table b is there");
    }
}

/// Every tool's table as it creates it on PostgreSQL, with the history of one migration.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn finds_the_history_of_every_tool() {
    let goose = format!("-- +goose Up\n{A_UP}-- +goose Down\nDROP TABLE a;\n");
    let dbmate = format!("-- migrate:up\n{A_UP}\n-- migrate:down\nDROP TABLE a;\n");
    let crc = crc32fast::hash(A_UP.trim_end().as_bytes()).cast_signed();
    let flyway = format!(
        "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, \
         type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL); \
         CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success); \
         INSERT INTO flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', {crc}, 'me', now(), 3, true)"
    );
    let cases = [
        (
            Tool::Diesel,
            Tool::Diesel,
            "00000000000001_a/up.sql",
            A_UP,
            "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
             INSERT INTO __diesel_schema_migrations VALUES ('00000000000001')",
            ChecksumVerdict::NotRecorded,
        ),
        (
            Tool::Refinery,
            Tool::Refinery,
            "V1__a.sql",
            A_UP,
            "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255)); \
             INSERT INTO refinery_schema_history VALUES (1, 'a', '2026-01-01T00:00:00Z', '1')",
            ChecksumVerdict::Differs,
        ),
        (
            Tool::GolangMigrate,
            Tool::GolangMigrate,
            "1_a.up.sql",
            A_UP,
            "CREATE TABLE schema_migrations (version bigint not null primary key, dirty boolean not null); INSERT INTO schema_migrations VALUES (1, false)",
            ChecksumVerdict::NotRecorded,
        ),
        (
            Tool::Dbmate,
            Tool::Dbmate,
            "1_a.sql",
            &dbmate,
            "CREATE TABLE schema_migrations (version varchar primary key); INSERT INTO schema_migrations VALUES ('1')",
            ChecksumVerdict::NotRecorded,
        ),
        (
            Tool::Goose,
            Tool::Goose,
            "1_a.sql",
            &goose,
            "CREATE TABLE goose_db_version (id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, version_id bigint NOT NULL, is_applied boolean NOT NULL, \
             tstamp timestamp NOT NULL DEFAULT now()); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (1, true), (2, true), (2, false)",
            ChecksumVerdict::NotRecorded,
        ),
        (
            Tool::Flyway,
            Tool::Flyway,
            "V1__a.sql",
            A_UP,
            &flyway,
            ChecksumVerdict::Same,
        ),
    ];
    for (tool, layout, name, text, table, checksum) in cases {
        let fixture = fixture(Dialect::Postgres, true);
        execute(&fixture.database, A_UP).await;
        execute(
            &fixture.database,
            &format!("CREATE SCHEMA ops; SET search_path = ops; {table}"),
        )
        .await;
        let source = files(&[(name, text)], layout, Dialect::Postgres);
        let seen = planned(&fixture, &wanted(&source, Wanted::Any))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(seen.tool, Some(tool));
        assert_eq!(seen.entries[0].checksum, checksum, "{tool:?}");
        assert_eq!(
            seen.differences,
            ["added schema ops"],
            "only the schema that the test put the table of {tool:?} into"
        );
        let other = if tool == Tool::Sqlx {
            Tool::Goose
        } else {
            Tool::Sqlx
        };
        let error = planned(&fixture, &wanted(&source, Wanted::Tool(other))).await;
        rejected(error.unwrap_err(), "adopt", tool.name());
    }
}
