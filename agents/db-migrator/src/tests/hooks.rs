//! Hooks on real databases, and an HTTP receiver that remembers what it was told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use shared::SkillError;

use super::support::*;
use crate::{
    clients::{
        Database,
        hooks::{Desk, Outlets},
    },
    domain::{
        Dialect, Migration, Version,
        hooks::{self, Allowed, CallState, Hook, Point},
    },
    engine::{self, Applied, ApplyRequest, Goal, Job},
};

/// A receiver of HTTP hooks.
pub(super) struct Receiver {
    pub(super) address: String,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    /// Answers the n-th request with `answer(n)`: status line and body.
    pub(super) fn start(
        answer: impl Fn(usize, &Value) -> (&'static str, String) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, count) = (heard.clone(), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let (status, text) = answer(count.fetch_add(1, Ordering::SeqCst), &body);
                log.lock().unwrap().push((head, body));
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { address, heard }
    }

    pub(super) fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }

    /// What was told, as `event migration`.
    fn events(&self) -> Vec<String> {
        let told = |(_, body): &(String, Value)| {
            let version = body["migration"]["version"].as_str().unwrap_or("-");
            format!("{} {version}", body["event"].as_str().unwrap())
        };
        self.heard().iter().map(told).collect()
    }
}

/// The database, with hooks that may post to this receiver.
fn reaching(database: &Database, receiver: &Receiver) -> Database {
    let hosts = vec![receiver.address.parse().unwrap()];
    let outlets = Outlets::new(hosts, [], vec![("compliance-auditor", vec!["a".into()])]);
    Database {
        desk: Arc::new(Desk::new(Arc::new(outlets))),
        ..database.clone()
    }
}

fn declared(database: &Database, specs: Value) -> Vec<Hook> {
    let outlets = database.desk.outlets();
    let allowed = Allowed {
        url: &|url| outlets.check_url(url),
        secret: &|name| outlets.has_secret(name),
        edge: &|agent, skill| outlets.edge(agent, skill).is_some(),
    };
    let specs = serde_json::from_value(specs).unwrap();
    hooks::check(specs, &[], database.target.dialect(), allowed).unwrap()
}

async fn apply_with(
    database: &Database,
    caller: &Caller,
    source: &[Migration],
    hooks: &[Hook],
) -> Result<Applied, SkillError> {
    let (context, metrics) = (caller.context(), crate::Metrics::default());
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source,
        hooks,
        release: Some("1"),
        ..ApplyRequest::default()
    };
    engine::apply(job, request).await
}

const TWO: [(&str, &str, &str); 2] = [
    ("a", "CREATE TABLE a (x INTEGER)", "DROP TABLE a"),
    ("b", "CREATE TABLE b (x INTEGER)", "DROP TABLE b"),
];

async fn lines(database: &Database) -> Vec<String> {
    let rows = query(database, "SELECT line FROM log ORDER BY n").await;
    rows.iter().map(|row| row.text(0).unwrap()).collect()
}

