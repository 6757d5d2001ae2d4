//! What the recorder promises: one unbroken chain, whatever fails and whoever else writes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write as _},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
};

use audit::{Envelope, Event, Head, Phase, Record, RecordError, Recorder};
use futures::future::join_all;
use identity::{Directory, DirectoryEntry, ListedKey, SigningKey, SpiffeId};
use store::{
    Entry, Scan, Store, StoreError, Write,
    memory::MemoryStore,
    sqlite::SqliteStore,
    testing::{FaultyStore, TemporaryPostgres},
};
use time::{Duration, OffsetDateTime};

const WORK: &str = "work";

fn own() -> SpiffeId {
    SpiffeId::workload("mesh.local", "data-system", "db-migrator").unwrap()
}

fn event(call: &str) -> Event {
    Event {
        call_id: call.into(),
        action: "apply_migration".into(),
        decision: "ok".into(),
        ..Event::default()
    }
}

fn intent(call: &str) -> Event {
    Event {
        phase: Phase::Intent,
        ..event(call)
    }
}

fn insert(key: &str) -> Write {
    let entry = Entry {
        key: key.into(),
        scope: String::new(),
        sort: String::new(),
        version: 0,
        body: Vec::new(),
    };
    Write::Insert {
        collection: WORK,
        entry,
    }
}

async fn open(store: &Arc<dyn Store>, key: &SigningKey) -> Recorder {
    Recorder::open(store.clone(), key.clone(), &own(), 1_000_000)
        .await
        .unwrap()
}

/// Checks every signature and the chain of the whole outbox.
async fn verified(recorder: &Recorder, keys: &[&SigningKey]) -> Vec<Record> {
    let now = OffsetDateTime::now_utc();
    let listed =
        |key: &SigningKey| ListedKey::new(key.public(), now - Duration::DAY, now + Duration::DAY);
    let mut entry = DirectoryEntry::new("db-migrator", own(), listed(keys[0]));
    entry
        .signing_keys
        .extend(keys[1..].iter().map(|key| listed(key)));
    let directory = Directory::new(vec![entry]).unwrap();
    let mut head = Head::default();
    let mut records = Vec::new();
    for (counter, envelope) in recorder.pending(usize::MAX).await.unwrap() {
        let envelope: Envelope = serde_json::from_value(envelope).unwrap();
        let verified = envelope.verify_with(&directory).unwrap();
        head.follow(&verified).unwrap();
        assert_eq!(head.counter, counter);
        records.push(verified.record);
    }
    records
}

fn calls(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.call_id.as_str())
        .collect()
}

#[tokio::test]
async fn the_chain_goes_on_after_delivery_restart_and_a_new_key() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (first, second) = (SigningKey::generate(), SigningKey::generate());
    let recorder = open(&store, &first).await;
    for call in ["a", "b", "c"] {
        recorder.record(event(call)).unwrap().await.unwrap();
    }
    assert_eq!(
        calls(&verified(&recorder, &[&first]).await),
        ["a", "b", "c"]
    );
    recorder.delivered(2).await.unwrap();
    assert_eq!(recorder.depth(), 1);
    drop(recorder);

    let recorder = open(&store, &second).await;
    assert_eq!(
        (recorder.depth(), recorder.did()),
        (1, first.public().did().as_str())
    );
    recorder.record(event("d")).unwrap().await.unwrap();
    let counters: Vec<u64> = recorder
        .pending(9)
        .await
        .unwrap()
        .into_iter()
        .map(|(counter, _)| counter)
        .collect();
    assert_eq!(counters, [3, 4]);
    recorder.delivered(99).await.unwrap();
    assert_eq!(
        (recorder.depth(), recorder.pending(9).await.unwrap().len()),
        (0, 0)
    );
    assert_eq!(
        store.count(audit::recorder::HEAD, None).await.unwrap(),
        1,
        "one head, whatever happened"
    );
}

