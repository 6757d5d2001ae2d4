//! How a content comes back.

use serde_json::{Map, Value, json};

use super::{IMMUTABLE_ANNOTATION, Reference, TYPE_ANNOTATION, content, is_immutable};
use crate::domain::helm::merge::merge_patch;

/// How a content comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Restore {
    /// It is there.
    Nothing,
    /// The object is gone: make it.
    Create(Value),
    /// Put the keys back. A merge patch of what was read, not an apply: an apply cannot take away the keys that the bad
    /// release added under another name.
    Patch(Value),
    /// The object must not be changed: take it away and make it anew.
    Replace(Value),
}

/// What brings the content of a copy back.
pub fn restore(reference: &Reference, copy: &Value, live: Option<&Value>) -> Restore {
    let target = content(copy);
    let Some(live) = live else {
        return Restore::Create(remade(reference, copy, &json!({})));
    };
    let now = content(live);
    if now == target {
        return Restore::Nothing;
    }
    if is_immutable(live) {
        let metadata = live.get("metadata").cloned().unwrap_or_default();
        return Restore::Replace(remade(reference, copy, &metadata));
    }
    // A part that is not there any more is emptied key by key, so that nobody else's key is lost.
    let all = |content: &Value| -> Value {
        let part = |name: &str| content.get(name).cloned().unwrap_or_else(|| json!({}));
        json!({"data": part("data"), "binaryData": part("binaryData")})
    };
    match merge_patch(&all(&now), &all(&target)) {
        Some(patch) => Restore::Patch(patch),
        None => Restore::Nothing,
    }
}

/// The object that a copy was made of, with labels and annotations of the one that stands in its place.
fn remade(reference: &Reference, copy: &Value, metadata: &Value) -> Value {
    let annotation = |name: &str| {
        copy.pointer("/metadata/annotations")
            .and_then(|all| all.get(name))
    };
    let mut kept = Map::from_iter([("name".to_owned(), json!(reference.name))]);
    for member in ["labels", "annotations", "ownerReferences"] {
        kept.extend(
            metadata
                .get(member)
                .map(|value| (member.to_owned(), value.clone())),
        );
    }
    let mut object = json!({"apiVersion": "v1", "kind": reference.kind.word(), "metadata": kept});
    if let (Some(members), Value::Object(content)) = (object.as_object_mut(), content(copy)) {
        members.extend(content);
        members.extend(annotation(TYPE_ANNOTATION).map(|kind| ("type".to_owned(), kind.clone())));
        if annotation(IMMUTABLE_ANNOTATION).is_some() {
            members.insert("immutable".into(), true.into());
        }
    }
    object
}
