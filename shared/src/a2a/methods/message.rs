//! What a message may hold, and what it asks for.

use a2a::types::{Message, Part, TaskState};
use identity::Principal;
use serde_json::{Map, Value};

use super::{check_id, find};
use crate::{
    a2a::fault::{Fault, Kind},
    engine::Engine,
    tasks::Record,
};

/// Most parts of one message.
const MAX_PARTS: usize = 100;
/// Most messages of one task; each rewrites the task.
const MAX_MESSAGES: usize = 200;

/// Refuses a message that is malformed, too large, or of a kind that the agent does not take.
pub(super) fn check_message(message: &Message, modes: &[String]) -> Result<(), Fault> {
    check_id("message.messageId", &message.message_id)?;
    if !(1..=MAX_PARTS).contains(&message.parts.len()) {
        let got = format!("{} of them", message.parts.len());
        return Err(Fault::field("message.parts", "1 to 100 parts", &got));
    }
    for (index, part) in message.parts.iter().enumerate() {
        check_part(&format!("message.parts[{index}]"), part, modes)?;
    }
    message
        .context_id
        .as_deref()
        .map_or(Ok(()), |id| check_id("message.contextId", id))
}

fn check_part(field: &str, part: &Part, modes: &[String]) -> Result<(), Fault> {
    if part.contents() != 1 {
        let got = format!("{} of them", part.contents());
        let expected = "exactly one of text, raw, url and data";
        return Err(Fault::field(field, expected, &got));
    }
    let raw = part.raw.as_deref();
    if raw.is_some_and(|raw| !is_base64(raw)) {
        let field = format!("{field}.raw");
        return Err(Fault::field(&field, "base64", "another text"));
    }
    let kind = part.media_type.as_deref().unwrap_or_else(|| implied(part));
    if takes(modes, kind) {
        return Ok(());
    }
    let said = format!("{field}: expected {}", modes.join(" or "));
    Err(Fault::new(Kind::ContentTypeNotSupported, said).with("field", field))
}

/// Both alphabets, padded or not: writers of `ProtoJSON` differ.
fn is_base64(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    text.len() % 4 != 1 && text.bytes().all(known)
}

/// The media type of a part that names none.
fn implied(part: &Part) -> &'static str {
    match part {
        Part { text: Some(_), .. } => "text/plain",
        Part { data: Some(_), .. } => "application/json",
        _ => "application/octet-stream",
    }
}

/// Refuses files that a skill does not take, so that nothing of a message is passed over.
fn check_files(engine: &Engine, skill: &str, message: &Message) -> Result<(), Fault> {
    let Some(skill) = engine.registry.get(skill) else {
        return Ok(());
    };
    for (index, part) in message.parts.iter().enumerate() {
        let field = format!("message.parts[{index}]");
        if part.raw.is_none() && part.url.is_none() {
            continue;
        }
        let kind = part.media_type.as_deref().unwrap_or_else(|| implied(part));
        if !takes(skill.files, kind) {
            let modes = match skill.files {
                [] => String::from("no file"),
                modes => modes.join(" or "),
            };
            let said = format!("{field}: expected {modes}: {} takes no other", skill.id);
            return Err(Fault::new(Kind::ContentTypeNotSupported, said).with("field", field));
        }
        if part.url.is_some() {
            let expected = "raw, since files are not fetched from addresses";
            return Err(Fault::field(
                &format!("{field}.url"),
                expected,
                "an address",
            ));
        }
    }
    Ok(())
}

/// Whether one of the modes covers a media type; parameters do not count.
fn takes(modes: &[impl AsRef<str>], kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    modes.iter().map(AsRef::as_ref).any(|mode| {
        mode == "*/*"
            || mode.eq_ignore_ascii_case(kind)
            || mode
                .strip_suffix('*')
                .is_some_and(|family| family.ends_with('/') && kind.starts_with(family))
    })
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
    // The question that was open and this answer to it join the history.
    if record.task.history.len() + 2 > MAX_MESSAGES {
        let got = format!("{} messages before it", record.task.history.len());
        return Err(Fault::field(
            "message.taskId",
            "a task of at most 200 messages",
            &got,
        ));
    }
    match record.state() {
        TaskState::InputRequired | TaskState::AuthRequired => Ok(Some(Record::clone(&record))),
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
pub(super) fn reading(engine: &Engine, message: &Message) -> Result<Reading, Fault> {
    for (index, part) in message.parts.iter().enumerate() {
        let Some(Value::Object(data)) = &part.data else {
            continue;
        };
        let Some(skill) = data.get("skill").and_then(Value::as_str) else {
            continue;
        };
        let mut input = match data.get("input") {
            Some(Value::Object(input)) => input.clone(),
            None | Some(Value::Null) => Map::new(),
            Some(_) => {
                let field = format!("message.parts[{index}].data.input");
                return Err(Fault::field(&field, "an object", "another type"));
            }
        };
        if let Some(meta) = data.get("_meta") {
            input.insert("_meta".into(), meta.clone());
        }
        check_files(engine, skill, message)?;
        return Ok(Reading::Skill(skill.to_owned(), input));
    }
    let text = message
        .parts
        .iter()
        .filter_map(|part| part.text.as_deref())
        .collect::<String>();
    Ok(match engine.registry.get(text.trim()) {
        Some(skill) => Reading::Skill(skill.id.to_owned(), Map::new()),
        None => Reading::Unclear,
    })
}
