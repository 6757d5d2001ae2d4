//! Approvals: a person signs one plan of one waiting task, and the task runs again.

use std::sync::Arc;

use a2a::types::TaskState;
use identity::{Principal, keys::PublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::StoreError;
use time::OffsetDateTime;

use crate::{
    a2a::{
        fault::{Fault, Kind},
        methods::store_fault,
    },
    engine::Engine,
    registry::decode,
    tasks::{Record, StoredApproval, parse_time},
};

/// What an approver signs: the RFC 8785 form of exactly these members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The waiting task.
    pub task_id: String,
    /// Digest of the plan that was looked at.
    pub plan_digest: String,
    /// The decision.
    pub decision: Decision,
    /// RFC 3339 time after which the decision is void.
    pub expires_at: String,
}

/// What the approver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go ahead.
    Approve,
    /// Do not.
    Reject,
}

impl Statement {
    /// The bytes that are signed.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }
}

/// Parameters of `decide_approval`: the statement's members and the signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecideApproval {
    task_id: String,
    plan_digest: String,
    decision: Decision,
    expires_at: String,
    /// Ed25519 over the statement, base64.
    signature: String,
}

/// Runs one of the two approval methods.
pub(crate) async fn dispatch(
    engine: &Arc<Engine>,
    principal: &Principal,
    method: &str,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    match method {
        "list_approvals" => list(engine).await,
        _ => decide(engine, principal, params).await,
    }
}

async fn list(engine: &Engine) -> Result<Value, Fault> {
    let waiting = engine.tasks.waiting().await.map_err(store_fault)?;
    let approvals: Vec<Value> = waiting
        .iter()
        .map(|record| {
            let summary = record.task.status.message.as_ref().and_then(|message| message.parts.first()).and_then(|part| part.text.as_deref());
            json!({
                "task_id": record.task.id, "skill": record.skill, "caller": record.caller.name, "plan_digest": record.plan_digest,
                "summary": summary, "since": record.task.status.timestamp,
            })
        })
        .collect();
    Ok(json!({"approvals": approvals}))
}

async fn decide(
    engine: &Arc<Engine>,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let DecideApproval {
        task_id,
        plan_digest,
        decision,
        expires_at,
        signature,
    } = decode(params).map_err(|e| Fault::from(&e))?;
    let statement = Statement {
        task_id,
        plan_digest,
        decision,
        expires_at,
    };
    let mut record = waiting(engine, &statement.task_id).await?;
    let approver = judge(engine, &record, &statement, &signature)
        .inspect_err(|_| engine.refuse(principal, "decide_approval"))?;
    let yes = statement.decision == Decision::Approve;
    engine.trail.decided(principal, &record, &approver, yes);
    settle(&mut record, statement, &approver);
    let replaced = engine.tasks.replace(&mut record).await;
    replaced.map_err(|error| match error {
        StoreError::Conflict { .. } => {
            Fault::new(Kind::TaskNotFound, "somebody else decided first").with("field", "task_id")
        }
        other @ StoreError::Unavailable(_) => store_fault(other),
    })?;
    engine.push.wake();
    let task = record.task.clone();
    if yes {
        engine.resume(record);
    }
    Ok(json!(task))
}

async fn waiting(engine: &Engine, task_id: &str) -> Result<Record, Fault> {
    let record = engine.tasks.stored(task_id).await.map_err(store_fault)?;
    record
        .filter(|record| record.state() == TaskState::AuthRequired)
        .ok_or_else(|| {
            Fault::new(
                Kind::TaskNotFound,
                "no task of this id waits for an approval",
            )
            .with("field", "task_id")
        })
}

/// The task after the decision.
fn settle(record: &mut Record, statement: Statement, approver: &str) {
    match statement.decision {
        Decision::Approve => {
            record.approval = Some(StoredApproval {
                plan_digest: statement.plan_digest,
                approver: approver.to_owned(),
            });
            record.deadline = None;
            record.enter(TaskState::Working, Some(&format!("approved by {approver}")));
        }
        Decision::Reject => {
            let said = format!("the plan was rejected by {approver}");
            let fault = Fault::new(Kind::PermissionDenied, said);
            record.fault = Some(fault.with("task_id", &record.task.id));
            let said = format!("rejected by {approver}");
            record.enter(TaskState::Rejected, Some(&said));
        }
    }
}

/// The approver whose signature it is, when the decision stands.
fn judge(
    engine: &Engine,
    record: &Record,
    statement: &Statement,
    signature: &str,
) -> Result<String, Fault> {
    let denied = |why: &str| Fault::new(Kind::PermissionDenied, why.to_owned());
    if record.plan_digest.as_deref() != Some(statement.plan_digest.as_str()) {
        return Err(Fault::field(
            "plan_digest",
            "the digest of the waiting plan",
            "another digest",
        ));
    }
    let Some(expires) = parse_time(&statement.expires_at) else {
        return Err(Fault::field(
            "expires_at",
            "an RFC 3339 time",
            "another text",
        ));
    };
    if expires <= OffsetDateTime::now_utc() {
        return Err(denied("the decision has expired"));
    }
    let signature = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, signature);
    let signature = signature.map_err(|_| Fault::field("signature", "base64", "another text"))?;
    let message = statement.bytes();
    let approvers = &engine.access.fleet().mesh.approvers;
    let signer = approvers.iter().find(|approver| {
        PublicKey::from_bytes(approver.public_key.0)
            .verify(&message, &signature)
            .is_ok()
    });
    let approver = signer.ok_or_else(|| denied("no approver of mesh.yaml signed this decision"))?;
    if approver.name == record.caller.name
        || record.on_behalf_of.as_deref() == Some(approver.name.as_str())
    {
        return Err(denied("who asked for the work may not approve it"));
    }
    Ok(approver.name.clone())
}
