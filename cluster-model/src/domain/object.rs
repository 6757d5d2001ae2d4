//! Reading and writing fields of a JSON object by JSON Pointer (RFC 6901).

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The text at a pointer; empty when there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The whole number at a pointer.
pub fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The list at a pointer; empty when there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The members of the object at a pointer.
pub fn members<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// Writes a value at a pointer, making objects along the way and replacing what is none.
pub fn set(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(members) = place.as_object_mut() else {
            return;
        };
        place = members.entry(unescape(part)).or_insert(Value::Null);
    }
    *place = value.into();
}

/// Writes a value at a pointer when nothing, or null, stands there.
pub fn set_default(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    if object.pointer(pointer).is_none_or(Value::is_null) {
        set(object, pointer, value);
    }
}

/// Removes the member at a pointer and returns it.
pub fn remove(object: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, member) = pointer.rsplit_once('/')?;
    let parent = object.pointer_mut(parent)?.as_object_mut()?;
    parent.remove(&unescape(member))
}

/// Escapes a member name (an annotation's, for example) for use in a pointer.
pub fn escape(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`; empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Says whether the object waits for its end.
pub fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// An annotation's text.
pub fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    text(object, &format!("/metadata/annotations/{}", escape(name)))
}

/// The owner reference that says `controller: true`.
pub fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}

/// The condition of a type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub fn stamp(now: OffsetDateTime) -> String {
    let seconds = now
        .to_offset(time::UtcOffset::UTC)
        .replace_nanosecond(0)
        .unwrap_or(now);
    seconds.format(&Rfc3339).unwrap_or_default()
}

/// Reads a time that [`stamp`] wrote.
pub fn parse_stamp(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writes_through_missing_parents_and_escaped_names() {
        let mut object = json!({"metadata": null});
        let pointer = format!("/metadata/annotations/{}", escape("a.b/c~d"));
        set(&mut object, &pointer, "x");
        assert_eq!(object["metadata"]["annotations"]["a.b/c~d"], "x");
        assert_eq!(annotation(&object, "a.b/c~d"), "x");
        assert_eq!(remove(&mut object, &pointer), Some(json!("x")));
        assert_eq!(object["metadata"]["annotations"], json!({}));
    }

    #[test]
    fn keeps_what_is_there_when_it_sets_a_default() {
        let mut object = json!({"a": 0, "b": null});
        set_default(&mut object, "/a", 1);
        set_default(&mut object, "/b", 1);
        set_default(&mut object, "/c", 1);
        assert_eq!(object, json!({"a": 0, "b": 1, "c": 1}));
    }

    #[test]
    fn writes_time_in_whole_seconds_of_utc() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_987_654_321).unwrap();
        assert_eq!(stamp(time), "2023-11-14T22:13:20Z");
        assert_eq!(
            parse_stamp(&stamp(time)).unwrap().unix_timestamp(),
            1_700_000_000
        );
    }
}
