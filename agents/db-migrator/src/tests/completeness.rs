//! The catalog holds everything that `pg_dump` shows: a difference in one is a difference in the other.

use std::{collections::BTreeSet, process::Command, sync::OnceLock};

use store::testing::TemporaryPostgres;

use super::support::{database, fingerprint, session};

/// Statements that set the stage for [`CHANGES`].
pub(crate) const BASE: &str = "CREATE SCHEMA s; CREATE TYPE s.e AS ENUM ('a', 'b'); CREATE DOMAIN s.d AS text; CREATE TYPE s.c AS (a int);
    CREATE SEQUENCE s.q; CREATE TABLE s.t (id int PRIMARY KEY, n int, note text, e s.e) WITH (fillfactor = 70);
    CREATE FUNCTION s.f(a int) RETURNS int LANGUAGE sql AS 'select a'; CREATE FUNCTION s.tf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER g BEFORE UPDATE ON s.t FOR EACH ROW EXECUTE FUNCTION s.tf(); CREATE VIEW s.v AS SELECT id FROM s.t; CREATE INDEX i ON s.t (n, lower(note));
    CREATE TABLE s.p (id int) PARTITION BY RANGE (id); CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (10); CREATE TABLE s.p2 (id int);
    CREATE POLICY own ON s.t USING (n > 1); CREATE RULE r AS ON DELETE TO s.t DO NOTHING; CREATE STATISTICS s.st ON id, n FROM s.t; CREATE PUBLICATION pub FOR TABLE s.t;
    CREATE FOREIGN DATA WRAPPER w; CREATE SERVER srv FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE s.ft (a int) SERVER srv; CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS one;
    CREATE TEXT SEARCH CONFIGURATION s.ts (COPY = simple); CREATE AGGREGATE s.agg(int) (SFUNC = int4pl, STYPE = int); CREATE COLLATION s.col (LOCALE = 'C');
    CREATE OPERATOR s.+ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int); CREATE FUNCTION s.et() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
    CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION s.et(); ALTER TABLE s.t ADD CONSTRAINT k CHECK (n > 0) NOT VALID";

