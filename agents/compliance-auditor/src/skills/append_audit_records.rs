//! `append_audit_records`: takes what the agents recorded.

use std::sync::Arc;

use audit::Envelope;
use identity::Directory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use time::OffsetDateTime;

use super::unavailable;
use crate::{
    clients::{Delivery, Refusal, Signed, Trail},
    metrics::Metrics,
};

/// Records of one delivery.
const MAX_RECORDS: usize = 500;

/// The skill.
#[derive(Debug)]
pub struct AppendAuditRecords {
    /// Who signs with which key.
    pub directory: Arc<Directory>,
    /// What is counted.
    pub metrics: Metrics,
}

/// One delivery of one agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The calling agent's own records as DSSE envelopes, in the order of their counters.
    #[schemars(length(min = 1, max = 500))]
    pub records: Vec<Envelope>,
    /// The first record may leave a gap, because the records before it are lost at both sides. The gap is noted for good.
    #[serde(default)]
    pub after_gap: bool,
}

/// What was taken.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The agent whose records these are.
    pub agent: String,
    /// Records that are new.
    pub stored: u64,
    /// Records that were there before; they are acknowledged again and not stored twice.
    pub repeated: u64,
    /// Highest counter up to which the agent's records are stored.
    pub contiguous: u64,
}

impl Skill for AppendAuditRecords {
    const ID: &'static str = "append_audit_records";
    const NAME: &'static str = "Append audit records";
    const DESCRIPTION: &'static str = "Takes an agent's own signed audit records in order and stores each once. Answers up to which counter the agent's trail is stored.";
    const TAGS: &'static [&'static str] = &["audit", "append-only", "dsse"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        if !(1..=MAX_RECORDS).contains(&input.records.len()) {
            return Err(SkillError::rejected(
                "records",
                format!("1 to {MAX_RECORDS} envelopes"),
                input.records.len().to_string(),
            ));
        }
        let records = input
            .records
            .into_iter()
            .enumerate()
            .map(|(index, envelope)| self.check(context, index, envelope));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let agent = context.caller().name.clone();
        let received = audit::record::timestamp(OffsetDateTime::now_utc());
        let delivery = Delivery {
            agent: &agent,
            records: &records,
            received: &received,
            after_gap: input.after_gap,
        };
        let appended = Trail::new(context.store()).append(delivery).await;
        let appended = appended.map_err(|refusal| self.refuse(refusal))?;
        self.metrics.stored(appended.stored);
        Ok(Output {
            agent,
            stored: appended.stored,
            repeated: appended.repeated,
            contiguous: appended.contiguous,
        })
    }
}

impl AppendAuditRecords {
    /// A record must be signed with a key that is listed for the caller, and be the caller's own.
    fn check(
        &self,
        context: &Context,
        index: usize,
        envelope: Envelope,
    ) -> Result<Signed, SkillError> {
        let verified = envelope
            .verify_with(&self.directory)
            .map_err(|e| SkillError::Denied(format!("records[{index}]: {e}")))?;
        if verified.record.agent != context.caller().id.as_str() {
            return Err(SkillError::Denied(format!(
                "records[{index}]: {} delivers a record of {}",
                context.caller().id,
                verified.record.agent
            )));
        }
        Ok(Signed { envelope, verified })
    }

