//! What pods are made from, as far as it can explain what goes wrong, and how two of these differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::messages::{Reference, ReferenceKind};

/// A pod template in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Image of each container.
    pub images: BTreeMap<String, String>,
    /// Objects that its pods cannot start without.
    pub needs: BTreeSet<Reference>,
    /// What a pod asks for, in thousandths (of cores, bytes, pieces).
    pub requests: BTreeMap<String, i64>,
    /// Digest of what decides on its place: selector, affinity, tolerations, spread, priority, scheduler.
    pub placement: u64,
    /// Digest of its volumes.
    pub volumes: u64,
    /// Digest of commands, arguments and environments.
    pub settings: u64,
    /// Digest of its probes.
    pub probes: u64,
    /// Digest of its service account and security contexts.
    pub security: u64,
    /// Digest of all of it.
    pub whole: u64,
}

/// A part of a template that differs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// An image.
    Images,
    /// `ConfigMaps`, Secrets, claims or the service account that its pods need.
    References,
    /// Resource requests.
    Requests,
    /// Selector, affinity, tolerations, spread, priority or scheduler.
    Placement,
    /// Volumes.
    Volumes,
    /// Commands, arguments or environments.
    Settings,
    /// Probes.
    Probes,
    /// Service account or security contexts.
    Security,
    /// Something else, annotations for example.
    Other,
}

impl Template {
    /// Reads a pod template as the API writes it.
    pub fn of(template: &Value) -> Self {
        let spec = template.get("spec").unwrap_or(&Value::Null);
        let own: Vec<&Value> = list(spec, "containers").collect();
        let first: Vec<&Value> = list(spec, "initContainers").collect();
        let all = || own.iter().chain(&first).copied();
        let named = |c: &Value| Some((text(c, "name")?, text(c, "image")?));
        let parts = |fields: &[&str]| digest(all().flat_map(|c| pick(c, fields)));
        let labels = template.pointer("/metadata/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let label =
            |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        Self {
            labels: labels.filter_map(label).collect(),
            images: all().filter_map(named).collect(),
            needs: needs(spec, all()),
            requests: requests(&own, &first),
            placement: digest(pick(spec, &PLACEMENT)),
            volumes: digest(pick(spec, &["volumes"])),
            settings: parts(&["command", "args", "env", "envFrom", "ports", "workingDir"]),
            probes: parts(&["readinessProbe", "livenessProbe", "startupProbe"]),
            security: digest(
                pick(spec, &["serviceAccountName", "securityContext"])
                    .into_iter()
                    .chain(all().flat_map(|c| pick(c, &["securityContext"]))),
            ),
            whole: digest([("template", template)]),
        }
    }

    /// What differs from an earlier template.
    pub fn changed_since(&self, earlier: &Self) -> BTreeSet<Field> {
        let differs = [
            (Field::Images, self.images != earlier.images),
            (Field::References, self.needs != earlier.needs),
            (Field::Requests, self.requests != earlier.requests),
            (Field::Placement, self.placement != earlier.placement),
            (Field::Volumes, self.volumes != earlier.volumes),
            (Field::Settings, self.settings != earlier.settings),
            (Field::Probes, self.probes != earlier.probes),
            (Field::Security, self.security != earlier.security),
        ];
        let mut fields: BTreeSet<Field> = differs
            .into_iter()
            .filter_map(|(field, differs)| differs.then_some(field))
            .collect();
        if fields.is_empty() && self.whole != earlier.whole {
            fields.insert(Field::Other);
        }
        fields
    }

    /// Whether it asks for more of a resource than an earlier template did.
    pub fn asks_more(&self, earlier: &Self, resource: &str) -> bool {
        let of = |template: &Self| template.requests.get(resource).copied().unwrap_or(0);
        of(self) > of(earlier)
    }
}

const PLACEMENT: [&str; 8] = [
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "priorityClassName",
    "schedulerName",
    "nodeName",
    "runtimeClassName",
];

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(str::to_owned)
}

fn pick<'a, 'b>(value: &'a Value, fields: &'b [&'b str]) -> Vec<(&'b str, &'a Value)> {
    let fields = fields.iter();
    fields
        .filter_map(|field| Some((*field, value.get(*field)?)))
        .collect()
}

/// Within one process only: digests are compared, never kept.
fn digest<'a>(parts: impl IntoIterator<Item = (&'a str, &'a Value)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in parts {
        name.hash(&mut hasher);
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// Kubernetes' rule: the sum of the containers, or the largest of those that run before them.
fn requests(own: &[&Value], first: &[&Value]) -> BTreeMap<String, i64> {
    let of = |container: &Value| -> BTreeMap<String, i64> {
        let requests = container.pointer("/resources/requests");
        let requests = requests.and_then(Value::as_object).into_iter().flatten();
        let read = |(name, amount): (&String, &Value)| {
            let amount = amount
                .as_str()
                .map_or_else(|| amount.to_string(), str::to_owned);
            Some((name.clone(), thousandths(&amount)?))
        };
        requests.filter_map(read).collect()
    };
    let mut sum = BTreeMap::new();
    for (name, amount) in own.iter().flat_map(|container| of(container)) {
        let total: &mut i64 = sum.entry(name).or_default();
        *total = total.saturating_add(amount);
    }
    for (name, amount) in first.iter().flat_map(|container| of(container)) {
        let total = sum.entry(name).or_default();
        *total = amount.max(*total);
    }
    sum
}

/// Thousandths of a quantity.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a quantity is rounded to thousandths"
)]
pub fn thousandths(quantity: &str) -> Option<i64> {
    let value = usage::quantity::parse(quantity).ok()? * 1_000.0;
    value.is_finite().then_some(value.round() as i64)
}

