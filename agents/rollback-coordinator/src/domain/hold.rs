//! Holds: fields of objects of other controllers that a rollback sets for its time, and puts back afterwards.
//!
//! A hold notes in an annotation of the object itself who holds it and what was there before. So a second rollback of the
//! same object takes over what the first one found, and never mistakes a pause of ours for the wish of its owner.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Annotation of an object that a rollback holds.
pub const HELD_ANNOTATION: &str = "ossa.io/held-by-rollback";

/// Names an object of any kind.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ObjectRef {
    /// Group and version, `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// Kind, `Application`.
    pub kind: String,
    /// The resource in URLs, `applications`.
    pub plural: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.plural, self.namespace, self.name)
    }
}

/// Which part of a rollback a hold belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Git would bring the bad revision back: held until Git holds the good one.
    Gitops,
    /// A controller writes the same fields: held until the old revision is verified.
    Freeze,
}

/// One field of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// JSON Pointer (RFC 6901).
    pub path: String,
    /// What its owner wants; absent when the field was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is while the rollback runs.
    pub during: Value,
}

/// Fields of one object that a rollback sets for its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// The object.
    pub object: ObjectRef,
    /// Unique id of the object.
    pub uid: String,
    /// Which part of the rollback wants it.
    pub purpose: Purpose,
    /// The fields.
    pub fields: Vec<Field>,
    /// The revision of Git that was in force, of an object that brings the workload itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
}

/// The annotation's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Held {
    rollback: String,
    /// Fencing token of the lock under which it was written.
    token: u64,
    fields: Vec<Field>,
}

/// What letting an object go takes.
#[derive(Debug, Clone, PartialEq)]
pub enum LetGo {
    /// This merge patch.
    Patch(Value),
    /// Nothing: nobody holds it.
    Done,
    /// Nothing of ours: this other rollback holds it now, with what we found.
    TakenOver(String),
}

impl Hold {
    /// The hold of an object as it is now: these fields get these values.
    pub fn of(
        (object, live): (ObjectRef, &Value),
        purpose: Purpose,
        fields: impl IntoIterator<Item = (String, Value)>,
    ) -> Self {
        // What another rollback set is not what the owner wants, unless the owner changed it since.
        let mut inherited = held(live).map(|held| held.fields).unwrap_or_default();
        inherited.retain(|field| live.pointer(&field.path) == Some(&field.during));
        let mut all = Vec::new();
        for (path, during) in fields {
            let earlier = inherited.iter().position(|field| field.path == path);
            let before = match earlier {
                Some(at) => inherited.swap_remove(at).before,
                None => live.pointer(&path).cloned(),
            };
            all.push(Field {
                path,
                before,
                during,
            });
        }
        // And what it set elsewhere has to be put back too.
        all.extend(inherited);
        Self {
            uid: text(live, "/metadata/uid").unwrap_or_default().to_owned(),
            fields: all,
            object,
            purpose,
            git: None,
        }
    }

    /// Whether the object is held by this rollback as it should be.
    pub fn is_in_force(&self, live: &Value, rollback: &str) -> bool {
        held(live).is_some_and(|held| held.rollback == rollback)
            && self
                .fields
                .iter()
                .all(|field| live.pointer(&field.path) == Some(&field.during))
    }

    /// The merge patch that holds the object for a rollback, under the fencing token of its lock.
    pub fn take(&self, rollback: &str, token: u64) -> Value {
        let held = Held {
            rollback: rollback.to_owned(),
            token,
            fields: self.fields.clone(),
        };
        let mut patch = annotation(&json!(json!(held).to_string()));
        for field in &self.fields {
            set(&mut patch, &field.path, field.during.clone());
        }
        patch
    }

    /// What lets the object go. A field that somebody changed meanwhile stays as it is.
    pub fn let_go(&self, live: &Value, rollback: &str) -> LetGo {
        match held(live) {
            // Somebody took the annotation away alone: what was noted before the hold still holds true.
            None if !self.was_changed(live) && self.changes_something() => {
                LetGo::Patch(put_back(&self.fields, live, json!({})))
            }
            None => LetGo::Done,
            Some(held) if held.rollback != rollback => LetGo::TakenOver(held.rollback),
            Some(held) => LetGo::Patch(put_back(&held.fields, live, annotation(&Value::Null))),
        }
    }

    fn changes_something(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.before.as_ref() != Some(&field.during))
    }

    /// Whether somebody changed one of the fields while this rollback held the object.
    pub fn was_changed(&self, live: &Value) -> bool {
        self.fields
            .iter()
            .any(|field| live.pointer(&field.path) != Some(&field.during))
    }
}

/// The rollback that holds an object.
pub fn holder(live: &Value) -> Option<String> {
    held(live).map(|held| held.rollback)
}

/// A text of an object.
pub fn text<'a>(live: &'a Value, pointer: &str) -> Option<&'a str> {
    live.pointer(pointer)?.as_str()
}

