//! Gives fields back that this agent owns since it wrote them. Whoever applies the object next, with Helm or from Git,
//! would otherwise find a foreign owner in the way.

use cluster::Patch;
use serde_json::Value;
use shared::{Context, SkillError, ToolCall};

use crate::{
    clients::dynamic::{DynamicObjects, Hand, MANAGER, Place, Write, Written},
    domain::helm::fields,
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// Gives up all fields of an object that this agent owns.
///
/// # Errors
/// When the cluster refuses.
pub async fn hand_back(
    objects: &dyn DynamicObjects,
    context: &Context,
    place: &Place,
) -> Result<(), SkillError> {
    for _ in 0..ATTEMPTS {
        let object = objects.get(place).await?.unwrap_or_default();
        let managed = object.pointer("/metadata/managedFields");
        let Some(left) = managed.and_then(|managed| fields::without(managed, MANAGER)) else {
            return Ok(());
        };
        let seen = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        let patch = Patch::Json(fields::operations(&left));
        let seen = seen.map(str::to_owned);
        let write = Write::Patch { patch, seen };
        let call = ToolCall::write(write.action(), [place.resource()]);
        let hand = Hand {
            manager: MANAGER,
            dry_run: false,
        };
        let written = context
            .tool(call, objects.write(place, &write, hand))
            .await?;
        if written != Written::Conflict {
            return Ok(());
        }
    }
    Err(SkillError::failed(format!("{} kept changing", place.id)))
}
