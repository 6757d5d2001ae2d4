//! What comes in: one call of a skill, with its settings.

use a2a::types::Message;
use identity::Principal;
use serde_json::{Map, Value};

use crate::{
    Effect, SkillError,
    a2a::fault::Fault,
    converse::Talk,
    push::Checked,
    registry::Registered,
    tasks::{Record, parse_time},
};

/// Longest idempotency key.
const MAX_KEY: usize = 128;

/// What a call asks for.
pub(crate) enum Work {
    /// A skill, with its input without `_meta`.
    Skill(String, Map<String, Value>),
    /// What the agent made of a message that names no skill.
    Talk(Talk),
}

/// One call.
pub(crate) struct Call {
    /// Who calls.
    pub(crate) principal: Principal,
    /// What is to be done.
    pub(crate) work: Work,
    /// Per-call settings.
    pub(crate) meta: Meta,
    /// The message that asked for it.
    pub(crate) message: Option<Message>,
    /// Whether the same message again stands for the same task.
    pub(crate) once: bool,
    /// The task to continue (it waited for this message).
    pub(crate) continues: Option<Record>,
    /// Whether the task has to be durable before its run starts, because it is shown at once.
    pub(crate) shown: bool,
    /// Where to push the task's updates.
    pub(crate) push: Option<Checked>,
}

/// `_meta` of a call.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    /// Answer with the task as soon as it exists.
    #[serde(default, rename = "async")]
    pub detached: bool,
    /// RFC 3339 time after which the caller does not wait.
    pub deadline: Option<String>,
    /// External caller at the head of the chain; taken from agents only.
    pub on_behalf_of: Option<String>,
}

impl Meta {
    /// Takes `_meta` off an input.
    ///
    /// # Errors
    /// `InvalidParams` with the wrong field.
    pub(crate) fn take(input: &mut Map<String, Value>) -> Result<Self, Fault> {
        let meta = match input.remove("_meta") {
            None => return Ok(Self::default()),
            Some(Value::Object(meta)) => meta,
            Some(_) => return Err(Fault::field("_meta", "an object", "another type")),
        };
        let meta: Self = crate::registry::decode(meta).map_err(|error| match &error {
            SkillError::Rejected {
                field,
                expected,
                got,
            } => Fault::field(&format!("_meta.{field}"), expected, got),
            _ => Fault::from(&error),
        })?;
        match &meta.deadline {
            Some(deadline) if parse_time(deadline).is_none() => Err(Fault::field(
                "_meta.deadline",
                "an RFC 3339 time",
                "another text",
            )),
            _ => Ok(meta),
        }
    }
}

/// Whether this call changes the world, by the rules for mutating skills.
pub(super) fn mutates(skill: &Registered, input: &Map<String, Value>) -> Result<bool, Fault> {
    if skill.effect == Effect::Read || input.get("dry_run") != Some(&Value::Bool(false)) {
        return Ok(false);
    }
    match input.get("idempotency_key") {
        Some(Value::String(key)) if (1..=MAX_KEY).contains(&key.len()) => Ok(true),
        Some(Value::String(key)) => Err(Fault::field(
            "idempotency_key",
            "1 to 128 characters",
            &format!("{} characters", key.len()),
        )),
        Some(_) => Err(Fault::field("idempotency_key", "a string", "another type")),
        None => Err(Fault::field(
            "idempotency_key",
            "a value (required when dry_run is false)",
            "nothing",
        )),
    }
}
