//! What is kept of a call: the task as it is made and as its run leaves it.

use a2a::types::{Artifact, Message, Part, Role, Task, TaskState};
use identity::{Principal, PrincipalKind};
use serde_json::{Map, Value};
use tracing::Span;

use super::Meta;
use crate::{
    SkillError,
    a2a::fault::Fault,
    digest, files,
    tasks::{Caller, Key, Record},
    telemetry::traces,
};

/// What a call says, apart from the work itself.
pub(super) struct Asked {
    pub(super) principal: Principal,
    pub(super) skill: Option<String>,
    pub(super) input: Map<String, Value>,
    pub(super) mutates: bool,
    pub(super) meta: Meta,
    pub(super) message: Option<Message>,
    pub(super) once: bool,
    pub(super) continues: Option<Record>,
}

/// The task of a call, with the keys under which it happens at most once.
pub(super) fn record_of(asked: Asked) -> Record {
    let Asked {
        principal,
        skill,
        input,
        mutates,
        meta,
        message,
        once,
        continues,
    } = asked;
    let owner = principal.id.to_string();
    let input_digest = files::digest_with(&input, message.as_ref());
    let named = mutates
        .then(|| input.get("idempotency_key")?.as_str())
        .flatten();
    let named = named.zip(skill.as_deref());
    let of_call = named.map(|(key, skill)| Key::of_call(&owner, skill, key, &input_digest));
    let repeatable = message.as_ref().filter(|_| once);
    let of_message = repeatable.map(|message| key_of(&owner, message));
    let agent = principal.kind == PrincipalKind::Agent;
    let on_behalf_of = if agent {
        meta.on_behalf_of
    } else {
        Some(principal.name.clone())
    };
    let first = continues.is_none();
    let mut record = continues.unwrap_or_else(|| {
        let name = principal.name;
        let context = message
            .as_ref()
            .and_then(|message| message.context_id.clone());
        new_record(owner, Caller { agent, name }, context)
    });
    converse(&mut record, message);
    if let Some(skill) = &skill {
        let skill = Value::String(skill.clone());
        record.task.metadata.insert("skill".into(), skill);
    }
    let mut record = Record {
        on_behalf_of,
        skill,
        input,
        input_digest,
        mutates,
        deadline: meta.deadline,
        traceparent: traces::traceparent(&Span::current()),
        keys: of_call.into_iter().chain(of_message).collect(),
        ..record
    };
    if first {
        record.begin(TaskState::Working);
    } else {
        record.enter(TaskState::Working, None);
    }
    record
}

/// The key of a message. Equal messages have equal bytes: the members have an order, and those of free JSON are sorted.
pub(super) fn key_of(owner: &str, message: &Message) -> Key {
    let bytes = serde_json::to_vec(message).unwrap_or_default();
    Key::of_message(owner, &message.message_id, digest::of_bytes(&bytes))
}

/// Adds the caller's message to the history, after the question that it answers.
fn converse(record: &mut Record, message: Option<Message>) {
    let Some(message) = message else {
        return;
    };
    let asked = record.task.status.message.take();
    let asked = asked.filter(|asked| asked.role == Role::Agent);
    record.task.history.extend(asked);
    hear(record, message);
}

/// Adds a message to the history.
pub(super) fn hear(record: &mut Record, message: Message) {
    let task = &mut record.task;
    task.history.push(Message {
        context_id: Some(task.context_id.clone()),
        task_id: Some(task.id.clone()),
        ..message
    });
}

/// A fresh task of `owner`.
pub(crate) fn new_record(owner: String, caller: Caller, context_id: Option<String>) -> Record {
    let task = Task {
        id: uuid::Uuid::now_v7().to_string(),
        context_id: context_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        ..Task::default()
    };
    Record {
        task,
        owner,
        caller,
        ..Record::default()
    }
}

/// Moves the task to where its run left it.
pub(super) fn conclude(
    record: &mut Record,
    result: Result<Option<Value>, SkillError>,
    trace_id: Option<&str>,
) {
    let error = match result {
        Ok(output) => {
            if let Some(output) = output {
                let artifact = Artifact {
                    artifact_id: uuid::Uuid::now_v7().to_string(),
                    name: record.skill.clone(),
                    description: None,
                    parts: vec![Part::json(output)],
                    metadata: None,
                    extensions: Vec::new(),
                };
                record.add(artifact, false, true);
            }
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
        SkillError::InputRequired(_) => TaskState::InputRequired,
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