async fn with_log(dialect: Dialect, dev: bool) -> (Fixture, Vec<Migration>) {
    let fixture = fixture(dialect, dev);
    let key = match dialect {
        Dialect::Sqlite => "INTEGER PRIMARY KEY",
        Dialect::Postgres => "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    };
    let log = format!("CREATE TABLE log (n {key}, line TEXT NOT NULL)");
    let source = migrations(dialect, &[("log", &log, "DROP TABLE log"), TWO[0], TWO[1]]);
    apply(
        &fixture.database,
        &Caller::operator("log"),
        &source[..1],
        None,
    )
    .await
    .unwrap();
    (fixture, source)
}

fn line(point: &str) -> Value {
    let sql = format!("INSERT INTO log (line) VALUES ('{point}')");
    json!({"name": point.replace('_', "-"), "on": [point], "sql": sql})
}

#[tokio::test]
async fn runs_sql_hooks_at_every_point_of_apply_and_rollback() {
    for dialect in BOTH {
        let (fixture, source) = with_log(dialect, true).await;
        let database = &fixture.database;
        let points = [
            "before_run",
            "after_run",
            "before_step",
            "after_step",
            "on_failure",
        ];
        let specs: Vec<_> = points.iter().map(|point| line(point)).collect();
        let hooks = declared(database, json!(specs));
        let applied = apply_with(database, &Caller::operator("t"), &source, &hooks)
            .await
            .unwrap();
        let expected = [
            "before_run",
            "before_step",
            "after_step",
            "before_step",
            "after_step",
            "after_run",
        ];
        assert_eq!(lines(database).await, expected, "{dialect:?}");
        assert_eq!(applied.hooks.len(), 6, "{:?}", applied.hooks);
        assert!(
            applied
                .hooks
                .iter()
                .all(|call| call.state == CallState::Done)
        );

        // A rollback needs neither files nor request: the hooks are in the ledger.
        execute(database, "DELETE FROM log").await;
        let goal = Goal::Version(Version::parse("0001").unwrap());
        let done = rollback(database, &Caller::operator("r"), goal)
            .await
            .unwrap();
        assert_eq!(lines(database).await, expected, "{dialect:?}");
        assert_eq!(done.hooks.len(), 6);
    }
}

#[tokio::test]
async fn stops_or_goes_on_as_the_hook_says_and_tells_of_the_failure() {
    for dialect in BOTH {
        let (fixture, source) = with_log(dialect, true).await;
        let receiver = Receiver::start(|_, body| match body["event"].as_str() {
            Some("before_step") => ("503 Busy", "no".into()),
            _ => ("200 OK", "{}".into()),
        });
        let database = reaching(&fixture.database, &receiver);
        let url = format!("http://{}/hook", receiver.address);
        let http = |name: &str, on: &[&str], on_failure: &str| json!({"name": name, "on": on, "http": {"url": url}, "on_failure": on_failure});
        let strict = declared(
            &database,
            json!([
                http("gate", &["before_step"], "abort"),
                http("cry", &["on_failure"], "abort")
            ]),
        );
        let error = apply_with(&database, &Caller::operator("t"), &source, &strict)
            .await
            .unwrap_err()
            .to_string();
        let expected = format!(
            "hook gate at before_step of 0002 failed: http://{} answered 503",
            receiver.address
        );
        assert_eq!(error, expected);
        assert_eq!(receiver.events(), ["before_step 0002", "on_failure -"]);
        assert_eq!(receiver.heard()[1].1["failure"], "failed");
        assert_eq!(
            status(&database, &source).await.head.as_deref(),
            Some("0001")
        );

        let lenient = declared(
            &database,
            json!([http("gate", &["before_step"], "continue")]),
        );
        let applied = apply_with(&database, &Caller::operator("u"), &source, &lenient)
            .await
            .unwrap();
        assert_eq!(applied.head.as_deref(), Some("0003"));
        assert!(
            applied
                .hooks
                .iter()
                .all(|call| call.state == CallState::Ignored && call.result.is_some())
        );
    }
}

#[tokio::test]
async fn sends_a_key_and_no_sql_and_follows_no_redirect() {
    let (fixture, source) = with_log(Dialect::Sqlite, true).await;
    let receiver = Receiver::start(|at, _| match at {
        0 => ("200 OK", "x".into()),
        _ => ("302 Found\r\nlocation: http://127.0.0.1:1/", String::new()),
    });
    let database = reaching(&fixture.database, &receiver);
    let hooks = declared(
        &database,
        json!([{"name": "h", "on": ["before_run", "after_run"], "http": {"url": format!("http://{}/x", receiver.address)}}]),
    );
    let error = apply_with(&database, &Caller::operator("t"), &source, &hooks)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("answered 302"), "{error}");
    let (head, body) = receiver.heard().remove(0);
    assert!(
        head.to_ascii_lowercase()
            .contains("idempotency-key: t/before_run/-/h\r\n"),
        "{head}"
    );
    assert_eq!(
        (&body["idempotency_key"], &body["database"], &body["kind"]),
        (&json!("t/before_run/-/h"), &json!("shop"), &json!("apply"))
    );
    assert!(!body.to_string().contains("CREATE"), "{body}");
}

