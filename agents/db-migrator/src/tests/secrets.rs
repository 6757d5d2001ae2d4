//! Secrets planted everywhere are looked for in everything that leaves the agent.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use shared::{Skill, SkillError};

use super::support::*;
use crate::{
    Metrics,
    clients::{Databases, Workspace, hooks::Outlets},
    domain::Dialect,
    skills::{
        ApplyMigration, AssessRollback, MigrationStatus, PlanMigration, RollbackMigration,
        VerifySchema, Workbench,
    },
};

const PASSWORD: &str = "Sec1Password";
const LITERAL: &str = "Sec2Literal";
const ROW: &str = "Sec3Row";
const HEADER: &str = "Sec4Header";
const PATH: &str = "Sec5Path";
const RAISED: &str = "Sec6Raised";
const HOOK: &str = "Sec7HookSql";
const ANSWER: &str = "Sec8Answer";
const ALL: [&str; 8] = [PASSWORD, LITERAL, ROW, HEADER, PATH, RAISED, HOOK, ANSWER];

/// Everything that was said.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<u8>>>);

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Ear {
    fn note(&self, what: impl std::fmt::Display) {
        writeln!(self.0.lock().unwrap(), "{what}").unwrap();
    }

    fn check(&self, place: &str) {
        let said = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        assert!(!said.is_empty(), "{place} says something");
        for secret in ALL {
            let line = said.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} in {place}: {line:?}");
        }
    }
}

/// Every skill in turn; answers and errors with all their causes are noted.
async fn ask<S: Skill>(
    skill: S,
    request: Value,
    (task, ear, approval): (&str, &Ear, Option<&str>),
) -> Option<String>
where
    S::Output: serde::Serialize,
{
    let audit = ear.clone();
    let mut caller = Caller::operator(task).hook(move |line| {
        audit.note(line);
        None
    });
    if let Some(digest) = approval {
        caller = caller.approved(digest);
    }
    let input = serde_json::from_value(request).unwrap();
    match skill.run(&caller.context(), input).await {
        Ok(answer) => {
            ear.note(serde_json::to_string(&answer).unwrap());
            None
        }
        Err(error) => {
            ear.note(shared::telemetry::Chain(&error));
            ear.note(format!("{error:?}"));
            match error {
                SkillError::ApprovalRequired { plan_digest, .. } => Some(plan_digest),
                _ => None,
            }
        }
    }
}

fn good(dialect: Dialect) -> Value {
    let default = format!("CREATE TABLE t (a TEXT DEFAULT '{LITERAL}', n INTEGER)");
    let seed = format!("INSERT INTO t (a) VALUES ('{LITERAL}')");
    let drop = if dialect == Dialect::Sqlite {
        "UPDATE t SET n = 1"
    } else {
        "UPDATE t SET n = 2"
    };
    json!({"files": [
        {"name": "0001_t.up.sql", "content": format!("{default}; {seed}")},
        {"name": "0001_t.down.sql", "content": "DROP TABLE t"},
        {"name": "0002_u.up.sql", "content": format!("{drop}; UPDATE t SET a = '{LITERAL}2' WHERE a <> '{LITERAL}'")},
        {"name": "0002_u.down.sql", "content": format!("UPDATE t SET a = '{LITERAL}'")},
    ]})
}

