//! Taking and letting go of holds, so that each can be repeated after a crash.

use std::sync::Arc;

use serde_json::Value;
use shared::{Context, SkillError, ToolCall};

use super::Grip;
use crate::{
    clients::Objects,
    domain::{
        gitops,
        hold::{Hold, LetGo, text},
    },
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The object is as its owner wants it.
    LetGo,
    /// The object is gone.
    Gone,
    /// Another rollback holds it now, with what this one found.
    TakenOver(String),
}

fn version(live: &Value) -> &str {
    text(live, "/metadata/resourceVersion").unwrap_or_default()
}

fn is_same(hold: &Hold, live: &Value) -> bool {
    text(live, "/metadata/uid") == Some(hold.uid.as_str())
}

fn kept_changing(hold: &Hold) -> SkillError {
    SkillError::failed(format!("{} kept changing", hold.object))
}

/// Holds an object for a rollback; an object that is gone needs no hold.
///
/// # Errors
/// `Failed` when the object does not take it, or the lock was lost.
pub async fn take(
    context: &Context,
    objects: &Arc<dyn Objects>,
    hold: &Hold,
    (rollback, grip): (&str, &Grip),
) -> Result<(), SkillError> {
    for _ in 0..ATTEMPTS {
        let live = objects.get(&hold.object).await?;
        let Some(live) = live.filter(|live| is_same(hold, live)) else {
            return Ok(());
        };
        if hold.is_in_force(&live, rollback) || is_fallback_in_force(hold, &live, rollback) {
            return Ok(());
        }
        // Once more from what is there now: its owner may have changed it since it was looked at.
        let fields = hold.fields.iter();
        let fields = fields.map(|field| (field.path.clone(), field.during.clone()));
        let fresh = Hold::of((hold.object.clone(), &live), hold.purpose, fields);
        let Some(after) = write(context, objects, (&fresh, &live), (rollback, grip)).await? else {
            continue;
        };
        if fresh.is_in_force(&after, rollback) {
            return Ok(());
        }
        let Some(other) = gitops::fallback(&fresh, &after) else {
            return Err(SkillError::failed(format!(
                "{} does not take what would hold it",
                hold.object
            )));
        };
        if let Some(after) = write(context, objects, (&other, &after), (rollback, grip)).await?
            && is_fallback_in_force(hold, &after, rollback)
        {
            return Ok(());
        }
    }
    Err(kept_changing(hold))
}

fn is_fallback_in_force(hold: &Hold, live: &Value, rollback: &str) -> bool {
    gitops::fallback(hold, live).is_some_and(|other| other.is_in_force(live, rollback))
}

async fn write(
    context: &Context,
    objects: &Arc<dyn Objects>,
    (hold, live): (&Hold, &Value),
    (rollback, grip): (&str, &Grip),
) -> Result<Option<Value>, SkillError> {
    grip.check(context).await?;
    let call = ToolCall::write("kubernetes.patch", [hold.object.to_string()]);
    let patch = hold.take(rollback, grip.token());
    let merge = objects.merge(&hold.object, version(live), &patch);
    context.tool(call, merge).await
}

/// Lets an object go that a rollback held; letting it go again is fine.
///
/// # Errors
/// `Unavailable` when the cluster does not answer.
pub async fn let_go(
    context: &Context,
    objects: &Arc<dyn Objects>,
    hold: &Hold,
    rollback: &str,
) -> Result<Ended, SkillError> {
    for _ in 0..ATTEMPTS {
        let live = objects.get(&hold.object).await?;
        let Some(live) = live.filter(|live| is_same(hold, live)) else {
            return Ok(Ended::Gone);
        };
        let patch = match hold.let_go(&live, rollback) {
            LetGo::Done => return Ok(Ended::LetGo),
            LetGo::TakenOver(by) => return Ok(Ended::TakenOver(by)),
            LetGo::Patch(patch) => patch,
        };
        let call = ToolCall::write("kubernetes.patch", [hold.object.to_string()]);
        let merge = objects.merge(&hold.object, version(&live), &patch);
        if context.tool(call, merge).await?.is_some() {
            return Ok(Ended::LetGo);
        }
    }
    Err(kept_changing(hold))
}
