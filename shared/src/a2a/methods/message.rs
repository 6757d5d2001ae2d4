//! What a message may hold, and what it asks for.

use identity::Principal;
use serde_json::{Map, Value};

use super::{check_id, find};
use crate::{
    a2a::{
        fault::{Fault, Kind},
        types::{Message, TaskState},
    },
    engine::Engine,
    tasks::Record,
};

pub(super) fn check_message(message: &Message) -> Result<(), Fault> {
    check_id("message.messageId", &message.message_id)?;
    if message.parts.is_empty() {
        return Err(Fault::field("message.parts", "at least one part", "none"));
    }
    for (index, part) in message.parts.iter().enumerate() {
        if part.contents() != 1 {
            let got = format!("{} of them", part.contents());
            return Err(Fault::field(
                &format!("message.parts[{index}]"),
                "exactly one of text, raw, url and data",
                &got,
            ));
        }
        let known = part.media_type.as_deref().is_none_or(|kind| {
            kind.starts_with("application/json") || kind.starts_with("text/plain")
        });
        if !known || part.raw.is_some() || part.url.is_some() {
            return Err(Fault::new(
                Kind::ContentTypeNotSupported,
                format!("message.parts[{index}]: expected application/json or text/plain"),
            )
            .with("field", format!("message.parts[{index}]")));
        }
    }
    message
        .context_id
        .as_deref()
        .map_or(Ok(()), |id| check_id("message.contextId", id))
}

/// The waiting task that a message continues.
pub(super) async fn continued(
    engine: &Engine,
    principal: &Principal,
    message: &Message,
) -> Result<Option<Record>, Fault> {
    let Some(id) = &message.task_id else {
        return Ok(None);
    };
    check_id("message.taskId", id)?;
    let record = find(engine, principal, id).await?;
    if message
        .context_id
        .as_ref()
        .is_some_and(|context| *context != record.task.context_id)
    {
        return Err(Fault::field(
            "message.contextId",
            "the context of the task",
            "another context",
        ));
    }
    match record.state() {
        TaskState::InputRequired => Ok(Some(record)),
        _ => Err(Fault::new(
            Kind::UnsupportedOperation,
            "the task takes no further message in its state",
        )
        .with("task_id", id)),
    }
}

/// What a message asks for.
pub(super) enum Reading {
    Skill(String, Map<String, Value>),
    Unclear,
}

/// What a message asks for: a data part names the skill; a text that is just a skill's name runs it on defaults.
pub(super) fn reading(engine: &Engine, message: &Message) -> Reading {
    for part in &message.parts {
        if let Some(Value::Object(data)) = &part.data
            && let Some(skill) = data.get("skill").and_then(Value::as_str)
        {
            let mut input = match data.get("input") {
                Some(Value::Object(input)) => input.clone(),
                _ => Map::new(),
            };
            if let Some(meta) = data.get("_meta") {
                input.insert("_meta".into(), meta.clone());
            }
            return Reading::Skill(skill.to_owned(), input);
        }
    }
    let text = message
        .parts
        .iter()
        .filter_map(|part| part.text.as_deref())
        .collect::<String>();
    match engine.registry.get(text.trim()) {
        Some(skill) => Reading::Skill(skill.id.to_owned(), Map::new()),
        None => Reading::Unclear,
    }
}