    fn refuse(&self, refusal: Refusal) -> SkillError {
        match refusal {
            Refusal::Store(error) => unavailable(error),
            Refusal::Gap { expected, got, .. } => SkillError::rejected(
                "records",
                format!("record {expected} next (or after_gap, when it is lost)"),
                format!("record {got}"),
            ),
            Refusal::Fork { .. } => {
                self.metrics.forked();
                tracing::error!(%refusal, "an agent signed two histories");
                SkillError::Denied(refusal.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use audit::record::GENESIS;
    use identity::SigningKey;

    use store::sqlite::SqliteStore;

    use super::*;
    use crate::skills::fixture::{Mesh, sign};

    #[tokio::test]
    async fn a_repeated_delivery_is_acknowledged_and_stored_once() {
        let mesh = Mesh::new();
        let chain = mesh.chain(5);
        let first = mesh.append(&chain[..3]).await.unwrap();
        assert_eq!(
            first,
            Output {
                agent: "db-migrator".into(),
                stored: 3,
                repeated: 0,
                contiguous: 3
            }
        );
        let again = mesh.append(&chain).await.unwrap();
        assert_eq!((again.stored, again.repeated, again.contiguous), (2, 3, 5));
        let twice = mesh
            .append(&[chain[4].clone(), chain[4].clone()])
            .await
            .unwrap();
        assert_eq!((twice.stored, twice.repeated, twice.contiguous), (0, 2, 5));
        assert_eq!(mesh.store.count("records", None).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_fork_is_refused_and_noted_and_what_came_before_is_kept() {
        let mesh = Mesh::new();
        let chain = mesh.chain(2);
        mesh.append(&chain[..1]).await.unwrap();
        let forged = sign(&mesh.key, 1, GENESIS, |record| {
            record.action = "another".into();
        });
        let error = mesh
            .append(&[chain[0].clone(), chain[1].clone(), forged.clone()])
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "record 1 of db-migrator belongs to another history than the stored one"
        );
        assert_eq!(
            (
                mesh.store.count("records", None).await.unwrap(),
                mesh.store.count("forks", None).await.unwrap()
            ),
            (2, 1)
        );
        mesh.append(&[forged]).await.unwrap_err();
        assert_eq!(
            mesh.store.count("forks", None).await.unwrap(),
            1,
            "the same fork is noted once"
        );
        let other_past = sign(&mesh.key, 3, GENESIS, |_| ());
        assert!(matches!(
            mesh.append(&[other_past]).await,
            Err(SkillError::Denied(_))
        ));
    }

    #[tokio::test]
    async fn gaps_are_refused_unless_the_agent_declares_the_loss() {
        let mesh = Mesh::new();
        let chain = mesh.chain(6);
        mesh.append(&chain[..2]).await.unwrap();
        let error = mesh.append(&chain[3..4]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "records: expected record 3 next (or after_gap, when it is lost), got record 4"
        );
        let taken = mesh.append_after_gap(&chain[3..]).await.unwrap();
        assert_eq!((taken.stored, taken.contiguous), (3, 6));
        assert_eq!(
            mesh.store.count("gaps", Some("db-migrator")).await.unwrap(),
            1
        );
        let late = mesh.append(&chain[2..3]).await;
        assert!(
            matches!(late, Err(SkillError::Denied(_))),
            "what was declared lost does not come back unseen"
        );
    }

    #[tokio::test]
    async fn refuses_records_that_are_not_the_callers_own() {
        let mesh = Mesh::new();
        let stranger = SigningKey::generate();
        let cases = [
            (
                sign(&stranger, 1, GENESIS, |r| {
                    r.did = mesh.key.public().did().to_string();
                }),
                "key is not listed for this SPIFFE id",
            ),
            (
                sign(&mesh.other, 1, GENESIS, |r| {
                    r.agent = "spiffe://mesh.local/ns/finops-system/sa/cost-analyzer".into();
                }),
                "delivers a record of",
            ),
            (
                sign(&mesh.key, 1, GENESIS, |r| r.did = "did:ossa:0".into()),
                "DID is not the agent's",
            ),
        ];
        for (envelope, expected) in cases {
            let error = mesh.append(&[envelope]).await.unwrap_err();
            assert!(
                matches!(&error, SkillError::Denied(why) if why.contains(expected)),
                "{error}"
            );
        }
        assert_eq!(mesh.store.count("records", None).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn refuses_empty_and_oversized_deliveries() {
        let mesh = Mesh::new();
        let one = mesh.chain(1);
        for records in [Vec::new(), vec![one[0].clone(); 501]] {
            assert!(
                matches!(mesh.append(&records).await, Err(SkillError::Rejected { field, .. }) if field == "records")
            );
        }
    }

    #[tokio::test]
    async fn deliveries_at_the_same_time_store_each_record_once() {
        let folder = tempfile::tempdir().unwrap();
        let mesh = Mesh::on(Arc::new(
            SqliteStore::open(folder.path().join("s.db")).unwrap(),
        ));
        let chain = mesh.chain(40);
        let deliveries = (0..8).map(|n| mesh.append(&chain[..40 - n]));
        let taken = futures::future::join_all(deliveries).await;
        assert_eq!(
            taken
                .into_iter()
                .map(|output| output.unwrap().stored)
                .sum::<u64>(),
            40
        );
        assert_eq!(mesh.store.count("records", None).await.unwrap(), 40);
    }
}