fn held(live: &Value) -> Option<Held> {
    let annotations = live.pointer("/metadata/annotations")?;
    serde_json::from_str(annotations.get(HELD_ANNOTATION)?.as_str()?).ok()
}

/// A patch with every field that is still as it was set.
fn put_back(fields: &[Field], live: &Value, mut patch: Value) -> Value {
    for field in fields {
        if live.pointer(&field.path) == Some(&field.during) {
            let before = field.before.clone().unwrap_or_default();
            set(&mut patch, &field.path, before);
        }
    }
    patch
}

fn annotation(value: &Value) -> Value {
    json!({"metadata": {"annotations": {HELD_ANNOTATION: value}}})
}

/// Sets what a pointer names, with the objects on the way to it.
fn set(patch: &mut Value, pointer: &str, value: Value) {
    let mut place = patch;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else {
            return;
        };
        place = members.entry(name).or_insert(Value::Null);
    }
    *place = value;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn application() -> ObjectRef {
        ObjectRef {
            api_version: "argoproj.io/v1alpha1".into(),
            kind: "Application".into(),
            plural: "applications".into(),
            namespace: "argocd".into(),
            name: "shop".into(),
        }
    }

    fn hold(live: &Value) -> Hold {
        let enabled = (
            "/spec/syncPolicy/automated/enabled".to_owned(),
            json!(false),
        );
        let skipped = (
            "/metadata/annotations/argocd.argoproj.io~1skip-reconcile".to_owned(),
            json!("true"),
        );
        Hold::of((application(), live), Purpose::Gitops, [enabled, skipped])
    }

    /// JSON Merge Patch, as RFC 7396 defines it.
    pub(crate) fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(members) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in members {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                merge(&mut target[name], value);
            }
        }
    }

    fn patched(mut live: Value, patch: &Value) -> Value {
        merge(&mut live, patch);
        live
    }

    fn let_go(hold: &Hold, live: &Value, rollback: &str) -> Value {
        match hold.let_go(live, rollback) {
            LetGo::Patch(patch) => patched(live.clone(), &patch),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_let_go_is_as_it_was() {
        for before in [
            json!({"metadata": {"uid": "u", "annotations": {"a": "b"}}, "spec": {"syncPolicy": {"automated": {"selfHeal": true}}}}),
            json!({"metadata": {"uid": "u", "annotations": {"a": "b"}}, "spec": {"syncPolicy": {"automated": {"enabled": true}}}}),
        ] {
            let hold = hold(&before);
            assert!(!hold.is_in_force(&before, "one"));
            let during = patched(before.clone(), &hold.take("one", 3));
            assert!(hold.is_in_force(&during, "one"));
            assert_eq!(during["spec"]["syncPolicy"]["automated"]["enabled"], false);
            assert_eq!(
                during["metadata"]["annotations"]["argocd.argoproj.io/skip-reconcile"],
                "true"
            );
            assert_eq!(patched(during.clone(), &hold.take("one", 3)), during);
            assert_eq!(let_go(&hold, &during, "one"), before);
            assert_eq!(hold.let_go(&before, "one"), LetGo::Done);
        }
    }

    #[test]
    fn a_second_rollback_takes_over_what_the_first_one_found() {
        let before = json!({"metadata": {"uid": "u", "annotations": {"a": "b"}}, "spec": {"syncPolicy": {"automated": {"enabled": true}}}});
        let first = hold(&before);
        let during = patched(before.clone(), &first.take("one", 3));
        let second = hold(&during);
        let during = patched(during, &second.take("two", 3));
        assert_eq!(holder(&during).as_deref(), Some("two"));
        assert_eq!(first.let_go(&during, "one"), LetGo::TakenOver("two".into()));
        assert_eq!(let_go(&second, &during, "two"), before);
    }

    #[test]
    fn an_annotation_that_somebody_took_away_loses_nothing() {
        let before = json!({"metadata": {"uid": "u", "annotations": {}}, "spec": {"syncPolicy": {"automated": {"enabled": true}}}});
        let hold = hold(&before);
        let mut during = patched(before.clone(), &hold.take("one", 3));
        let annotations = during["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove(HELD_ANNOTATION);
        assert_eq!(let_go(&hold, &during, "one"), before);
    }

    #[test]
    fn what_its_owner_chose_meanwhile_stays() {
        let before = json!({"metadata": {"uid": "u", "annotations": {}}, "spec": {"syncPolicy": {"automated": {"enabled": true}}}});
        let hold = hold(&before);
        let mut during = patched(before, &hold.take("one", 3));
        during["spec"]["syncPolicy"]["automated"]["enabled"] = json!("otherwise");
        assert!(hold.was_changed(&during));
        let after = let_go(&hold, &during, "one");
        assert_eq!(
            after["spec"]["syncPolicy"]["automated"]["enabled"],
            "otherwise"
        );
        assert_eq!(after["metadata"]["annotations"], json!({}));
    }
}