#[tokio::test]
async fn records_of_a_rotated_key_form_one_chain() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (first, second) = (SigningKey::generate(), SigningKey::generate());
    open(&store, &first)
        .await
        .record(event("a"))
        .unwrap()
        .await
        .unwrap();
    let recorder = open(&store, &second).await;
    recorder.record(event("b")).unwrap().await.unwrap();
    assert_eq!(
        calls(&verified(&recorder, &[&first, &second]).await),
        ["a", "b"]
    );
}

#[tokio::test]
async fn a_full_outbox_refuses_what_announces_a_change_only() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let recorder = Recorder::open(store, SigningKey::generate(), &own(), 2)
        .await
        .unwrap();
    recorder.record(intent("a")).unwrap().await.unwrap();
    assert!(!recorder.full());
    recorder.record(event("a")).unwrap().await.unwrap();
    assert!(recorder.full());
    assert_eq!(
        recorder.record(intent("b")).err(),
        Some(RecordError::OutboxFull { depth: 2 })
    );
    recorder.record(event("read")).unwrap().await.unwrap();
    assert_eq!(recorder.depth(), 3);
    recorder.delivered(2).await.unwrap();
    recorder.record(intent("b")).unwrap().await.unwrap();
}

#[tokio::test]
async fn writes_and_record_are_kept_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("s.db")).unwrap());
    let key = SigningKey::generate();
    let recorder = open(&store, &key).await;
    recorder
        .record_with(event("first"), vec![insert("x")])
        .unwrap()
        .await
        .unwrap();
    let failing = recorder
        .record_with(event("failing"), vec![insert("y"), insert("x")])
        .unwrap();
    // These are on their way behind the failing one, signed as its successors; nobody waits for the first.
    drop(recorder.record(event("dropped")).unwrap());
    let last = recorder
        .record_with(event("last"), vec![insert("z")])
        .unwrap();
    assert_eq!(
        failing.await,
        Err(StoreError::Conflict {
            collection: WORK,
            key: "x".into()
        })
    );
    last.await.unwrap();
    recorder.record(event("after")).unwrap().await.unwrap();
    let records = loop {
        let records = verified(&recorder, &[&key]).await;
        if records.len() == 4 {
            break records;
        }
        tokio::task::yield_now().await;
    };
    let kept: BTreeSet<&str> = calls(&records).into_iter().collect();
    assert_eq!(kept, BTreeSet::from(["first", "dropped", "last", "after"]));
    assert!(
        store.get(WORK, "y").await.unwrap().is_none()
            && store.get(WORK, "z").await.unwrap().is_some()
    );
    assert_eq!(recorder.depth(), 4);
}

