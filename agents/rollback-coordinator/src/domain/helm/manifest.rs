//! The objects of a release, as its manifest names them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most objects of one release that are looked at.
const MAX_OBJECTS: usize = 2_000;

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML.
    #[error("a manifest of the release is not YAML")]
    Yaml(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An object without kind or name.
    #[error("a manifest of the release has an object without apiVersion, kind or name")]
    Nameless,
    /// More than this agent looks at.
    #[error("a manifest of the release has more than {MAX_OBJECTS} objects")]
    TooMany,
}

/// What tells the objects of a cluster apart, whatever their version.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ObjectId {
    /// API group; empty for Kubernetes' core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace that the manifest names, or the release's.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Which it is.
    pub id: ObjectId,
    /// Version of its API group.
    pub version: String,
    /// As the manifest has it.
    pub body: Value,
}

impl Object {
    fn read(body: Value, namespace: &str) -> Option<Self> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let api_version = text("/apiVersion")?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Some(Self {
            id: ObjectId {
                group: group.to_owned(),
                kind: text("/kind")?.to_owned(),
                namespace: text("/metadata/namespace").unwrap_or(namespace).to_owned(),
                name: text("/metadata/name")?.to_owned(),
            },
            version: version.to_owned(),
            body,
        })
    }

    /// The object with the marks that Helm puts on everything it brings in.
    pub fn owned_by(&self, release: &str, namespace: &str) -> Value {
        let mut body = self.body.clone();
        mark(
            &mut body,
            "labels",
            &[("app.kubernetes.io/managed-by", "Helm")],
        );
        let annotations = [
            ("meta.helm.sh/release-name", release),
            ("meta.helm.sh/release-namespace", namespace),
        ];
        mark(&mut body, "annotations", &annotations);
        body
    }

    /// Whether Kubernetes itself defines its kind, so that lists of it merge by key.
    pub fn is_builtin(&self) -> bool {
        let group = &self.id.group;
        !group.contains('.') || (group.ends_with(".k8s.io") && !group.starts_with("gateway."))
    }
}

fn mark(body: &mut Value, group: &str, marks: &[(&str, &str)]) {
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let place = metadata.entry(group).or_insert(Value::Null);
    if !place.is_object() {
        *place = Map::new().into();
    }
    if let Some(members) = place.as_object_mut() {
        members.extend(
            marks
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::from(*value))),
        );
    }
}

/// The objects of a manifest, in its order.
///
/// # Errors
/// When it is not what Helm writes.
pub fn objects(manifest: &str, namespace: &str) -> Result<Vec<Object>, ManifestError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).map_err(|e| ManifestError::Yaml(Box::new(e)))?;
    let mut bodies = Vec::new();
    for mut document in documents.into_iter().filter(|one| !one.is_null()) {
        let is_list = document
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.ends_with("List"));
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => bodies.extend(items),
            Some(other) => {
                if let Some(members) = document.as_object_mut() {
                    members.insert("items".into(), other);
                }
                bodies.push(document);
            }
            None => bodies.push(document),
        }
    }
    if bodies.len() > MAX_OBJECTS {
        return Err(ManifestError::TooMany);
    }
    let read = |body| Object::read(body, namespace).ok_or(ManifestError::Nameless);
    bodies.into_iter().map(read).collect()
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The target's manifest has it, the bad one has not.
    Create,
    /// Both have it, but not the same.
    Change,
    /// Only the bad one has it.
    Remove,
}

/// An object that the two manifests do not have alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// As the manifest of the bad revision has it.
    pub before: Option<Object>,
    /// As the manifest of the target has it.
    pub after: Option<Object>,
}

impl Difference {
    /// What happens to it.
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (None, _) => Action::Create,
            (Some(_), Some(_)) => Action::Change,
            (Some(_), None) => Action::Remove,
        }
    }

    /// Which object it is.
    pub fn id(&self) -> Option<&ObjectId> {
        let object = self.after.as_ref().or(self.before.as_ref());
        object.map(|object| &object.id)
    }

    /// The way back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            before: self.after,
            after: self.before,
        }
    }

    /// Paths of what differs, without any value: two members deep, so that keys of data are named.
    pub fn fields(&self) -> Vec<String> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return Vec::new();
        };
        let mut fields = Vec::new();
        for member in differing(&before.body, &after.body) {
            let inner = |object: &Object| object.body.get(&member).cloned().unwrap_or_default();
            let (inner_before, inner_after) = (inner(before), inner(after));
            let deeper = differing(&inner_before, &inner_after);
            if deeper.is_empty() {
                fields.push(member);
            } else {
                fields.extend(deeper.iter().map(|key| format!("{member}.{key}")));
            }
        }
        fields
    }
}

fn differing(a: &Value, b: &Value) -> Vec<String> {
    let none = Map::new();
    let (a, b) = (
        a.as_object().unwrap_or(&none),
        b.as_object().unwrap_or(&none),
    );
    let mut keys: Vec<String> = a.keys().chain(b.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| a.get(key) != b.get(key));
    keys
}

/// The objects that two manifests do not have alike: what is there in the order of the target, then what goes.
pub fn differences(before: Vec<Object>, after: Vec<Object>) -> Vec<Difference> {
    let mut old: BTreeMap<ObjectId, Object> = before
        .into_iter()
        .map(|object| (object.id.clone(), object))
        .collect();
    let mut all: Vec<Difference> = Vec::new();
    for object in after {
        let before = old.remove(&object.id);
        if before
            .as_ref()
            .is_none_or(|before| before.body != object.body)
        {
            all.push(Difference {
                before,
                after: Some(object),
            });
        }
    }
    let gone = old.into_values().map(|object| Difference {
        before: Some(object),
        after: None,
    });
    all.extend(gone);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1', y: '2'}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: new}\n---\n";
    const AFTER: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}, data: {x: '1', y: '3', z: '1'}}]\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";

    #[test]
    fn tells_what_is_created_changed_and_removed() {
        let before = objects(BEFORE, "shop").unwrap();
        let all = differences(before, objects(AFTER, "shop").unwrap());
        let said: Vec<_> = all
            .iter()
            .map(|one| (one.id().unwrap().to_string(), one.action(), one.fields()))
            .collect();
        let metadata = || {
            vec![
                "data.y".to_owned(),
                "data.z".to_owned(),
                "metadata.namespace".to_owned(),
            ]
        };
        assert_eq!(
            said,
            [
                ("ConfigMap a".to_owned(), Action::Change, metadata()),
                ("ConfigMap b".to_owned(), Action::Create, vec![]),
                ("Service new".to_owned(), Action::Remove, vec![]),
            ]
        );
    }

    #[test]
    fn puts_the_marks_of_helm_on_an_object() {
        let all = objects("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {b: c}, annotations: null}}", "shop").unwrap();
        assert_eq!(
            all[0].owned_by("web", "shop")["metadata"],
            serde_json::json!({
                "name": "a", "labels": {"b": "c", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"},
            })
        );
    }

    #[test]
    fn refuses_what_is_no_object() {
        assert!(objects("a: [", "shop").is_err());
        assert!(objects("kind: Service", "shop").is_err());
    }
}
