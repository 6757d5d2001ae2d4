//! Two agents with keys, and an auditor with a store.

use std::{sync::Arc, time::Duration};

use audit::{Envelope, Phase, Record, record::GENESIS};
use identity::{Directory, DirectoryEntry, ListedKey, Principal, SigningKey, SpiffeId};
use prometheus_client::registry::Registry;
use shared::{Context, Skill, SkillError, context::Work, testing::FakeAgent};
use store::{Store, memory::MemoryStore};
use time::macros::datetime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    AppendAuditRecords,
    append_audit_records::{Input, Output},
};
use crate::metrics::Metrics;

pub(crate) struct Mesh {
    pub(crate) key: SigningKey,
    pub(crate) other: SigningKey,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Registry,
}

/// A record of db-migrator, changed and signed.
pub(crate) fn sign(
    key: &SigningKey,
    counter: u64,
    prev: &str,
    change: impl FnOnce(&mut Record),
) -> Envelope {
    let mut record = Record {
        schema: audit::record::SCHEMA.into(),
        id: format!("record-{counter}"),
        time: format!("2026-11-22T10:{:02}:{:02}.000Z", counter / 60, counter % 60),
        did: key.public().did().to_string(),
        agent: "spiffe://mesh.local/ns/data-system/sa/db-migrator".into(),
        counter,
        prev: prev.into(),
        call_id: format!("call-{counter}"),
        phase: Phase::Outcome,
        caller: "spiffe://mesh.local/external/operator".into(),
        on_behalf_of: None,
        action: "migration_status".into(),
        resources: vec!["postgres/shop".into()],
        decision: "ok".into(),
        input_sha256: None,
        output_sha256: None,
        policy_sha256: None,
        trace_id: None,
        span_id: None,
        task_id: None,
    };
    change(&mut record);
    Envelope::sign(key, &key.key_id(), &record.to_bytes())
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(MemoryStore::default()))
    }

    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let listed = |key: &SigningKey| {
            ListedKey::new(
                key.public(),
                datetime!(2026-01-01 00:00 UTC),
                datetime!(2027-01-01 00:00 UTC),
            )
        };
        let id = |namespace, name| SpiffeId::workload("mesh.local", namespace, name).unwrap();
        let directory = Directory::new(vec![
            DirectoryEntry::new(
                "db-migrator",
                id("data-system", "db-migrator"),
                listed(&key),
            ),
            DirectoryEntry::new(
                "cost-analyzer",
                id("finops-system", "cost-analyzer"),
                listed(&other),
            ),
        ])
        .unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self {
            key,
            other,
            directory: Arc::new(directory),
            store,
            metrics,
            registry,
        }
    }

    /// db-migrator's first records.
    pub(crate) fn chain(&self, length: u64) -> Vec<Envelope> {
        self.chain_with(length, |_| ())
    }

    pub(crate) fn chain_with(&self, length: u64, change: impl Fn(&mut Record)) -> Vec<Envelope> {
        let mut prev = GENESIS.to_owned();
        let mut chain = Vec::new();
        for counter in 1..=length {
            let envelope = sign(&self.key, counter, &prev, &change);
            prev = envelope.read_unverified().unwrap().hash;
            chain.push(envelope);
        }
        chain
    }

    /// The auditor's context when an agent, by its namespace and name, calls.
    pub(crate) fn context_of(&self, caller: Principal) -> Context {
        let (_, agent) = FakeAgent::default().store(self.store.clone()).context();
        let work = Work {
            task_id: "loop:audit-delivery".into(),
            skill: "append_audit_records".into(),
            caller,
            on_behalf_of: None,
            deadline: Instant::now() + Duration::from_secs(30),
            tool_calls: Arc::default(),
            input_digest: String::new(),
        };
        Context::new(work, None, CancellationToken::new(), agent)
    }

    pub(crate) fn context(&self) -> Context {
        FakeAgent::default().store(self.store.clone()).context().0
    }

    pub(crate) async fn append(&self, records: &[Envelope]) -> Result<Output, SkillError> {
        self.deliver(Input {
            records: records.to_vec(),
            after_gap: false,
        })
        .await
    }

    pub(crate) async fn append_after_gap(
        &self,
        records: &[Envelope],
    ) -> Result<Output, SkillError> {
        self.deliver(Input {
            records: records.to_vec(),
            after_gap: true,
        })
        .await
    }

    async fn deliver(&self, input: Input) -> Result<Output, SkillError> {
        let skill = AppendAuditRecords {
            directory: self.directory.clone(),
            metrics: self.metrics.clone(),
        };
        let context = self.context_of(Principal::agent("data-system", "db-migrator", "mesh.local"));
        skill.run(&context, input).await
    }
}