/// Each changes what `pg_dump` shows.
pub(crate) const CHANGES: &[&str] = &[
    "ALTER TABLE s.t ADD COLUMN x int",
    "ALTER TABLE s.t ALTER note TYPE varchar(20)",
    "ALTER TABLE s.t ALTER n SET DEFAULT 3",
    "ALTER TABLE s.t ALTER n SET NOT NULL",
    "ALTER TABLE s.t ALTER n SET STATISTICS 40",
    "ALTER TABLE s.t ALTER note SET STORAGE EXTERNAL",
    "ALTER TABLE s.t ALTER note SET COMPRESSION pglz",
    "ALTER TABLE s.t ALTER n SET (n_distinct = 5)",
    "ALTER TABLE s.t ALTER note TYPE text COLLATE \"C\"",
    "ALTER TABLE s.t ALTER id ADD GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE s.t ADD COLUMN x int GENERATED ALWAYS AS (n * 2) STORED",
    "ALTER TABLE s.t SET (fillfactor = 60)",
    "ALTER TABLE s.t SET (toast.autovacuum_enabled = false)",
    "ALTER TABLE s.p2 SET UNLOGGED",
    "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE s.t FORCE ROW LEVEL SECURITY",
    "ALTER TABLE s.t REPLICA IDENTITY FULL",
    "ALTER TABLE s.t CLUSTER ON t_pkey",
    "ALTER TABLE s.t OWNER TO app",
    "ALTER TABLE s.t DISABLE TRIGGER g",
    "ALTER TABLE s.t DISABLE RULE r",
    "ALTER TABLE s.t VALIDATE CONSTRAINT k",
    "ALTER TABLE s.t RENAME CONSTRAINT k TO k2",
    "ALTER TABLE s.t DROP CONSTRAINT t_pkey",
    "ALTER TABLE s.p DETACH PARTITION s.p1",
    "ALTER TABLE s.p ATTACH PARTITION s.p2 DEFAULT",
    "CREATE TABLE s.child (z int) INHERITS (s.t)",
    "ALTER INDEX s.i RENAME TO i2",
    "ALTER INDEX s.i ALTER COLUMN 2 SET STATISTICS 44",
    "DROP INDEX s.i; CREATE INDEX i ON s.t (n)",
    "ALTER VIEW s.v SET (security_barrier = true)",
    "ALTER VIEW s.v ALTER id SET DEFAULT 5",
    "CREATE OR REPLACE VIEW s.v AS SELECT id, n, note FROM s.t",
    "ALTER MATERIALIZED VIEW s.m RENAME TO m2",
    "CREATE OR REPLACE FUNCTION s.f(a int) RETURNS int LANGUAGE sql AS 'select a + 1'",
    "ALTER FUNCTION s.f STABLE",
    "ALTER FUNCTION s.f SET work_mem = '1MB'",
    "ALTER FUNCTION s.f OWNER TO app",
    "CREATE PROCEDURE s.pr() LANGUAGE plpgsql AS $$ BEGIN END $$",
    "DROP AGGREGATE s.agg(int); CREATE AGGREGATE s.agg(int) (SFUNC = int4pl, STYPE = int, INITCOND = '1')",
    "ALTER TYPE s.e ADD VALUE 'c'",
    "ALTER TYPE s.e RENAME VALUE 'a' TO 'z'",
    "ALTER TYPE s.c ADD ATTRIBUTE b text",
    "ALTER TYPE s.e OWNER TO app",
    "ALTER DOMAIN s.d SET DEFAULT 'x'",
    "ALTER DOMAIN s.d SET NOT NULL",
    "ALTER DOMAIN s.d ADD CONSTRAINT c CHECK (VALUE <> '')",
    "CREATE TYPE s.r AS RANGE (SUBTYPE = int)",
    "ALTER SEQUENCE s.q INCREMENT 5 CYCLE",
    "ALTER SEQUENCE s.q AS int",
    "ALTER SEQUENCE s.q OWNED BY s.t.id",
    "ALTER POLICY own ON s.t USING (n > 2)",
    "ALTER POLICY own ON s.t TO app",
    "CREATE POLICY ins ON s.t FOR INSERT WITH CHECK (true)",
    "ALTER STATISTICS s.st SET STATISTICS 40",
    "ALTER STATISTICS s.st OWNER TO app",
    "ALTER PUBLICATION pub SET (publish = 'insert')",
    "ALTER PUBLICATION pub SET TABLE s.t (id) WHERE (id > 3)",
    "ALTER PUBLICATION pub ADD TABLES IN SCHEMA s",
    "ALTER EVENT TRIGGER ev DISABLE",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO app",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "GRANT SELECT ON s.t TO app",
    "GRANT SELECT ON s.t TO app WITH GRANT OPTION",
    "GRANT SELECT (n) ON s.t TO app",
    "REVOKE DELETE ON s.t FROM postgres",
    "REVOKE ALL ON FUNCTION s.f FROM PUBLIC",
    "GRANT USAGE ON SCHEMA s TO app",
    "GRANT USAGE ON SEQUENCE s.q TO PUBLIC",
    "GRANT USAGE ON FOREIGN SERVER srv TO app",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "ALTER SCHEMA s OWNER TO app",
    "ALTER SCHEMA s RENAME TO s2",
    "COMMENT ON TABLE s.t IS 'x'",
    "COMMENT ON COLUMN s.t.n IS 'x'",
    "COMMENT ON CONSTRAINT k ON s.t IS 'x'",
    "COMMENT ON SCHEMA public IS 'mine'",
    "COMMENT ON POLICY own ON s.t IS 'x'",
    "COMMENT ON FUNCTION s.f IS 'x'",
    "CREATE CAST (s.e AS int) WITH INOUT",
    "CREATE OPERATOR s.- (FUNCTION = int4mi, LEFTARG = int, RIGHTARG = int)",
    "ALTER OPERATOR s.+ (int, int) OWNER TO app",
    "CREATE OPERATOR CLASS s.oc FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int)",
    "ALTER SERVER srv OPTIONS (a 'b')",
    "ALTER FOREIGN TABLE s.ft OPTIONS (x 'y')",
    "ALTER FOREIGN TABLE s.ft ALTER a OPTIONS (x 'y')",
    "CREATE USER MAPPING FOR app SERVER srv",
    "CREATE FOREIGN DATA WRAPPER w2",
    "ALTER TEXT SEARCH CONFIGURATION s.ts DROP MAPPING FOR email",
    "CREATE TEXT SEARCH DICTIONARY s.dict (TEMPLATE = simple)",
    "CREATE COLLATION s.col2 (LOCALE = 'POSIX')",
    "ALTER COLLATION s.col OWNER TO app",
    "CREATE CONVERSION s.cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "CREATE TRIGGER g2 AFTER INSERT ON s.t EXECUTE FUNCTION s.tf()",
    "CREATE RULE r2 AS ON UPDATE TO s.t DO ALSO NOTHING",
    "CREATE EXTENSION pg_trgm",
    "CREATE ACCESS METHOD am TYPE TABLE HANDLER heap_tableam_handler",
];

