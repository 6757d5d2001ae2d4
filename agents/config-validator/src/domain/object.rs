//! One Kubernetes object: a document, or an item of a List.

use super::yaml::{Cursor, Node};

/// A file of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name in findings.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// A group, version and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group, empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl Gvk {
    /// From the two fields of an object.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// `group/version`, or the version alone for the core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl std::fmt::Display for Gvk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

/// One object and where it comes from.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    /// File as named in the request.
    pub file: &'a str,
    /// Document in the file, from 0.
    pub document: usize,
    /// The object, with its pointer in the document (not empty for items of a List).
    pub root: Cursor<'a>,
    /// `apiVersion`, when it is text.
    pub api_version: Option<&'a str>,
    /// `kind`, when it is text.
    pub kind: Option<&'a str>,
}

impl<'a> Object<'a> {
    /// The objects of a document: itself, or what is in it when it is a List (a List in a List too).
    pub fn all_in(file: &'a str, document: usize, root: &'a Node) -> Vec<Self> {
        let mut objects = Vec::new();
        let mut waiting = vec![Cursor::new(root, "")];
        while let Some(place) = waiting.pop() {
            let kind = place.text("kind");
            let items = place
                .get("items")
                .filter(|items| items.node().type_name() == "array");
            match (kind, items) {
                (Some(kind), Some(items)) if kind.ends_with("List") => {
                    waiting.extend(items.items());
                }
                _ => objects.push(Self {
                    file,
                    document,
                    api_version: place.text("apiVersion"),
                    kind,
                    root: place,
                }),
            }
        }
        objects.reverse();
        objects
    }

    /// Its group, version and kind.
    pub fn gvk(&self) -> Option<Gvk> {
        Some(Gvk::new(self.api_version?, self.kind?))
    }

    /// API group, empty for the core.
    pub fn group(&self) -> &'a str {
        self.api_version
            .and_then(|v| v.split_once('/'))
            .map_or("", |(group, _)| group)
    }

    /// Whether it is of this built-in kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.kind == Some(kind) && self.group() == group
    }

    /// `metadata.name`, else `metadata.generateName`.
    pub fn name(&self) -> Option<&'a str> {
        let metadata = self.root.node().get("metadata")?;
        ["name", "generateName"]
            .iter()
            .find_map(|key| metadata.get(key)?.as_str())
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> Option<&'a str> {
        self.root.node().path(&["metadata", "namespace"])?.as_str()
    }

    /// `Kind namespace/name`, as far as they are known.
    pub fn title(&self) -> String {
        let kind = self.kind.unwrap_or("object");
        match (self.namespace(), self.name()) {
            (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
            (None, Some(name)) => format!("{kind} {name}"),
            (_, None) => kind.to_owned(),
        }
    }

    /// The pod template (`metadata` and `spec`) of a workload, or the pod itself.
    pub fn pod_template(&self) -> Option<Cursor<'a>> {
        let way: &[&str] = match (self.group(), self.kind?) {
            ("", "Pod") => return Some(self.root.clone()),
            ("", "PodTemplate") => &["template"],
            ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => &["spec", "template"],
            ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
            _ => return None,
        };
        self.root.path(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::yaml::compose;

    #[test]
    fn lists_are_taken_apart_and_keep_their_pointers() {
        let text = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ServiceList, items: [{kind: Service, apiVersion: v1, metadata: {name: b, namespace: x}}]}\n";
        let composed = compose(text).unwrap();
        let objects = Object::all_in("f", 0, &composed.documents[0]);
        let found: Vec<_> = objects
            .iter()
            .map(|o| (o.title(), o.root.pointer().to_owned()))
            .collect();
        assert_eq!(
            found,
            [
                ("ConfigMap a".to_owned(), "/items/0".to_owned()),
                ("Service x/b".to_owned(), "/items/1/items/0".to_owned())
            ]
        );
    }

    #[test]
    fn finds_the_pod_in_a_cron_job() {
        let text = "apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: []}}}}}\n";
        let composed = compose(text).unwrap();
        let objects = Object::all_in("f", 0, &composed.documents[0]);
        assert_eq!(
            objects[0].pod_template().unwrap().pointer(),
            "/spec/jobTemplate/spec/template"
        );
    }
}
