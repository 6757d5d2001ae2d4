//! Roles, bindings and workloads, read from manifests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A policy rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// API groups; `""` is the core group.
    pub api_groups: Vec<String>,
    /// Resources, with subresources as `pods/exec`.
    pub resources: Vec<String>,
    /// Names the rule is limited to; all when empty.
    pub resource_names: Vec<String>,
    /// Paths outside the API groups.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
}

impl Rule {
    /// Whether one of the verbs on this resource is allowed, wildcards included.
    pub fn allows(&self, group: &str, resource: &str, verbs: &[&str]) -> bool {
        let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
        let has =
            |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let resource_fits = has(&self.resources, resource)
            || subresource.is_some_and(|subresource| {
                self.resources
                    .iter()
                    .any(|item| item.strip_prefix("*/") == Some(subresource))
            });
        has(&self.api_groups, group)
            && resource_fits
            && verbs.iter().any(|verb| has(&self.verbs, verb))
    }

    /// Whether it allows everything on everything.
    pub fn allows_everything(&self) -> bool {
        let all = |list: &[String]| list.iter().any(|item| item == "*");
        all(&self.verbs)
            && all(&self.resources)
            && all(&self.api_groups)
            && self.resource_names.is_empty()
    }

    /// The rule on one line.
    pub fn to_line(&self) -> String {
        let verbs = self.verbs.join(",");
        let objects = if self.non_resource_urls.is_empty() {
            let named = |group: &String| {
                if group.is_empty() {
                    String::from("core")
                } else {
                    group.clone()
                }
            };
            let groups: Vec<String> = self.api_groups.iter().map(named).collect();
            format!("{} in {}", self.resources.join(","), groups.join(","))
        } else {
            self.non_resource_urls.join(",")
        };
        if self.resource_names.is_empty() {
            format!("{verbs} {objects}")
        } else {
            format!("{verbs} {objects} named {}", self.resource_names.join(","))
        }
    }
}

/// A Role or `ClusterRole`.
#[derive(Debug, Clone)]
pub struct Role {
    /// Namespace; none for a `ClusterRole`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Labels, which aggregation selects by.
    pub labels: BTreeMap<String, String>,
    /// Its own rules.
    pub rules: Vec<Rule>,
    /// Selectors of the `ClusterRoles` whose rules it takes over.
    pub aggregates: Vec<Selector>,
}

impl Role {
    /// `ClusterRole/name` or `Role/namespace/name`.
    pub fn key(&self) -> String {
        role_key(self.namespace.as_deref(), &self.name)
    }
}

pub(super) fn role_key(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(
        || format!("ClusterRole/{name}"),
        |namespace| format!("Role/{namespace}/{name}"),
    )
}

/// A label selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl Selector {
    /// Whether labels satisfy it. An empty selector selects everything.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| {
                let label = labels.get(&expression.key);
                match expression.operator.as_str() {
                    "In" => label.is_some_and(|label| expression.values.contains(label)),
                    "NotIn" => label.is_none_or(|label| !expression.values.contains(label)),
                    "Exists" => label.is_some(),
                    "DoesNotExist" => label.is_none(),
                    _ => false,
                }
            })
    }
}

/// A `RoleBinding` or `ClusterRoleBinding`.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Namespace; none for a `ClusterRoleBinding`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Whether the role is a `ClusterRole`.
    pub cluster_role: bool,
    /// Name of the role.
    pub role: String,
    /// Who gets it.
    pub subjects: Vec<SubjectRef>,
}