/// Only on some versions.
const NEWER: &[(u32, &str)] = &[
    (
        18,
        "ALTER TABLE s.t ADD COLUMN x int GENERATED ALWAYS AS (n * 2) VIRTUAL",
    ),
    (18, "ALTER TABLE s.t ADD CONSTRAINT named NOT NULL n"),
    (
        18,
        "ALTER TABLE s.t ADD CONSTRAINT later NOT NULL n NOT VALID",
    ),
    (
        18,
        "ALTER TABLE s.t ADD CONSTRAINT loose CHECK (n < 9) NOT ENFORCED",
    ),
    (
        17,
        "ALTER TABLE s.t ADD COLUMN x int GENERATED ALWAYS AS (n * 2) STORED; ALTER TABLE s.t ALTER x SET EXPRESSION AS (n * 3)",
    ),
];

/// The server of a version; it stops with the process.
pub(crate) fn server(version: u32) -> &'static TemporaryPostgres {
    static SERVERS: [OnceLock<TemporaryPostgres>; 3] = [const { OnceLock::new() }; 3];
    let at = match version {
        15 => 0,
        17 => 1,
        _ => 2,
    };
    SERVERS[at].get_or_init(|| {
        TemporaryPostgres::start_version(
            version,
            &["fsync=off", "max_connections=50", "shared_buffers=16MB"],
        )
        .expect("the test command installs PostgreSQL 15, 17 and 18")
    })
}

fn bin(version: u32) -> String {
    let root = if version == 15 {
        "/usr/lib/postgresql"
    } else {
        "/opt/agent-mesh/postgresql"
    };
    format!("{root}/{version}/bin/pg_dump")
}

/// Lines of the schema as `pg_dump` shows it, without its random token and the places of columns.
fn dump(version: u32, url: &str) -> Vec<String> {
    let output = Command::new(bin(version))
        .args(["--schema-only", "--dbname", url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect()
}

async fn sees_what_a_dump_shows(version: u32) {
    let server = server(version);
    let template = server.create_database("dump_template").unwrap();
    let mut base = session(&database(&template, true)).await;
    base.execute("DO $$ BEGIN CREATE ROLE app; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        .await
        .unwrap();
    base.execute(BASE).await.unwrap();
    base.close().await.unwrap();
    let (plain, shown) = (
        fingerprint(&database(&template, true)).await,
        dump(version, &template),
    );
    let mut seen = BTreeSet::new();
    let newer = NEWER
        .iter()
        .filter(|(since, _)| *since <= version)
        .map(|(_, change)| *change);
    let admin = database(&server.url("postgres"), true);
    for change in CHANGES.iter().copied().chain(newer) {
        let mut admin = session(&admin).await;
        admin
            .execute("CREATE DATABASE dump_copy TEMPLATE dump_template")
            .await
            .unwrap();
        let url = server.url("dump_copy");
        let copy = database(&url, true);
        let mut changed = session(&copy).await;
        assert_eq!(
            changed.catalog().await.unwrap().fingerprint(),
            plain,
            "{version}: equal dumps are equal catalogs"
        );
        changed
            .execute(change)
            .await
            .unwrap_or_else(|error| panic!("{version} {change}: {error}"));
        let now = changed.catalog().await.unwrap().fingerprint();
        changed.close().await.unwrap();
        assert_ne!(
            dump(version, &url),
            shown,
            "{version}: {change} is no difference in the dump"
        );
        assert_ne!(now, plain, "{version}: the catalog does not see {change}");
        assert!(
            seen.insert(now),
            "{version}: {change} looks like another change"
        );
        admin
            .execute("DROP DATABASE dump_copy WITH (FORCE)")
            .await
            .unwrap();
        admin.close().await.unwrap();
    }
    println!(
        "PostgreSQL {version}: {} changes that pg_dump shows are seen",
        seen.len()
    );
}

#[tokio::test]
async fn sees_what_pg_dump_15_shows() {
    sees_what_a_dump_shows(15).await;
}

#[tokio::test]
async fn sees_what_pg_dump_17_shows() {
    sees_what_a_dump_shows(17).await;
}

#[tokio::test]
async fn sees_what_pg_dump_18_shows() {
    sees_what_a_dump_shows(18).await;
}