/// Scripts that the database refuses with a sentence that quotes what it found.
fn bad(dialect: Dialect) -> Vec<String> {
    let mut all = vec![
        format!("INSERT INTO t (a) VALUES ('{LITERAL}'; SELECT 1"),
        format!("SELECT * FROM t WHERE a = 'x' '{LITERAL}' nonsense nonsense"),
    ];
    if dialect == Dialect::Postgres {
        all.push(
            "ALTER TABLE t ALTER COLUMN a DROP DEFAULT, ALTER COLUMN a TYPE int USING a::int"
                .into(),
        );
        all.push(format!("SELECT '{LITERAL}'::int"));
        all.push(format!(
            "DO $$ BEGIN RAISE EXCEPTION '{RAISED} %', (SELECT a FROM t LIMIT 1); END $$"
        ));
        all.push("CREATE UNIQUE INDEX one ON t ((1))".into());
    } else {
        all.push(format!("CREATE TRIGGER r BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, '{RAISED}'); END; UPDATE t SET n = 3"));
        all.push("CREATE UNIQUE INDEX one ON t ((1))".into());
    }
    all
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn tells_nothing(dialect: Dialect) {
    let folder = tempfile::tempdir().unwrap();
    let (ear, log) = (Ear::default(), Ear::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let receiver = super::receiver::Receiver::start(|at, _| match at {
        0 => ("200 OK", ANSWER.into()),
        _ => ("500 No", ANSWER.into()),
    });
    let (bench, url) = workbench(dialect, folder.path(), &receiver.address);
    let hooks = json!([
        {"name": "sql", "on": ["before_run"], "sql": format!("SELECT '{HOOK}'")},
        {"name": "post", "on": ["before_run", "after_run"], "on_failure": "continue", "http": {"url": format!("http://{}/{PATH}", receiver.address), "authorization": "key"}},
    ]);
    let apply = |source: Value| json!({"database": "shop", "source": source, "dry_run": false, "idempotency_key": "k", "release": "1", "hooks": hooks});
    let again = |ear| ("t", ear, None);
    ask(
        PlanMigration(bench.clone()),
        json!({"database": "shop", "source": good(dialect), "hooks": hooks}),
        again(&ear),
    )
    .await;
    let digest = ask(
        ApplyMigration(bench.clone()),
        apply(good(dialect)),
        again(&ear),
    )
    .await;
    ask(
        ApplyMigration(bench.clone()),
        apply(good(dialect)),
        ("t", &ear, digest.as_deref()),
    )
    .await;
    let database = database(&url, true);
    assert_eq!(
        count(&database, "SELECT count(*) FROM t").await,
        1,
        "it was applied"
    );
    execute(&database, &format!("INSERT INTO t (a) VALUES ('{ROW}')")).await;
    for (at, script) in bad(dialect).iter().enumerate() {
        let mut source = good(dialect);
        let file = json!({"name": "0003_bad.up.sql", "content": script});
        source["files"].as_array_mut().unwrap().push(file);
        ask(
            PlanMigration(bench.clone()),
            json!({"database": "shop", "source": source}),
            ("p", &ear, None),
        )
        .await;
        let task = format!("bad{at}");
        ask(
            ApplyMigration(bench.clone()),
            apply(source),
            (&task, &ear, None),
        )
        .await;
    }
    execute(&database, "CREATE INDEX stranger ON t (n)").await;
    ask(
        MigrationStatus(bench.clone()),
        json!({"database": "shop", "source": good(dialect), "release": "1"}),
        again(&ear),
    )
    .await;
    ask(
        VerifySchema(bench.clone()),
        json!({"database": "shop"}),
        again(&ear),
    )
    .await;
    ask(
        AssessRollback(bench.clone()),
        json!({"service": "shop", "to_version": "0"}),
        again(&ear),
    )
    .await;
    let back =
        json!({"database": "shop", "to_version": "0", "dry_run": false, "idempotency_key": "k"});
    let digest = ask(
        RollbackMigration(bench.clone()),
        back.clone(),
        ("r", &ear, None),
    )
    .await;
    ask(
        RollbackMigration(bench),
        back,
        ("r", &ear, digest.as_deref()),
    )
    .await;
    ear.check("answers, errors and audit records");
    log.check("the log");
    ledger_says_nothing(&database, dialect).await;
    let heard = receiver.heard();
    assert!(heard[0].0.contains(HEADER), "the header itself was sent");
    for (_, body) in heard {
        let body = body.to_string();
        assert!(ALL.iter().all(|secret| !body.contains(secret)), "{body}");
    }
}

/// The ledger holds the scripts, which is its purpose, and nothing of them anywhere else.
async fn ledger_says_nothing(database: &crate::clients::Database, dialect: Dialect) {
    let prefix = ledger(dialect);
    for sql in [
        format!("SELECT evidence || additions || touches FROM {prefix}migration"),
        format!("SELECT coalesce(result, '-') || key FROM {prefix}hook_call"),
        format!("SELECT plan_digest || coalesce(outcome, '') FROM {prefix}run"),
    ] {
        let rows = query(database, &sql).await;
        assert!(!rows.is_empty(), "{sql}");
        for row in rows {
            let text = row.text(0).unwrap();
            let told = ALL.iter().find(|secret| text.contains(*secret));
            assert!(told.is_none(), "{told:?} in {sql}: {text}");
        }
    }
    let specs = query(database, &format!("SELECT spec FROM {prefix}hook")).await;
    for row in specs {
        assert!(!row.text(0).unwrap().contains(HEADER));
    }
}

fn workbench(dialect: Dialect, folder: &Path, receiver: &str) -> (Workbench, String) {
    let url = match dialect {
        Dialect::Sqlite => format!("sqlite:{}", folder.join("shop.db").display()),
        Dialect::Postgres => server().create_database("secrets").unwrap(),
    };
    let shown = match dialect {
        Dialect::Sqlite => url.clone(),
        Dialect::Postgres => {
            let separator = if url.contains('?') { '&' } else { '?' };
            format!("{url}{separator}password={PASSWORD}")
        }
    };
    let mut secret = reqwest::header::HeaderValue::from_static(HEADER);
    secret.set_sensitive(true);
    let outlets = Outlets::new(
        vec![receiver.parse().unwrap()],
        [("key".to_owned(), secret)],
        vec![],
    );
    let databases = Databases::new([format!("shop={shown},superuser=allow").parse().unwrap()]);
    let bench = Workbench {
        databases: Arc::new(databases.with_outlets(&Arc::new(outlets))),
        workspace: Workspace::new(folder),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    };
    (bench, url)
}

#[tokio::test]
async fn tells_nothing_of_planted_secrets_on_sqlite() {
    tells_nothing(Dialect::Sqlite).await;
}

#[tokio::test]
async fn tells_nothing_of_planted_secrets_on_postgres() {
    tells_nothing(Dialect::Postgres).await;
}