/// What a pod cannot start without; what is marked optional is left out.
fn needs<'a>(spec: &Value, containers: impl Iterator<Item = &'a Value>) -> BTreeSet<Reference> {
    let mut needs = BTreeSet::new();
    let mut need = |kind, source: Option<&Value>, field: &str| {
        let optional = |source: &&Value| source.get("optional") != Some(&Value::Bool(true));
        let name = source
            .filter(optional)
            .and_then(|source| text(source, field));
        needs.extend(name.map(|name| Reference { kind, name }));
    };
    for volume in list(spec, "volumes") {
        let projected = volume.get("projected").into_iter();
        let projected = projected.flat_map(|projected| list(projected, "sources"));
        need(ReferenceKind::ConfigMap, volume.get("configMap"), "name");
        need(ReferenceKind::Secret, volume.get("secret"), "secretName");
        let claim = volume.get("persistentVolumeClaim");
        need(ReferenceKind::Claim, claim, "claimName");
        for source in projected {
            need(ReferenceKind::ConfigMap, source.get("configMap"), "name");
            need(ReferenceKind::Secret, source.get("secret"), "name");
        }
    }
    for container in containers {
        for source in list(container, "envFrom") {
            need(ReferenceKind::ConfigMap, source.get("configMapRef"), "name");
            need(ReferenceKind::Secret, source.get("secretRef"), "name");
        }
        for variable in list(container, "env") {
            let of = |field| variable.pointer(field);
            need(
                ReferenceKind::ConfigMap,
                of("/valueFrom/configMapKeyRef"),
                "name",
            );
            need(ReferenceKind::Secret, of("/valueFrom/secretKeyRef"), "name");
        }
    }
    need(
        ReferenceKind::ServiceAccount,
        Some(spec),
        "serviceAccountName",
    );
    needs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn web() -> Value {
        json!({"spec": {"serviceAccountName": "web", "nodeSelector": {"disk": "ssd"},
            "volumes": [{"name": "a", "configMap": {"name": "settings"}}, {"name": "b", "secret": {"secretName": "tls"}},
                {"name": "c", "secret": {"secretName": "maybe", "optional": true}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "e", "projected": {"sources": [{"configMap": {"name": "more"}}]}}],
            "initContainers": [{"name": "migrate", "image": "web:1", "resources": {"requests": {"memory": "3Gi"}}}],
            "containers": [{"name": "web", "image": "web:1", "envFrom": [{"secretRef": {"name": "env"}}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "a"}}}],
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}},
                {"name": "side", "image": "side:1", "resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}]}})
    }

    #[test]
    fn names_what_a_pod_needs_and_asks_for() {
        let template = Template::of(&web());
        let needs: Vec<String> = template.needs.iter().map(ToString::to_string).collect();
        assert_eq!(
            needs,
            [
                "ConfigMap more",
                "ConfigMap one",
                "ConfigMap settings",
                "Secret env",
                "Secret tls",
                "PersistentVolumeClaim data",
                "ServiceAccount web"
            ]
        );
        assert_eq!(template.requests.get("cpu"), Some(&1_500));
        // The init container's 3 Gi are more than the sum of the others.
        assert_eq!(
            template.requests.get("memory"),
            Some(&(3 * 1024 * 1024 * 1024 * 1_000))
        );
        assert_eq!(template.images.len(), 3);
    }

    #[test]
    fn tells_which_parts_differ() {
        let old = Template::of(&web());
        let change = |pointer: &str, value: Value| {
            let mut web = web();
            *web.pointer_mut(pointer).unwrap() = value;
            let fields = Template::of(&web).changed_since(&old);
            fields.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(
            change("/spec/containers/0/image", json!("web:2")),
            [Field::Images]
        );
        assert_eq!(
            change("/spec/nodeSelector/disk", json!("nvme")),
            [Field::Placement]
        );
        assert_eq!(
            change("/spec/containers/0/resources/requests/cpu", json!("64")),
            [Field::Requests]
        );
        assert_eq!(
            change("/spec/volumes/0/configMap/name", json!("new")),
            [Field::References, Field::Volumes]
        );
        let mut annotated = web();
        annotated["metadata"] = json!({"annotations": {"restarted": "now"}});
        let fields = Template::of(&annotated).changed_since(&old);
        assert_eq!(fields.into_iter().collect::<Vec<_>>(), [Field::Other]);
        assert!(old.changed_since(&old).is_empty());
    }
}