/// A subject as a binding names it.
#[derive(Debug, Clone, Deserialize)]
pub struct SubjectRef {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace of a service account.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// What runs with a service account.
#[derive(Debug, Clone)]
pub struct Workload {
    /// `Deployment/shop/web`.
    pub key: String,
    /// Namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Whether it says itself that it wants no token.
    pub token_mounted: bool,
}

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadObjectsError {
    /// Not YAML or JSON, or beyond the limits of nesting and aliases.
    #[error("not valid YAML or JSON: {0}")]
    Syntax(String),
    /// An RBAC object does not have the fields of its kind.
    #[error("not a valid {kind}: {reason}")]
    Shape {
        /// Kind of the object.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

/// All objects of an audit.
#[derive(Debug, Default)]
pub struct Objects {
    /// Roles and `ClusterRoles`.
    pub roles: Vec<Role>,
    /// `RoleBindings` and `ClusterRoleBindings`.
    pub bindings: Vec<Binding>,
    /// Workloads.
    pub workloads: Vec<Workload>,
    /// Objects of other kinds, which say nothing about access.
    pub other: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRole {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
    #[serde(default)]
    aggregation_rule: Option<RawAggregation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAggregation {
    #[serde(default)]
    cluster_role_selectors: Vec<Selector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBinding {
    role_ref: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<SubjectRef>>,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

impl Objects {
    /// Adds every document of a YAML stream, or a JSON object.
    ///
    /// # Errors
    /// `Syntax` or `Shape`.
    pub fn add_text(&mut self, text: &str) -> Result<(), ReadObjectsError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|e| ReadObjectsError::Syntax(first_line(&e.to_string())))?;
        documents
            .into_iter()
            .try_for_each(|document| self.add(&document))
    }

    /// Adds an object, or the items of a List.
    ///
    /// # Errors
    /// `Shape`.
    pub fn add(&mut self, object: &Value) -> Result<(), ReadObjectsError> {
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let invalid = |reason: String| ReadObjectsError::Shape {
            kind: kind.clone(),
            reason,
        };
        if let Some(Value::Array(items)) = object.get("items").filter(|_| kind.ends_with("List")) {
            return items.iter().try_for_each(|item| self.add(item));
        }
        let namespace =
            || Some(metadata(object, "namespace").unwrap_or_else(|| String::from("default")));
        match kind.as_str() {
            "ClusterRole" => self.roles.push(role(object, None).map_err(invalid)?),
            "Role" => self.roles.push(role(object, namespace()).map_err(invalid)?),
            "ClusterRoleBinding" => self.bindings.push(binding(object, None).map_err(invalid)?),
            "RoleBinding" => self
                .bindings
                .push(binding(object, namespace()).map_err(invalid)?),
            _ => match workload(&kind, object) {
                Some(workload) => self.workloads.push(workload),
                None => self.other += usize::from(!object.is_null()),
            },
        }
        Ok(())
    }
}

/// Parser messages may go on with an excerpt of the text, which could hold secrets.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn metadata(object: &Value, key: &str) -> Option<String> {
    object
        .get("metadata")?
        .get(key)?
        .as_str()
        .map(str::to_owned)
}

fn name(object: &Value) -> Result<String, String> {
    metadata(object, "name").ok_or_else(|| String::from("metadata.name is missing"))
}

fn role(object: &Value, namespace: Option<String>) -> Result<Role, String> {
    let raw = RawRole::deserialize(object).map_err(|e| e.to_string())?;
    let labels = object
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"))
        .and_then(|labels| BTreeMap::deserialize(labels).ok())
        .unwrap_or_default();
    let aggregates = raw
        .aggregation_rule
        .map(|aggregation| aggregation.cluster_role_selectors)
        .unwrap_or_default();
    Ok(Role {
        namespace,
        name: name(object)?,
        labels,
        rules: raw.rules.unwrap_or_default(),
        aggregates,
    })
}

fn binding(object: &Value, namespace: Option<String>) -> Result<Binding, String> {
    let RawBinding { role_ref, subjects } =
        RawBinding::deserialize(object).map_err(|e| e.to_string())?;
    Ok(Binding {
        namespace,
        name: name(object)?,
        cluster_role: role_ref.kind == "ClusterRole",
        role: role_ref.name,
        subjects: subjects.unwrap_or_default(),
    })
}

fn workload(kind: &str, object: &Value) -> Option<Workload> {
    let spec = object.get("spec")?;
    let pod = match kind {
        "Pod" => spec,
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => spec.get("template")?.get("spec")?,
        "CronJob" => spec
            .get("jobTemplate")?
            .get("spec")?
            .get("template")?
            .get("spec")?,
        _ => return None,
    };
    let text = |key: &str| {
        pod.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let namespace = metadata(object, "namespace").unwrap_or_else(|| String::from("default"));
    Some(Workload {
        key: format!(
            "{kind}/{namespace}/{}",
            metadata(object, "name").unwrap_or_default()
        ),
        namespace,
        service_account: text("serviceAccountName")
            .or_else(|| text("serviceAccount"))
            .unwrap_or("default")
            .to_owned(),
        token_mounted: pod
            .get("automountServiceAccountToken")
            .and_then(Value::as_bool)
            != Some(false),
    })
}
