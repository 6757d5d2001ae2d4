//! Connections that break while they commit, poolers, standbys.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, sleep},
};

use super::support::*;
use crate::domain::{Dialect, Migration};

/// The first is sent at once; the second is measured between its statements, which are sent one by one.
fn source() -> Vec<Migration> {
    migrations(
        Dialect::Postgres,
        &[
            (
                "a",
                "CREATE TABLE log (line text NOT NULL); CREATE TABLE a (x int)",
                "DROP TABLE a; DROP TABLE log",
            ),
            (
                "b",
                "INSERT INTO log VALUES ('b'); CREATE TABLE b (x int)",
                "DROP TABLE b; DELETE FROM log WHERE line = 'b'",
            ),
            (
                "c",
                "INSERT INTO log VALUES ('c'); CREATE INDEX CONCURRENTLY b_x ON b (x); INSERT INTO log VALUES ('c')",
                "DELETE FROM log WHERE line = 'c'; DROP INDEX CONCURRENTLY b_x",
            ),
        ],
    )
}

async fn check(database: &crate::clients::Database) {
    assert_eq!(
        count(database, "SELECT count(*) FROM log").await,
        3,
        "each statement once"
    );
    let open = "SELECT count(*) FROM db_migrator.migration WHERE state <> 'applied'";
    assert_eq!(count(database, open).await, 0);
}

#[tokio::test]
async fn goes_on_by_itself_when_its_backend_is_ended_at_each_commit_and_statement() {
    for moment in [
        "begin postgres.commit",
        "begin postgres.execute",
        "recorded postgres.execute",
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        let ended = Arc::new(AtomicUsize::new(0));
        let (seen, url) = (ended.clone(), fixture.url.clone());
        let caller = Caller::operator("t").hook(move |line| {
            // At the first of each migration.
            let at = format!("migrations/000{}", seen.load(Ordering::SeqCst) + 1);
            if line.starts_with(moment) && line.contains(&at) {
                seen.fetch_add(1, Ordering::SeqCst);
                let url = url.clone();
                let end = move || {
                    tokio::runtime::Runtime::new().unwrap().block_on(execute(
                        &database(&url, true),
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'db-migrator-owner/t'",
                    ));
                };
                std::thread::spawn(end).join().unwrap();
            }
            None
        });
        let applied = apply(&fixture.database, &caller, &source(), None)
            .await
            .unwrap_or_else(|error| panic!("{moment}: {error}"));
        assert_eq!(applied.head.as_deref(), Some("0003"), "{moment}");
        assert_eq!(ended.load(Ordering::SeqCst), 3, "{moment}");
        check(&fixture.database).await;
    }
}

/// Passes bytes on; once armed, it delivers the next `COMMIT` and cuts the connection before the answer.
async fn cutting_proxy(server: String, armed: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(pass(client, server.clone(), armed.clone()));
        }
    });
    port
}

async fn pass(client: TcpStream, server: String, armed: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
    let answers = tokio::spawn(async move {
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
        from_server
    });
    let mut buffer = vec![0; 65_536];
    loop {
        let length = from_client.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        let bytes = &buffer[..length];
        let commits = bytes.windows(6).any(|word| word == b"COMMIT");
        if commits && armed.swap(false, Ordering::SeqCst) {
            answers.abort();
            to_server.write_all(bytes).await.unwrap();
            // The server commits; nobody hears of it.
            sleep(Duration::from_millis(200)).await;
            return;
        }
        if to_server.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_the_outcome_of_a_commit_whose_answer_was_lost() {
    for version in 1..=3 {
        let fixture = fixture(Dialect::Postgres, true);
        let address = fixture.url.split('@').nth(1).unwrap();
        let server = address.split('/').next().unwrap().to_owned();
        let armed = Arc::new(AtomicBool::new(false));
        let port = cutting_proxy(server.clone(), armed.clone()).await;
        let through = database(
            &fixture.url.replace(&server, &format!("127.0.0.1:{port}")),
            true,
        );
        let (arm, cuts) = (armed.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = cuts.clone();
        let caller = Caller::operator("t").hook(move |line| {
            let commit = format!("begin postgres.commit databases/shop migrations/000{version}");
            if line == commit && seen.fetch_add(1, Ordering::SeqCst) == 0 {
                arm.store(true, Ordering::SeqCst);
            }
            None
        });
        let applied = apply(&through, &caller, &source(), None)
            .await
            .unwrap_or_else(|error| panic!("cut in {version}: {error}"));
        assert_eq!(applied.head.as_deref(), Some("0003"));
        assert!(!armed.load(Ordering::SeqCst), "the connection was cut");
        check(&fixture.database).await;
    }
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A pooler in transaction mode; `None` where it is not installed.
fn pooler(folder: &Path, server: &str, mode: &str) -> Option<(Stopped, u16)> {
    use std::os::unix::fs::PermissionsExt;
    let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let (host, port) = server.split_once(':').unwrap();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = own.local_addr().unwrap().port();
    drop(own);
    let file = folder.join("pgbouncer.ini");
    let settings = format!(
        "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = {mode}\nignore_startup_parameters = options,extra_float_digits\n"
    );
    std::fs::write(&file, settings).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
    {
        command.args(["-u", "nobody"]);
    }
    let child = Stopped(command.spawn().unwrap());
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", listen)).is_ok() {
            return Some((child, listen));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the pooler does not listen");
}

#[tokio::test]
async fn refuses_a_pooler_in_transaction_mode_and_works_through_one_in_session_mode() {
    let fixture = fixture(Dialect::Postgres, true);
    let address = fixture.url.split('@').nth(1).unwrap();
    let server = address.split('/').next().unwrap();
    for mode in ["transaction", "session"] {
        let folder = tempfile::tempdir().unwrap();
        let Some((_pooler, port)) = pooler(folder.path(), server, mode) else {
            println!("skipped: pgbouncer is not installed");
            return;
        };
        let through = database(
            &fixture.url.replace(server, &format!("127.0.0.1:{port}")),
            true,
        );
        let applied = apply(&through, &Caller::operator("t"), &source(), None).await;
        if mode == "transaction" {
            let error = applied.unwrap_err().to_string();
            assert!(error.contains("pooler in transaction mode"), "{error}");
            let ledger = "SELECT (to_regclass('db_migrator.run') IS NULL)::int::bigint";
            assert_eq!(
                count(&fixture.database, ledger).await,
                1,
                "nothing was written"
            );
        } else {
            assert_eq!(applied.unwrap().head.as_deref(), Some("0003"));
        }
    }
}
