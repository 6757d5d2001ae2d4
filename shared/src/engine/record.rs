//! What is kept of a call: the task as it is made and as its run leaves it.

use identity::PrincipalKind;
use serde_json::{Map, Value};
use tracing::Span;

use super::Call;
use crate::{
    SkillError,
    a2a::{
        fault::Fault,
        types::{Artifact, Message, Part, Task, TaskState, TaskStatus},
    },
    digest,
    tasks::{Caller, IdempotencyKey, Record},
    telemetry::traces,
};

/// The task of a call, and the key under which it happens at most once.
pub(super) fn record_of(call: Call, mutates: bool) -> (Record, Option<IdempotencyKey>) {
    let Call {
        principal,
        skill,
        input,
        meta,
        context_id,
        message,
        continues,
    } = call;
    let owner = principal.id.to_string();
    let input_digest = digest::of_json(&input);
    let key = mutates
        .then(|| input.get("idempotency_key").and_then(Value::as_str))
        .flatten();
    let key = key.map(|key| IdempotencyKey::new(&owner, &skill, key, &input_digest));
    let agent = principal.kind == PrincipalKind::Agent;
    let on_behalf_of = if agent {
        meta.on_behalf_of
    } else {
        Some(principal.name.clone())
    };
    let mut record = continues.unwrap_or_else(|| {
        new_record(
            owner,
            Caller {
                agent,
                name: principal.name,
            },
            context_id,
        )
    });
    let context = (record.task.context_id.clone(), record.task.id.clone());
    record.task.history.extend(message.map(|message| Message {
        context_id: Some(context.0),
        task_id: Some(context.1),
        ..message
    }));
    record
        .task
        .metadata
        .insert("skill".into(), Value::String(skill.clone()));
    let record = Record {
        on_behalf_of,
        skill: Some(skill),
        input,
        input_digest,
        mutates,
        deadline: meta.deadline,
        traceparent: traces::traceparent(&Span::current()),
        ..record
    };
    (entered(record, TaskState::Working, None), key)
}

/// A fresh task of `owner`.
pub(crate) fn new_record(owner: String, caller: Caller, context_id: Option<String>) -> Record {
    let task = Task {
        id: uuid::Uuid::now_v7().to_string(),
        context_id: context_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        status: TaskStatus {
            state: TaskState::Submitted,
            message: None,
            timestamp: String::new(),
        },
        artifacts: Vec::new(),
        history: Vec::new(),
        metadata: Map::new(),
    };
    let record = Record {
        task,
        owner,
        caller,
        on_behalf_of: None,
        skill: None,
        input: Map::new(),
        input_digest: String::new(),
        mutates: false,
        plan_digest: None,
        approval: None,
        fault: None,
        deadline: None,
        traceparent: None,
        version: 0,
    };
    entered(record, TaskState::Submitted, None)
}

/// The record in another state.
pub(super) fn entered(mut record: Record, state: TaskState, say: Option<&str>) -> Record {
    record.enter(state, say);
    record
}

/// Moves the task to where its run left it.
pub(super) fn conclude(
    record: &mut Record,
    result: Result<Value, SkillError>,
    trace_id: Option<&str>,
) {
    let error = match result {
        Ok(output) => {
            let artifact = Artifact {
                artifact_id: uuid::Uuid::now_v7().to_string(),
                name: record.skill.clone(),
                description: None,
                parts: vec![Part::json(output)],
                metadata: None,
                extensions: Vec::new(),
            };
            record.task.artifacts = vec![artifact];
            record.fault = None;
            return record.enter(TaskState::Completed, None);
        }
        Err(error) => error,
    };
    let state = match &error {
        SkillError::Rejected { .. } | SkillError::Denied(_) => TaskState::Rejected,
        SkillError::ApprovalRequired { plan_digest, .. } => {
            record.plan_digest = Some(plan_digest.clone());
            TaskState::AuthRequired
        }
        SkillError::Canceled => TaskState::Canceled,
        SkillError::Unavailable { .. }
        | SkillError::Failed { .. }
        | SkillError::DeadlineExceeded => TaskState::Failed,
    };
    let fault = Fault::from(&error).with("task_id", &record.task.id);
    let fault = trace_id.map_or_else(
        || fault.clone(),
        |trace_id| fault.clone().with("trace_id", trace_id),
    );
    record.enter(state, Some(fault.message()));
    record.fault = Some(fault);
}

/// Drops the input of a task whose skill takes secrets.
pub(super) fn redact(record: &mut Record) {
    record.input.clear();
    for part in record
        .task
        .history
        .iter_mut()
        .flat_map(|message| &mut message.parts)
    {
        let note = format!("removed; the input had SHA-256 {}", record.input_digest);
        *part = Part::text(note);
    }
}