#[tokio::test]
async fn gives_up_on_a_hook_that_does_not_answer() {
    let (fixture, source) = with_log(Dialect::Sqlite, true).await;
    let receiver = Receiver::start(|_, _| {
        loop {
            std::thread::park();
        }
    });
    let database = reaching(&fixture.database, &receiver);
    let hooks = declared(
        &database,
        json!([{"name": "h", "on": ["before_run"], "timeout_seconds": 1, "http": {"url": format!("http://{}/x", receiver.address)}}]),
    );
    let error = apply_with(&database, &Caller::operator("t"), &source, &hooks)
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("did not answer in time"),
        "{error}"
    );
    let (fixture, source) = with_log(Dialect::Postgres, true).await;
    let database = &fixture.database;
    let hooks = declared(
        database,
        json!([{"name": "h", "on": ["before_run"], "timeout_seconds": 1, "sql": "SELECT pg_sleep(600)"}]),
    );
    let error = apply_with(database, &Caller::operator("t"), &source, &hooks)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("statement timeout"), "{error}");
    assert_eq!(
        status(database, &source).await.head.as_deref(),
        Some("0001")
    );
}

#[tokio::test]
async fn backs_up_before_the_first_step_that_destroys_and_keeps_the_answer() {
    for dialect in BOTH {
        let (fixture, mut source) = with_log(dialect, true).await;
        let more = migrations(
            dialect,
            &[
                ("x", "SELECT 1", ""),
                ("y", "SELECT 1", ""),
                ("z", "SELECT 1", ""),
                ("drop", "DROP TABLE a", "CREATE TABLE a (x INTEGER)"),
            ],
        );
        source.push(more[3].clone());
        let receiver = Receiver::start(|_, _| ("200 OK", r#"{"result": "backup-17"}"#.into()));
        let database = reaching(&fixture.database, &receiver);
        let url = format!("http://{}/backup", receiver.address);
        let hooks = declared(
            &database,
            json!([{"name": "dump", "on": ["backup"], "http": {"url": url}}, {"name": "point", "on": ["backup"], "sql": "SELECT 40 + 2"}]),
        );
        apply(&database, &Caller::operator("first"), &source[..3], None)
            .await
            .unwrap();
        execute(&database, "INSERT INTO a VALUES (1)").await;
        let wait = apply_with(&database, &Caller::operator("t"), &source, &hooks).await;
        let caller = Caller::operator("t").approved(&digest_of(wait.unwrap_err()));
        assert!(
            receiver.heard().is_empty(),
            "nothing runs before the approval"
        );
        let applied = apply_with(&database, &caller, &source, &hooks)
            .await
            .unwrap();
        assert_eq!(receiver.events(), ["backup 0004"]);
        let results: Vec<_> = applied
            .hooks
            .iter()
            .map(|call| (call.point, call.result.as_deref()))
            .collect();
        assert!(
            results.contains(&(Point::Backup, Some("backup-17"))),
            "{dialect:?} {results:?}"
        );
        assert!(
            results.contains(&(Point::Backup, Some("42"))),
            "{dialect:?} {results:?}"
        );
    }
}

#[tokio::test]
async fn tells_who_holds_the_lock_at_most_once_a_second() {
    let (fixture, source) = with_log(Dialect::Postgres, true).await;
    apply(
        &fixture.database,
        &Caller::operator("first"),
        &source[..2],
        None,
    )
    .await
    .unwrap();
    let mut held = session(&fixture.database).await;
    held.execute("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let pid = held.backend();
    let held = Arc::new(tokio::sync::Mutex::new(Some(held)));
    let (free, (told, mut hear)) = (held.clone(), tokio::sync::mpsc::unbounded_channel());
    tokio::spawn(async move {
        hear.recv().await;
        let held = free.lock().await.take().unwrap();
        held.close().await.unwrap();
    });
    let receiver = Receiver::start(move |_, _| {
        told.send(()).ok();
        ("200 OK", String::new())
    });
    let database = reaching(&fixture.database, &receiver);
    let hooks = declared(
        &database,
        json!([{"name": "who", "on": ["on_lock_wait"], "http": {"url": format!("http://{}/x", receiver.address)}}]),
    );
    let mut source = source[..2].to_vec();
    source.extend(
        migrations(
            Dialect::Postgres,
            &[
                ("p", "SELECT 1", ""),
                ("q", "SELECT 1", ""),
                (
                    "c",
                    "ALTER TABLE a ADD COLUMN y int",
                    "ALTER TABLE a DROP COLUMN y",
                ),
            ],
        )
        .split_off(2),
    );
    let applied = apply_with(&database, &Caller::operator("t"), &source, &hooks)
        .await
        .unwrap();
    assert_eq!(applied.head.as_deref(), Some("0003"));
    let heard = receiver.heard();
    let blockers = heard[0].1["blockers"].as_array().unwrap();
    let mine = blockers
        .iter()
        .find(|one| one["pid"] == json!(pid))
        .unwrap();
    assert_eq!(mine["application_name"], "db-migrator/test");
    assert!(mine["seconds"].as_i64().is_some());
}

#[tokio::test]
async fn repeats_an_external_hook_under_its_key_and_an_sql_hook_never() {
    for dialect in BOTH {
        let (fixture, source) = with_log(dialect, true).await;
        let receiver = Receiver::start(|_, _| ("200 OK", String::new()));
        let database = reaching(&fixture.database, &receiver);
        let url = format!("http://{}/x", receiver.address);
        let hooks = declared(
            &database,
            json!([line("after_step"), {"name": "tell", "on": ["after_step"], "http": {"url": url}}]),
        );
        // The run ends at every point of every tool call in turn, as by a crash, and goes on.
        let mut point = 0;
        loop {
            let seen = AtomicUsize::new(0);
            let caller = Caller::operator("t").hook(move |line| {
                let write = line.contains(".execute ")
                    || line.contains(".commit ")
                    || line.contains("http.post");
                (write && seen.fetch_add(1, Ordering::SeqCst) == point)
                    .then(|| SkillError::failed("crash"))
            });
            let ran = apply_with(&database, &caller, &source, &hooks).await;
            // A crash leaves a run without an outcome.
            execute(
                &database,
                &format!(
                    "UPDATE {}run SET outcome = NULL WHERE id = 't'",
                    ledger(dialect)
                ),
            )
            .await;
            if ran.is_ok() {
                break;
            }
            point += 1;
            assert!(point < 60, "it never ends");
        }
        assert_eq!(
            lines(&database).await,
            ["after_step", "after_step"],
            "{dialect:?}"
        );
        let mut keys: Vec<_> = receiver
            .heard()
            .iter()
            .map(|(_, body)| body["idempotency_key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(
            keys,
            ["t/after_step/0002/tell", "t/after_step/0003/tell"],
            "{dialect:?}"
        );
    }
}

#[tokio::test]
async fn wants_an_approval_for_hooks_that_a_request_adds_to_a_rollback() {
    let (fixture, source) = with_log(Dialect::Sqlite, true).await;
    apply(&fixture.database, &Caller::operator("a"), &source, None)
        .await
        .unwrap();
    let database = database(&fixture.url, false);
    let hooks = declared(&database, json!([line("before_run")]));
    let roll = async |caller: &Caller, hooks: &[Hook]| {
        let (context, metrics) = (caller.context(), crate::Metrics::default());
        let job = Job {
            context: &context,
            database: &database,
            metrics: &metrics,
        };
        let goal = Goal::Version(Version::parse("0002").unwrap());
        engine::rollback(
            job,
            engine::RollbackRequest {
                goal,
                hooks,
                covered: None,
            },
        )
        .await
    };
    let wait = roll(&Caller::coordinator("r"), &hooks).await.unwrap_err();
    let digest = digest_of(wait);
    let done = roll(&Caller::coordinator("r").approved(&digest), &hooks)
        .await
        .unwrap();
    assert_eq!(done.head.as_deref(), Some("0002"));
    assert_eq!(lines(&database).await, ["before_run"]);
}
