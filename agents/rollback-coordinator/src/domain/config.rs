//! `ConfigMaps` and Secrets that a pod template refers to. Kubernetes keeps no history of them, so this agent keeps the
//! content that a healthy revision ran with and puts it back with that revision.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod references;
mod restore;

pub use references::references;
pub use restore::{Restore, restore};

/// Most objects of one pod template that are kept; a template with more is not kept at all.
pub const MAX_REFERENCES: usize = 64;
/// Most bytes of content that are kept for one revision: 4 MiB. One object has at most 1 MiB.
pub const MAX_BYTES: usize = 4 << 20;
/// Label of a copy, with the kind of what it is a copy of.
pub const COPY_LABEL: &str = "ossa.io/copy-of";
/// Annotation of a copy, with the name of what it is a copy of.
pub const NAME_ANNOTATION: &str = "ossa.io/copied-name";
/// Annotation of a copy, with the type of the Secret: a copy itself is always opaque, so that no controller acts on it.
const TYPE_ANNOTATION: &str = "ossa.io/copied-type";
/// Annotation of a copy of something that must not be changed.
const IMMUTABLE_ANNOTATION: &str = "ossa.io/copied-immutable";
/// Longest part of a name that a copy's name repeats.
const MAX_NAME: usize = 180;
/// How long before a release a change of its configuration may lie: 15 minutes. What was changed earlier and ran since
/// is no part of the release, and stays.
pub const LEAD: time::Duration = time::Duration::minutes(15);

/// Kind of an object with configuration.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ConfigKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl ConfigKind {
    /// The kind's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// A reference of a pod template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Kind of the object.
    pub kind: ConfigKind,
    /// Its name.
    pub name: String,
    /// Whether the pod starts without it.
    pub optional: bool,
    /// Whether its values are in environment variables, which a running pod never sees change.
    pub in_environment: bool,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)
    }
}

/// What a healthy revision ran with. No content: that is in a copy in the cluster, whose name follows from this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the template refers to.
    pub reference: Reference,
    /// Hash of the content; absent when there was no such object.
    pub hash: Option<String>,
}

/// The content of an object: what a pod can see of it.
pub fn content(object: &Value) -> Value {
    let member = |name: &str| {
        object
            .get(name)
            .filter(|value| value.as_object().is_some_and(|map| !map.is_empty()))
    };
    let parts = ["data", "binaryData"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), member(name)?.clone())));
    parts.collect::<Map<_, _>>().into()
}

/// Bytes of a content, as the API holds it.
pub fn size(content: &Value) -> usize {
    let parts = content.as_object().into_iter().flat_map(Map::values);
    let values = parts.filter_map(Value::as_object).flatten();
    values
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

/// Name of the copy of a content. It holds the hash, so a copy never has to change.
pub fn copy_name(reference: &Reference, hash: &str) -> String {
    let name: String = reference.name.chars().take(MAX_NAME).collect();
    let short: String = hash.chars().take(20).collect();
    let name = name.trim_end_matches(['.', '-']);
    format!("{name}-kept-{short}")
}

/// A copy of an object, which goes when the workload goes.
pub fn copy(reference: &Reference, object: &Value, hash: &str, owner: &Owner) -> Value {
    let mut annotations = BTreeMap::from([(NAME_ANNOTATION, reference.name.clone())]);
    if let Some(kind) = object.get("type").and_then(Value::as_str) {
        annotations.insert(TYPE_ANNOTATION, kind.to_owned());
    }
    if is_immutable(object) {
        annotations.insert(IMMUTABLE_ANNOTATION, "true".to_owned());
    }
    let mut copy = json!({
        "apiVersion": "v1", "kind": reference.kind.word(), "immutable": true,
        "metadata": {
            "name": copy_name(reference, hash),
            "labels": {COPY_LABEL: reference.kind.word()},
            "annotations": annotations,
            "ownerReferences": [owner.reference()],
        },
    });
    if let (Some(members), Value::Object(content)) = (copy.as_object_mut(), content(object)) {
        members.extend(content);
    }
    copy
}

/// Whether an object says that it must not be changed.
pub fn is_immutable(object: &Value) -> bool {
    object.get("immutable") == Some(&Value::Bool(true))
}

/// The workload that copies belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion` of the workload.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: String,
}

impl Owner {
    /// The entry in `ownerReferences`.
    pub fn reference(&self) -> Value {
        json!({"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid})
    }

    /// Whether an object is owned by the workload, among others.
    pub fn owns(&self, object: &Value) -> bool {
        let owners = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        owners.is_some_and(|all| {
            all.iter()
                .any(|one| one.get("uid") == Some(&json!(self.uid)))
        })
    }
}

/// What a rollback does to one object with configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// Which object.
    pub reference: Reference,
    /// Hash of the content that is in force; absent when there is no such object.
    pub from: Option<String>,
    /// Hash of the content that comes back.
    pub to: String,
    /// Keys that the bad release added; they go.
    pub added: Vec<String>,
    /// Keys that it took away; they come back.
    pub removed: Vec<String>,
    /// Keys whose value it changed.
    pub changed: Vec<String>,
}

impl ConfigChange {
    /// What comes back, compared with what is in force; `None` when they are the same. Keys only, never values.
    pub fn between(
        kept: &Kept,
        (before, after): (&Value, &Value),
        hash: Option<String>,
    ) -> Option<Self> {
        let to = kept.hash.clone()?;
        if hash.as_ref() == Some(&to) {
            return None;
        }
        let (live, target) = (flat(before), flat(after));
        let only = |a: &BTreeMap<String, &Value>, b: &BTreeMap<String, &Value>| -> Vec<String> {
            a.keys()
                .filter(|key| !b.contains_key(*key))
                .cloned()
                .collect()
        };
        let changed = |key: &&String| {
            let there = live.get(*key);
            there.is_some() && there != target.get(*key)
        };
        Some(Self {
            reference: kept.reference.clone(),
            from: hash,
            to,
            added: only(&live, &target),
            removed: only(&target, &live),
            changed: target.keys().filter(changed).cloned().collect(),
        })
    }

    /// What it means, in a sentence.
    pub fn reason(&self) -> String {
        let count = self.added.len() + self.removed.len() + self.changed.len();
        let what = if self.from.is_some() {
            "differs in"
        } else {
            "is gone with"
        };
        format!(
            "{} {what} {count} keys from what the target ran with, and comes back",
            self.reference
        )
    }
}

/// Keys of all parts of a content.
fn flat(content: &Value) -> BTreeMap<String, &Value> {
    let parts = content.as_object().into_iter().flat_map(Map::values);
    let keys = parts.filter_map(Value::as_object).flatten();
    keys.map(|(key, value)| (key.clone(), value)).collect()
}

/// Whether an object was last changed long before the bad release came: then it is no part of it.
pub fn is_older(object: &Value, released: time::OffsetDateTime) -> bool {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let stamps = entries.into_iter().flatten().filter_map(|entry| {
        let text = entry.get("time")?.as_str()?;
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
    });
    stamps
        .max()
        .is_some_and(|changed| changed + LEAD < released)
}

#[cfg(test)]
mod tests;
