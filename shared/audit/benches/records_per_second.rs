//! How many audit records a second does one agent keep, and what of that is the signature?
//!
//! Each variant appends the same records (one skill run: 3 resources, two digests, trace ids; about 900 bytes) with
//! 64 callers that each wait until their record is durable, as concurrent skill runs do. `unsigned` builds the same
//! chain of canonical JSON and the same batch, without key. `memory` shows the processor's share, `sqlite` is what
//! an agent does by default (every record on disk before the answer; callers share the flush).

#![expect(clippy::print_stdout, reason = "prints its table")]

use std::{sync::Arc, time::Duration};

use audit::{Envelope, Event, Phase, Recorder, record::hash};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::future::join_all;
use identity::{SigningKey, SpiffeId};
use store::{Entry, Store, StoreError, Write, memory::MemoryStore, sqlite::SqliteStore};
use tokio::{sync::Mutex, time::Instant};

const CALLERS: u64 = 64;

fn event() -> Event {
    Event {
        call_id: "0199a1b2-0000-7000-8000-000000000000".into(),
        phase: Phase::Outcome,
        caller: "spiffe://mesh.local/ns/observability-system/sa/monitoring-agent".into(),
        on_behalf_of: Some("spiffe://mesh.local/external/operator".into()),
        action: "plan_rollback".into(),
        resources: vec![
            "deployments/shop/web".into(),
            "configmaps/shop/web".into(),
            "services/shop/web".into(),
        ],
        decision: "ok".into(),
        input_sha256: Some(hash(b"input")),
        output_sha256: Some(hash(b"output")),
        policy_sha256: None,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        span_id: Some("b7ad6b7169203331".into()),
        task_id: Some("0199a1b2-0000-7000-8000-000000000001".into()),
    }
}

/// The same work without a key: what is left is the price of the signature.
struct Unsigned {
    store: Arc<dyn Store>,
    chain: Mutex<(u64, String)>,
}

impl Unsigned {
    async fn append(&self, event: Event) -> Result<(), StoreError> {
        let mut chain = self.chain.lock().await;
        let record = serde_json::json!({
            "action": event.action, "agent": "spiffe://mesh.local/ns/deployment-system/sa/rollback-coordinator",
            "call_id": event.call_id, "caller": event.caller, "counter": chain.0 + 1, "decision": event.decision,
            "did": "did:ossa:66687aadf862bd776c8fc18b8e9f8e2008971485", "id": "0199a1b2-0000-7000-8000-000000000000",
            "input_sha256": event.input_sha256, "on_behalf_of": event.on_behalf_of, "output_sha256": event.output_sha256,
            "phase": "outcome", "prev": chain.1, "resources": event.resources, "schema": "ossa.audit/v1",
            "span_id": event.span_id, "task_id": event.task_id, "time": "2026-11-22T10:00:00.000Z", "trace_id": event.trace_id,
        });
        let payload = serde_json_canonicalizer::to_vec(&record).expect("plain JSON");
        *chain = (chain.0 + 1, hash(&payload));
        let body =
            serde_json::to_vec(&serde_json::json!({"payload": BASE64_STANDARD.encode(&payload)}))
                .expect("plain JSON");
        let entry = |key: String, body| Entry {
            sort: key.clone(),
            key,
            scope: String::new(),
            version: 0,
            body,
        };
        let commit = self.store.submit(vec![
            Write::Put {
                collection: "head",
                entry: entry("head".into(), chain.1.clone().into_bytes()),
            },
            Write::Insert {
                collection: "outbox",
                entry: entry(format!("{:020}", chain.0), body),
            },
        ]);
        drop(chain);
        commit.await
    }
}

async fn rate<F: Future<Output = Result<(), StoreError>>>(
    records: u64,
    append: impl Fn() -> F,
) -> f64 {
    let start = Instant::now();
    let callers = (0..CALLERS).map(|_| async {
        for _ in 0..records / CALLERS {
            append().await.expect("the store keeps it");
        }
    });
    join_all(callers).await;
    let seconds = start.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    f64::from(u32::try_from(records / CALLERS * CALLERS).unwrap_or(u32::MAX)) / seconds
}

async fn measure(name: &str, records: u64, store: impl Fn() -> Arc<dyn Store>) {
    let own = SpiffeId::workload("mesh.local", "deployment-system", "rollback-coordinator")
        .expect("a valid id");
    let recorder = Recorder::open(store(), SigningKey::generate(), &own, u64::MAX)
        .await
        .expect("an empty store");
    let signed = rate(records, || {
        recorder.record(event()).expect("room in the outbox")
    })
    .await;
    let plain = Unsigned {
        store: store(),
        chain: Mutex::new((0, hash(b""))),
    };
    let unsigned = rate(records, || plain.append(event())).await;
    println!(
        "{name:<8} {records:>8} records   signed {signed:>9.0}/s   unsigned {unsigned:>9.0}/s   ratio {:.2}",
        signed / unsigned
    );
}

fn alone(signatures: u32) {
    let key = SigningKey::generate();
    let (id, payload) = (key.key_id(), vec![b'x'; 900]);
    let start = Instant::now();
    for _ in 0..signatures {
        std::hint::black_box(Envelope::sign(&key, &id, &payload));
    }
    println!(
        "one core, envelopes only: {:.0}/s",
        f64::from(signatures) / start.elapsed().as_secs_f64()
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = std::cell::Cell::new(0);
    alone(5_000);
    for records in [2_048, 20_480] {
        measure("memory", records, || Arc::new(MemoryStore::default())).await;
        measure("sqlite", records, || {
            files.set(files.get() + 1);
            Arc::new(
                SqliteStore::open(folder.path().join(format!("{}.db", files.get())))
                    .expect("a new file"),
            )
        })
        .await;
    }
}
