//! `verify_audit_trail`: checks signatures and chains of what is stored.

use std::sync::Arc;

use audit::{Break, Head};
use identity::Directory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use store::StoreError;
use tokio::time::Instant;

use super::unavailable;
use crate::{
    clients::{Kept, Trail},
    domain::{ChainVerdict, evidence::ChainBreak},
    metrics::Metrics,
};

/// Records that are read at once.
const STEP: usize = 500;

/// The skill.
#[derive(Debug)]
pub struct VerifyAuditTrail {
    /// Who signs with which key.
    pub directory: Arc<Directory>,
    /// What is measured.
    pub metrics: Metrics,
}

/// Whose records to verify.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of one agent; all when absent.
    pub agent: Option<String>,
}

/// Whether the trail holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Whether every chain holds, without forks.
    pub intact: bool,
    /// Records whose signature and place in the chain hold.
    pub verified: u64,
    /// The verdict on each agent's chain.
    pub agents: Vec<ChainVerdict>,
}

impl Skill for VerifyAuditTrail {
    const ID: &'static str = "verify_audit_trail";
    const NAME: &'static str = "Verify audit trail";
    const DESCRIPTION: &'static str = "Checks the signature of every stored audit record, and that each agent's records form one chain. Answers the counts and the first break of each chain.";
    const TAGS: &'static [&'static str] = &["audit", "integrity", "ed25519"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let start = Instant::now();
        let trail = Trail::new(context.store());
        let known = trail.agents().await.map_err(unavailable)?;
        let agents = match input.agent {
            None => known,
            Some(agent) if known.contains(&agent) => vec![agent],
            Some(agent) => {
                return Err(SkillError::rejected(
                    "agent",
                    "an agent that has audit records",
                    agent.chars().take(64).collect::<String>(),
                ));
            }
        };
        let mut verdicts = Vec::with_capacity(agents.len());
        for (done, agent) in (0..).zip(&agents) {
            context.progress(agent, done, agents.len() as u64);
            verdicts.push(verify(context, &trail, &self.directory, agent, |_| ()).await?);
        }
        self.metrics.took(start.elapsed().as_secs_f64());
        let verified = verdicts.iter().map(|verdict| verdict.verified).sum();
        Ok(Output {
            intact: verdicts.iter().all(ChainVerdict::holds),
            verified,
            agents: verdicts,
        })
    }
}

/// Walks one agent's chain up to its first break; `see` is shown each record that holds.
pub(super) async fn verify(
    context: &Context,
    trail: &Trail,
    directory: &Directory,
    agent: &str,
    mut see: impl FnMut(&audit::Record),
) -> Result<ChainVerdict, SkillError> {
    let forks = trail.forks(agent).await.map_err(unavailable)?;
    let mut verdict = ChainVerdict {
        agent: agent.to_owned(),
        verified: 0,
        forks,
        first_break: None,
    };
    // What is appended meanwhile is not this run's business: the head of now is the end.
    let (end, _) = trail.head(agent).await.map_err(unavailable)?;
    let mut head = Head::default();
    while head.counter < end.counter && verdict.first_break.is_none() {
        context.check_canceled()?;
        let page = match trail.chain(agent, head.counter, STEP).await {
            Err(StoreError::Unavailable(reason)) if reason.contains("cannot be read") => {
                verdict.first_break = Some(ChainBreak {
                    counter: head.counter + 1,
                    reason,
                });
                break;
            }
            page => page.map_err(unavailable)?,
        };
        if page.is_empty() {
            let reason = format!("records up to {} are gone", end.counter);
            verdict.first_break = Some(ChainBreak {
                counter: head.counter + 1,
                reason,
            });
        }
        for (counter, kept) in page
            .iter()
            .take_while(|(counter, _)| *counter <= end.counter)
        {
            match check(directory, agent, *counter, kept, &mut head) {
                Ok(record) => {
                    verdict.verified += 1;
                    see(&record);
                }
                Err(reason) => {
                    verdict.first_break = Some(ChainBreak {
                        counter: *counter,
                        reason,
                    });
                    break;
                }
            }
        }
        // Signatures take the processor; others run in between.
        tokio::task::yield_now().await;
    }
    if verdict.first_break.is_none() && head != end {
        verdict.first_break = Some(ChainBreak {
            counter: end.counter,
            reason: String::from("the newest record is not the one that was acknowledged"),
        });
    }
    Ok(verdict)
}

/// One record: the one that arrived, signed by its agent, and the next of the chain.
fn check(
    directory: &Directory,
    agent: &str,
    counter: u64,
    kept: &Kept,
    head: &mut Head,
) -> Result<audit::Record, String> {
    let verified = kept
        .envelope
        .verify_with(directory)
        .map_err(|e| e.to_string())?;
    if verified.hash != kept.hash
        || verified.record.counter != counter
        || verified.record.agent_name() != agent
    {
        return Err(String::from("it is stored in another record's place"));
    }
    head.follow(&verified).map_err(|e| match e {
        Break::Gap { .. } | Break::Repeated { .. } => e.to_string(),
        Break::Fork { .. } => String::from("it names another record before it than the stored one"),
    })?;
    Ok(verified.record)
}

#[cfg(test)]
mod tests {
    use audit::Envelope;
    use store::{Entry, Store, Write};

    use super::*;
    use crate::skills::fixture::{Mesh, sign};

