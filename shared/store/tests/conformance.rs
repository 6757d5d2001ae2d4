//! One suite of promises, run over all three stores; and what only the durable ones promise.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test; tables of cases are long"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use futures::future::join_all;
use store::{
    Entry, Scan, Store, StoreError, Write, memory::MemoryStore, postgres::PostgresStore,
    sqlite::SqliteStore, testing::TemporaryPostgres,
};

const TASKS: &str = "tasks";
const OTHER: &str = "other";

fn entry(key: &str, scope: &str, sort: &str, body: &str) -> Entry {
    Entry {
        key: key.into(),
        scope: scope.into(),
        sort: sort.into(),
        version: 0,
        body: body.into(),
    }
}

fn insert(key: &str, scope: &str, sort: &str) -> Write {
    Write::Insert {
        collection: TASKS,
        entry: entry(key, scope, sort, "{}"),
    }
}

fn update(key: &str, version: u64, body: &str) -> Write {
    Write::Update {
        collection: TASKS,
        entry: Entry {
            version,
            ..entry(key, "s", "1", body)
        },
    }
}

fn conflict(key: &str) -> Result<(), StoreError> {
    Err(StoreError::Conflict {
        collection: TASKS,
        key: key.into(),
    })
}

fn keys(entries: &[Entry]) -> String {
    entries
        .iter()
        .map(|e| e.key.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

async fn versions_grow_by_one(store: &dyn Store) {
    let put = |body: &str| Write::Put {
        collection: TASKS,
        entry: entry("v", "s", "1", body),
    };
    store.submit(vec![insert("v", "s", "1")]).await.unwrap();
    store.submit(vec![put("b")]).await.unwrap();
    store.submit(vec![update("v", 2, "c")]).await.unwrap();
    let expected = Entry {
        version: 3,
        ..entry("v", "s", "1", "c")
    };
    assert_eq!(store.get(TASKS, "v").await.unwrap(), Some(expected));
    assert_eq!(
        store.get(OTHER, "v").await.unwrap(),
        None,
        "collections are separate"
    );
    store
        .submit(vec![
            Write::Delete {
                collection: TASKS,
                key: "v".into(),
            },
            put("again"),
        ])
        .await
        .unwrap();
    assert_eq!(
        store.get(TASKS, "v").await.unwrap().unwrap().version,
        1,
        "a deleted key starts anew"
    );
}

async fn conflicts_are_refused(store: &dyn Store) {
    store.submit(vec![insert("c", "s", "1")]).await.unwrap();
    assert_eq!(
        store.submit(vec![insert("c", "s", "1")]).await,
        conflict("c")
    );
    assert_eq!(store.submit(vec![update("c", 2, "x")]).await, conflict("c"));
    assert_eq!(store.submit(vec![update("c", 0, "x")]).await, conflict("c"));
    assert_eq!(
        store.submit(vec![update("absent", 0, "x")]).await,
        conflict("absent")
    );
    assert_eq!(
        store.submit(vec![update("absent", 1, "x")]).await,
        conflict("absent")
    );
    store
        .submit(vec![Write::Delete {
            collection: TASKS,
            key: "absent".into(),
        }])
        .await
        .unwrap();
    assert_eq!(store.get(TASKS, "c").await.unwrap().unwrap().version, 1);
}

async fn a_batch_is_all_or_nothing(store: &dyn Store) {
    store.submit(vec![insert("old", "s", "1")]).await.unwrap();
    let batch = vec![
        insert("new", "s", "1"),
        update("old", 1, "changed"),
        Write::Delete {
            collection: TASKS,
            key: "old".into(),
        },
        Write::Put {
            collection: OTHER,
            entry: entry("put", "s", "1", "{}"),
        },
        insert("new", "s", "1"),
        insert("never", "s", "1"),
    ];
    assert_eq!(store.submit(batch).await, conflict("new"));
    assert_eq!(
        store.get(TASKS, "old").await.unwrap(),
        Some(Entry {
            version: 1,
            ..entry("old", "s", "1", "{}")
        })
    );
    for (collection, key) in [(TASKS, "new"), (TASKS, "never"), (OTHER, "put")] {
        assert_eq!(store.get(collection, key).await.unwrap(), None, "{key}");
    }
    assert_eq!(
        keys(
            &store
                .scan(Scan {
                    collection: TASKS,
                    limit: 9,
                    ..Scan::default()
                })
                .await
                .unwrap()
        ),
        "old"
    );
}

async fn batches_apply_in_the_order_of_submission(store: &dyn Store) {
    store.submit(vec![insert("n", "s", "1")]).await.unwrap();
    let waiting: Vec<_> = (1..=300)
        .map(|version| store.submit(vec![update("n", version, &version.to_string())]))
        .collect();
    assert!(
        join_all(waiting)
            .await
            .into_iter()
            .all(|result| result.is_ok())
    );
    let last = store.get(TASKS, "n").await.unwrap().unwrap();
    assert_eq!((last.version, last.body), (301, b"300".to_vec()));
}

async fn a_failed_batch_fails_those_that_build_on_it_and_no_other(store: &dyn Store) {
    store
        .submit(vec![insert("head", "s", "1"), insert("taken", "s", "1")])
        .await
        .unwrap();
    let first = store.submit(vec![update("head", 1, "1")]);
    let bad = store.submit(vec![update("head", 2, "2"), insert("taken", "s", "1")]);
    let after = store.submit(vec![update("head", 3, "3")]);
    let apart = store.submit(vec![insert("apart", "s", "1")]);
    assert_eq!(apart.await, Ok(()), "the last one, awaited first");
    assert_eq!(
        (first.await, bad.await, after.await),
        (Ok(()), conflict("taken"), conflict("head"))
    );
    assert_eq!(store.get(TASKS, "head").await.unwrap().unwrap().body, b"1");
}

async fn a_dropped_future_does_not_take_its_batch_back(store: &dyn Store) {
    drop(store.submit(vec![insert("dropped", "s", "1")]));
    store.submit(vec![insert("later", "s", "1")]).await.unwrap();
    assert!(store.get(TASKS, "dropped").await.unwrap().is_some());
}

async fn scans_follow_order_scope_and_cursor(store: &dyn Store) {
    // Byte order: upper case before lower case, 'é' (0xC3 0xA9) after 'z', and ties broken by key.
    let entries = [
        ("k1", "a", "m"),
        ("k2", "a", "Z"),
        ("k3", "b", "m"),
        ("k4", "a", "é"),
        ("k0", "a", "m"),
        ("k5", "b", "z"),
    ];
    store
        .submit(
            entries
                .map(|(key, scope, sort)| insert(key, scope, sort))
                .to_vec(),
        )
        .await
        .unwrap();
    store
        .submit(vec![Write::Put {
            collection: OTHER,
            entry: entry("foreign", "a", "m", "{}"),
        }])
        .await
        .unwrap();
    let all = Scan {
        collection: TASKS,
        limit: 99,
        ..Scan::default()
    };
    let in_a = Scan {
        scope: Some("a".into()),
        ..all.clone()
    };
    let at = |sort: &str, key: &str| Some((sort.to_owned(), key.to_owned()));
    let cases = [
        (all.clone(), "k2 k0 k1 k3 k5 k4"),
        (
            Scan {
                descending: true,
                ..all.clone()
            },
            "k4 k5 k3 k1 k0 k2",
        ),
        (
            Scan {
                limit: 2,
                ..all.clone()
            },
            "k2 k0",
        ),
        (
            Scan {
                limit: 0,
                ..all.clone()
            },
            "",
        ),
        (
            Scan {
                after: at("m", "k0"),
                ..all.clone()
            },
            "k1 k3 k5 k4",
        ),
        (
            Scan {
                after: at("m", "k1"),
                descending: true,
                ..all.clone()
            },
            "k0 k2",
        ),
        (in_a.clone(), "k2 k0 k1 k4"),
        (
            Scan {
                descending: true,
                limit: 3,
                ..in_a.clone()
            },
            "k4 k1 k0",
        ),
        (
            Scan {
                after: at("m", ""),
                ..in_a.clone()
            },
            "k0 k1 k4",
        ),
        (
            Scan {
                after: at("m", "k0"),
                limit: 1,
                ..in_a.clone()
            },
            "k1",
        ),
        (
            Scan {
                after: at("é", "k4"),
                ..in_a.clone()
            },
            "",
        ),
        (
            Scan {
                scope: Some("none".into()),
                ..all.clone()
            },
            "",
        ),
        (
            Scan {
                collection: "nothing",
                ..all.clone()
            },
            "",
        ),
    ];
    for (scan, expected) in cases {
        assert_eq!(
            keys(&store.scan(scan.clone()).await.unwrap()),
            expected,
            "{scan:?}"
        );
    }
    let moved = Write::Put {
        collection: TASKS,
        entry: entry("k5", "a", "A", "{}"),
    };
    store.submit(vec![moved]).await.unwrap();
    assert_eq!(
        keys(&store.scan(in_a).await.unwrap()),
        "k5 k2 k0 k1 k4",
        "a rewritten entry has its new place only"
    );
    assert_eq!(store.count(TASKS, None).await.unwrap(), 6);
    assert_eq!(store.count(TASKS, Some("a")).await.unwrap(), 5);
    assert_eq!(store.count(TASKS, Some("none")).await.unwrap(), 0);
    assert_eq!(store.count("nothing", None).await.unwrap(), 0);
}

async fn unstorable_keys_are_refused_alike(store: &dyn Store) {
    let invalid = |field| {
        Err(StoreError::Unavailable(format!(
            "{field} of an entry of tasks is longer than 512 bytes or holds a NUL"
        )))
    };
    let long = "x".repeat(513);
    assert_eq!(
        store
            .submit(vec![insert("fine", "s", "1"), insert("a\0b", "s", "1")])
            .await,
        invalid("key")
    );
    assert_eq!(
        store.submit(vec![insert("k", &long, "1")]).await,
        invalid("scope")
    );
    assert_eq!(
        store.submit(vec![insert("k", "s", &long)]).await,
        invalid("sort")
    );
    assert_eq!(
        store
            .submit(vec![Write::Delete {
                collection: TASKS,
                key: long.clone()
            }])
            .await,
        invalid("key")
    );
    assert_eq!(store.count(TASKS, None).await.unwrap(), 0);
    assert_eq!(store.get(TASKS, "a\0b").await, Ok(None));
    assert_eq!(store.count(TASKS, Some("\0")).await, Ok(0));
    let nowhere = Scan {
        collection: TASKS,
        limit: 9,
        after: Some(("\0".into(), String::new())),
        ..Scan::default()
    };
    assert_eq!(store.scan(nowhere).await, Ok(Vec::new()));
    let longest = &long[1..];
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let entry = Entry {
        body: body.clone(),
        ..entry(longest, longest, longest, "")
    };
    store
        .submit(vec![Write::Insert {
            collection: TASKS,
            entry,
        }])
        .await
        .unwrap();
    assert_eq!(store.get(TASKS, longest).await.unwrap().unwrap().body, body);
}

/// A random history against a plain map: the second, naive implementation.
async fn agrees_with_a_plain_map(store: &dyn Store) {
    let mut model = std::collections::BTreeMap::<String, Entry>::new();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..400 {
        let mut next = model.clone();
        let (mut batch, mut holds) = (Vec::new(), true);
        for _ in 0..=random(3) {
            let key = format!("k{}", random(6));
            let new = entry(
                &key,
                &format!("s{}", random(2)),
                &format!("{}", random(3)),
                &random(100).to_string(),
            );
            let stored = next.get(&key).map_or(0, |e| e.version);
            let guess = stored.max(1) + random(4) / 3;
            let entry = Entry {
                version: guess,
                ..new.clone()
            };
            let (write, fits) = match random(4) {
                0 => (
                    Write::Insert {
                        collection: TASKS,
                        entry,
                    },
                    stored == 0,
                ),
                1 => (
                    Write::Put {
                        collection: TASKS,
                        entry,
                    },
                    true,
                ),
                2 => (
                    Write::Update {
                        collection: TASKS,
                        entry,
                    },
                    stored == guess,
                ),
                _ => (
                    Write::Delete {
                        collection: TASKS,
                        key: key.clone(),
                    },
                    true,
                ),
            };
            if matches!(write, Write::Delete { .. }) {
                next.remove(&key);
            } else {
                next.insert(
                    key,
                    Entry {
                        version: stored + 1,
                        ..new
                    },
                );
            }
            holds &= fits;
            batch.push(write);
        }
        assert_eq!(store.submit(batch).await.is_ok(), holds);
        if holds {
            model = next;
        }
    }
    let mut expected: Vec<Entry> = model.into_values().filter(|e| e.scope == "s1").collect();
    expected.sort_by(|a, b| (&a.sort, &a.key).cmp(&(&b.sort, &b.key)));
    let scan = Scan {
        collection: TASKS,
        scope: Some("s1".into()),
        limit: 99,
        ..Scan::default()
    };
    assert_eq!(store.scan(scan).await.unwrap(), expected);
}

/// Runs every promise on a fresh store each.
async fn keeps_every_promise(fresh: impl AsyncFn() -> Arc<dyn Store>) {
    versions_grow_by_one(&*fresh().await).await;
    conflicts_are_refused(&*fresh().await).await;
    a_batch_is_all_or_nothing(&*fresh().await).await;
    batches_apply_in_the_order_of_submission(&*fresh().await).await;
    a_failed_batch_fails_those_that_build_on_it_and_no_other(&*fresh().await).await;
    a_dropped_future_does_not_take_its_batch_back(&*fresh().await).await;
    scans_follow_order_scope_and_cursor(&*fresh().await).await;
    unstorable_keys_are_refused_alike(&*fresh().await).await;
    agrees_with_a_plain_map(&*fresh().await).await;
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    keeps_every_promise(async || Arc::new(MemoryStore::default()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn sqlite_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::cell::Cell::new(0);
    keeps_every_promise(async || {
        files.set(files.get() + 1);
        store::open(&format!(
            "sqlite:{}/{}.db",
            folder.path().display(),
            files.get()
        ))
        .await
        .unwrap()
    })
    .await;
}

#[tokio::test]
async fn postgres_keeps_every_promise_and_replicas_agree() {
    let server = TemporaryPostgres::start().unwrap();
    let databases = std::cell::Cell::new(0);
    keeps_every_promise(async || {
        databases.set(databases.get() + 1);
        store::open(
            &server
                .create_database(&format!("suite{}", databases.get()))
                .unwrap(),
        )
        .await
        .unwrap()
    })
    .await;
    survives_a_restart(async || PostgresStore::connect(&server.url("suite1")).await.unwrap()).await;
    of_two_replicas_one_wins(&server.create_database("replicas").unwrap()).await;
    loses_no_acknowledged_batch(&server.create_database("killed").unwrap()).await;
    finds_its_way_back_to_a_server_that_dropped_it(&server.create_database("dropped").unwrap())
        .await;
}

async fn finds_its_way_back_to_a_server_that_dropped_it(url: &str) {
    let store = PostgresStore::connect(url).await.unwrap();
    store
        .submit(vec![insert("before", "s", "1")])
        .await
        .unwrap();
    let (admin, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'dropped' AND pid <> pg_backend_pid()";
    assert_eq!(
        admin.query(others, &[]).await.unwrap().len(),
        2,
        "a writer and a reader"
    );
    // The first use may still meet the dead connection; the next makes a new one.
    let mut failures = 0;
    while store.submit(vec![insert("after", "s", "1")]).await.is_err()
        || store.get(TASKS, "before").await.is_err()
    {
        failures += 1;
        assert!(failures < 3);
    }
    assert!(store.get(TASKS, "after").await.unwrap().is_some());
}

#[tokio::test]
async fn sqlite_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    survives_a_restart(async || SqliteStore::open(folder.path().join("s.db")).unwrap()).await;
}

async fn survives_a_restart<S: Store>(open: impl AsyncFn() -> S) {
    let store = open().await;
    store.submit(vec![insert("kept", "s", "1")]).await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(
        store.get(TASKS, "kept").await.unwrap().map(|e| e.version),
        Some(1)
    );
    store.submit(vec![update("kept", 1, "x")]).await.unwrap();
}

/// Both add to the same counters, in opposite order so that they also meet in deadlocks: no addition is lost.
async fn of_two_replicas_one_wins(url: &str) {
    let replicas = [
        PostgresStore::connect(url).await.unwrap(),
        PostgresStore::connect(url).await.unwrap(),
    ];
    let start = |key| Write::Insert {
        collection: TASKS,
        entry: entry(key, "s", "1", "0"),
    };
    replicas[0]
        .submit(vec![start("a"), start("b")])
        .await
        .unwrap();
    let add = async |store: &PostgresStore, keys: [&str; 2]| {
        let mut done = 0;
        while done < 50 {
            let mut batch = Vec::new();
            for key in keys {
                let Entry { version, body, .. } = store.get(TASKS, key).await.unwrap().unwrap();
                let next = String::from_utf8(body).unwrap().parse::<u32>().unwrap() + 1;
                batch.push(update(key, version, &next.to_string()));
            }
            match store.submit(batch).await {
                Ok(()) => done += 1,
                Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error}"),
            }
        }
    };
    futures::join!(add(&replicas[0], ["a", "b"]), add(&replicas[1], ["b", "a"]));
    for key in ["a", "b"] {
        assert_eq!(
            replicas[1].get(TASKS, key).await.unwrap().unwrap().body,
            b"100"
        );
    }
}

#[tokio::test]
async fn sqlite_loses_no_acknowledged_batch_when_killed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        loses_no_acknowledged_batch(&format!("sqlite:{}/{round}.db", folder.path().display()))
            .await;
    }
}

/// Kills a writing process and looks for everything it had acknowledged; halves of batches must not exist.
async fn loses_no_acknowledged_batch(url: &str) {
    let mut child = writer_process(url);
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .filter_map(|l| l.strip_prefix("ack ").map(str::to_owned));
    let mut acknowledged: BTreeSet<String> = lines.by_ref().take(200).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(lines);
    let store = store::open(url).await.unwrap();
    let first: BTreeSet<String> = stored(&*store, "first").await;
    let second: BTreeSet<String> = stored(&*store, "second").await;
    assert!(acknowledged.len() >= 200);
    assert!(
        acknowledged.is_subset(&first),
        "lost {:?}",
        acknowledged.difference(&first).collect::<Vec<_>>()
    );
    assert_eq!(first, second, "a batch is whole or absent");
}

async fn stored(store: &dyn Store, scope: &str) -> BTreeSet<String> {
    let entries = store
        .scan(Scan {
            collection: TASKS,
            scope: Some(scope.into()),
            limit: usize::MAX,
            ..Scan::default()
        })
        .await
        .unwrap();
    entries.into_iter().map(|e| e.sort).collect()
}

fn writer_process(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "writes_until_it_is_killed",
            "--nocapture",
            "--ignored",
        ])
        .env("STORE_UNDER_TEST", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child process of the kill tests, never run by itself.
#[tokio::test]
#[ignore = "started and killed by the kill tests"]
async fn writes_until_it_is_killed() {
    let Ok(url) = std::env::var("STORE_UNDER_TEST") else {
        return;
    };
    let store = store::open(&url).await.unwrap();
    let lane = async |lane: u32| {
        for n in 0.. {
            let number = format!("{lane}-{n:06}");
            store
                .submit(
                    ["first", "second"]
                        .map(|scope| insert(&format!("{scope}-{number}"), scope, &number))
                        .to_vec(),
                )
                .await
                .unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {number}")
                .and_then(|()| out.flush())
                .unwrap();
        }
    };
    join_all((0..16).map(lane)).await;
}

#[tokio::test]
async fn an_unknown_address_is_refused() {
    assert!(matches!(
        store::open("redis://x").await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store::open("sqlite:/nonexistent/folder/x.db").await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store::open("postgres://127.0.0.1:1/x").await,
        Err(StoreError::Unavailable(_))
    ));
}
