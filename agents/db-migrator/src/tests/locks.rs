//! A table that others use: the change waits in short steps and nobody waits behind it for long.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::time::Duration;

use super::support::*;
use crate::{
    Metrics,
    domain::{Dialect, Migration},
};

const TABLE: (&str, &str, &str) = (
    "one",
    "CREATE TABLE one (a INTEGER PRIMARY KEY, b int); INSERT INTO one SELECT g, 0 FROM generate_series(1, 100) g",
    "DROP TABLE one",
);

fn source() -> Vec<Migration> {
    let add = (
        "add",
        "ALTER TABLE one ADD COLUMN c int",
        "ALTER TABLE one DROP COLUMN c",
    );
    migrations(Dialect::Postgres, &[TABLE, add])
}

/// Attempts that the reader sits through before it lets go.
const ATTEMPTS: usize = 12;

/// An application whose queries give up after two seconds in a lock queue: longer than any number of attempts, each of
/// which ends on its own, and shorter than the reader's hold.
async fn application(url: String, stop: Arc<AtomicBool>, at: u64) -> (u64, u64) {
    let database = database(&url, true);
    let mut session = session(&database).await;
    session.execute("SET lock_timeout = '2s'").await.unwrap();
    let (mut done, mut refused) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let sql = format!("UPDATE one SET b = b + 1 WHERE a = {}", at + 1);
        match session.execute(&sql).await {
            Ok(()) => done += 1,
            Err(_) => refused += 1,
        }
    }
    (done, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adds_a_column_behind_a_long_reader_while_the_application_writes() {
    let fixture = fixture(Dialect::Postgres, true);
    let (database, source) = (&fixture.database, source());
    apply(database, &Caller::operator("t"), &source[..1], None)
        .await
        .unwrap();
    let mut reader = session(database).await;
    reader
        .execute("SET application_name = 'long report'; BEGIN; LOCK TABLE one IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let applications = (0..4)
        .map(|at| tokio::spawn(application(fixture.url.clone(), stop.clone(), at)))
        .collect::<Vec<_>>();
    let attempts = Arc::new(AtomicU64::new(0));
    let (seen, (freed, free)) = (attempts.clone(), tokio::sync::oneshot::channel());
    let freed = Mutex::new(Some(freed));
    let caller = Caller::operator("u").hook(move |line| {
        let gave_up = line.starts_with("end postgres.execute") && line.ends_with("failed");
        if gave_up && seen.fetch_add(1, Ordering::SeqCst) + 1 == ATTEMPTS as u64 {
            freed.lock().unwrap().take().map(|freed| freed.send(()));
        }
        None
    });
    let metrics = Metrics::default();
    let release = async {
        free.await.unwrap();
        assert_eq!(
            count(database, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'one'::regclass AND attname = 'c'").await,
            0
        );
        reader.execute("COMMIT").await.unwrap();
    };
    let (applied, ()) = tokio::join!(
        apply_counted(database, &caller, &source, None, &metrics),
        release
    );
    stop.store(true, Ordering::SeqCst);
    assert_eq!(applied.unwrap().migrations.len(), 1);
    let counted = metrics.lock_attempts(Dialect::Postgres);
    let blocked = metrics.blocked_sessions(Dialect::Postgres);
    assert!(counted >= ATTEMPTS as u64, "{counted} attempts gave up");
    println!("{counted} attempts, {blocked} sessions seen behind them");
    for application in applications {
        let (done, refused) = application.await.unwrap();
        assert_eq!(refused, 0, "no query waited for the reader");
        assert!(done > 0);
    }
}

#[tokio::test]
async fn names_who_holds_the_table_when_the_deadline_comes() {
    let fixture = fixture(Dialect::Postgres, true);
    let (database, source) = (&fixture.database, source());
    apply(database, &Caller::operator("t"), &source[..1], None)
        .await
        .unwrap();
    let mut reader = session(database).await;
    reader
        .execute("SET application_name = 'long report'; BEGIN; LOCK TABLE one IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let caller = Caller {
        patience: Duration::from_secs(10),
        ..Caller::operator("u")
    };
    let error = apply(database, &caller, &source, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("application long report, idle in transaction"),
        "{error}"
    );
    assert!(!error.contains("LOCK TABLE"), "{error}");
    // Status needs neither the table nor the run lock.
    assert_eq!(status(database, &[]).await.head.as_deref(), Some("0001"));
}