    async fn run(mesh: &Mesh) -> Output {
        let skill = VerifyAuditTrail {
            directory: mesh.directory.clone(),
            metrics: mesh.metrics.clone(),
        };
        skill.run(&mesh.context(), Input::default()).await.unwrap()
    }

    fn key(counter: u64) -> String {
        format!("db-migrator/{counter:020}")
    }

    async fn stored(store: &dyn Store, counter: u64) -> Entry {
        store.get("records", &key(counter)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn an_untouched_trail_holds() {
        let mesh = Mesh::new();
        let empty = run(&mesh).await;
        assert!(empty.intact && empty.agents.is_empty());
        mesh.append(&mesh.chain(3)[..2]).await.unwrap();
        mesh.append(&mesh.chain(700)[..1]).await.unwrap();
        let output = run(&mesh).await;
        assert_eq!(
            (output.intact, output.verified, output.agents.len()),
            (true, 2, 1)
        );
    }

    #[tokio::test]
    async fn a_chain_longer_than_a_page_is_walked_to_its_end() {
        let mesh = Mesh::new();
        let chain = mesh.chain(1001);
        for part in chain.chunks(400) {
            mesh.append(part).await.unwrap();
        }
        let output = run(&mesh).await;
        assert_eq!((output.intact, output.verified), (true, 1001));
    }

    /// What an attacker with the database can do, and where it shows.
    async fn tampered(
        tamper: impl AsyncFn(&Mesh, &[Envelope]),
        (verified, counter): (u64, u64),
        reason: &str,
    ) {
        let mesh = Mesh::new();
        let chain = mesh.chain(5);
        mesh.append(&chain).await.unwrap();
        tamper(&mesh, &chain).await;
        let output = run(&mesh).await;
        let found = output.agents[0].first_break.clone().unwrap();
        assert!(!output.intact);
        assert_eq!(
            (
                output.verified,
                found.counter,
                found.reason.contains(reason)
            ),
            (verified, counter, true),
            "{found:?}"
        );
    }

    async fn replace(mesh: &Mesh, counter: u64, change: impl FnOnce(&mut Kept)) {
        let mut entry = stored(&*mesh.store, counter).await;
        let mut kept: Kept = serde_json::from_slice(&entry.body).unwrap();
        change(&mut kept);
        entry.body = serde_json::to_vec(&kept).unwrap();
        mesh.store
            .submit(vec![Write::Put {
                collection: "records",
                entry,
            }])
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn every_kind_of_tampering_shows() {
        tampered(
            async |m, _| {
                replace(m, 3, |k| k.envelope.payload = m.chain(4)[3].payload.clone()).await;
            },
            (2, 3),
            "signature",
        )
        .await;
        tampered(
            async |m, chain| replace(m, 3, |k| k.envelope = chain[3].clone()).await,
            (2, 3),
            "another record's place",
        )
        .await;
        let resigned = async |m: &Mesh, chain: &[Envelope]| {
            let prev = chain[1].read_unverified().unwrap().hash;
            let forged = sign(&m.key, 3, &prev, |record| record.decision = "denied".into());
            replace(m, 3, |k| {
                k.hash = forged.read_unverified().unwrap().hash;
                k.envelope = forged.clone();
            })
            .await;
        };
        // Even with the agent's key: the next record was chained to the true one.
        tampered(resigned, (3, 4), "another record before it").await;
        let deleted = async |m: &Mesh, counter| {
            m.store
                .submit(vec![Write::Delete {
                    collection: "records",
                    key: key(counter),
                }])
                .await
                .unwrap();
        };
        tampered(async |m, _| deleted(m, 3).await, (2, 4), "missing").await;
        tampered(async |m, _| deleted(m, 5).await, (4, 5), "are gone").await;
        let garbage = async |m: &Mesh, _: &[Envelope]| {
            let entry = Entry {
                body: b"{}".to_vec(),
                ..stored(&*m.store, 1).await
            };
            m.store
                .submit(vec![Write::Put {
                    collection: "records",
                    entry,
                }])
                .await
                .unwrap();
        };
        tampered(garbage, (0, 1), "cannot be read").await;
    }

    #[tokio::test]
    async fn forks_and_declared_gaps_do_not_hold() {
        let mesh = Mesh::new();
        let chain = mesh.chain(4);
        mesh.append(&chain[..1]).await.unwrap();
        mesh.append(&[sign(
            &mesh.key,
            1,
            &chain[1].read_unverified().unwrap().hash,
            |_| (),
        )])
        .await
        .unwrap_err();
        let forked = run(&mesh).await;
        assert_eq!(
            (forked.intact, forked.verified, forked.agents[0].forks),
            (false, 1, 1)
        );
        mesh.append_after_gap(&chain[2..]).await.unwrap();
        let gap = run(&mesh).await.agents[0].first_break.clone().unwrap();
        assert_eq!(
            gap,
            ChainBreak {
                counter: 3,
                reason: "record 2 is missing before record 3".into()
            }
        );
    }

    #[tokio::test]
    async fn an_unknown_agent_is_refused() {
        let mesh = Mesh::new();
        let skill = VerifyAuditTrail {
            directory: mesh.directory.clone(),
            metrics: mesh.metrics.clone(),
        };
        let error = skill
            .run(
                &mesh.context(),
                Input {
                    agent: Some("nobody".into()),
                },
            )
            .await
            .unwrap_err();
        assert!(matches!(error, SkillError::Rejected { field, .. } if field == "agent"));
    }
}