/// Several writers of one chain, a third of whose batches fail: what was acknowledged is there once, in one chain.
async fn many_writers_make_one_chain(stores: Vec<Arc<dyn Store>>) {
    let key = SigningKey::generate();
    let recorders = join_all(stores.iter().map(|store| open(store, &key))).await;
    recorders[0]
        .record_with(event("start"), vec![insert("taken")])
        .unwrap()
        .await
        .unwrap();
    let mut expected = BTreeSet::from([String::from("start")]);
    let mut running = Vec::new();
    for n in 0..120 {
        for (writer, recorder) in recorders.iter().enumerate() {
            let (call, fails) = (format!("{writer}-{n}"), n % 3 == 0);
            let key = if fails {
                String::from("taken")
            } else {
                call.clone()
            };
            running.push((
                fails,
                recorder
                    .record_with(event(&call), vec![insert(&key)])
                    .unwrap(),
            ));
            expected.extend((!fails).then_some(call));
        }
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for (fails, commit) in running {
        assert_eq!(commit.await.is_err(), fails);
    }
    let records = verified(&recorders[0], &[&key]).await;
    let kept: BTreeSet<String> = calls(&records).into_iter().map(str::to_owned).collect();
    assert_eq!(
        (records.len(), kept),
        (expected.len(), expected),
        "each once"
    );
    assert_eq!(
        stores[0].count(audit::recorder::HEAD, None).await.unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_batches_leave_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    many_writers_make_one_chain(vec![Arc::new(
        SqliteStore::open(folder.path().join("s.db")).unwrap(),
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        || Arc::new(SqliteStore::open(folder.path().join("s.db")).unwrap()) as Arc<dyn Store>;
    many_writers_make_one_chain(vec![open(), open()]).await;
    let server = TemporaryPostgres::start().unwrap();
    let url = server.create_database("replicas").unwrap();
    many_writers_make_one_chain(vec![
        store::open(&url).await.unwrap(),
        store::open(&url).await.unwrap(),
    ])
    .await;
}

#[tokio::test]
async fn a_store_that_comes_back_finds_the_chain_unbroken() {
    let failing = Arc::new(FaultyStore::in_memory());
    let store: Arc<dyn Store> = failing.clone();
    let key = SigningKey::generate();
    let recorder = open(&store, &key).await;
    recorder.record(event("before")).unwrap().await.unwrap();
    failing.refuses.store(true, Ordering::SeqCst);
    let lost = [
        recorder.record(event("lost")).unwrap(),
        recorder.record(event("lost too")).unwrap(),
    ];
    for commit in lost {
        assert_eq!(
            commit.await,
            Err(StoreError::Unavailable("disk full".into()))
        );
    }
    failing.refuses.store(false, Ordering::SeqCst);
    recorder.record(event("after")).unwrap().await.unwrap();
    assert_eq!(
        calls(&verified(&recorder, &[&key]).await),
        ["before", "after"]
    );
    assert_eq!(recorder.depth(), 2);
}

#[tokio::test]
async fn oversized_and_deceiving_texts_stay_verifiable() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let key = SigningKey::generate();
    let recorder = open(&store, &key).await;
    let resources = (0..5000)
        .map(|n| format!("{n}\n{}", "ü".repeat(400)))
        .collect();
    let event = Event {
        caller: "x".repeat(9000),
        task_id: Some("a\u{1b}[2Jb".into()),
        resources,
        ..event("big")
    };
    recorder.record(event).unwrap().await.unwrap();
    let record = verified(&recorder, &[&key]).await.remove(0);
    assert!(
        record.to_bytes().len() <= audit::envelope::MAX_PAYLOAD,
        "{}",
        record.to_bytes().len()
    );
    assert_eq!(
        (record.resources.len(), record.task_id.as_deref()),
        (64, Some("a\u{fffd}[2Jb"))
    );
}

#[tokio::test]
async fn a_killed_agent_loses_no_acknowledged_record() {
    let folder = tempfile::tempdir().unwrap();
    let (database, key) = (folder.path().join("s.db"), folder.path().join("key.pem"));
    let signing_key = SigningKey::load_or_generate(&key).unwrap();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "records_until_it_is_killed",
                "--nocapture",
                "--ignored",
            ])
            .env("RECORDER_UNDER_TEST", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .filter_map(|line| line.strip_prefix("ack ").map(str::to_owned));
        let before = acknowledged.len();
        acknowledged.extend(lines.by_ref().take(150));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines);
        assert!(acknowledged.len() >= before + 150);
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(database).unwrap());
    let recorder = open(&store, &signing_key).await;
    let records = verified(&recorder, &[&signing_key]).await;
    let kept: BTreeSet<String> = calls(&records).into_iter().map(str::to_owned).collect();
    assert_eq!(kept.len(), records.len(), "none twice");
    assert!(acknowledged.is_subset(&kept));
    for call in &kept {
        assert!(
            store.get(WORK, call).await.unwrap().is_some(),
            "the effect of {call} is kept with its record"
        );
    }
}

/// The child process of the kill test, never run by itself.
#[tokio::test]
#[ignore = "started and killed by the kill test"]
async fn records_until_it_is_killed() {
    let Some(folder) = std::env::var_os("RECORDER_UNDER_TEST").map(std::path::PathBuf::from) else {
        return;
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.join("s.db")).unwrap());
    let recorder = open(&store, &SigningKey::load(&folder.join("key.pem")).unwrap()).await;
    let process = std::process::id();
    let lane = async |lane: u32| {
        for n in 0.. {
            let call = format!("{process}-{lane}-{n}");
            recorder
                .record_with(event(&call), vec![insert(&call)])
                .unwrap()
                .await
                .unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {call}")
                .and_then(|()| out.flush())
                .unwrap();
        }
    };
    join_all((0..8).map(lane)).await;
}
