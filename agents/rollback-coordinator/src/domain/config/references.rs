//! Where a pod template names `ConfigMaps` and Secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ConfigKind, Reference};

/// All `ConfigMaps` and Secrets that pods of a template see, each once. Secrets for pulling images are left out: the
/// kubelet reads those, not the program.
pub fn references(template: &Value) -> Vec<Reference> {
    let mut found = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in items(template, &format!("/spec/{list}")) {
            for source in items(container, "/envFrom") {
                one(
                    &mut found,
                    source,
                    ("configMapRef", "secretRef"),
                    "name",
                    true,
                );
            }
            for variable in items(container, "/env") {
                let source = variable.get("valueFrom").unwrap_or(&Value::Null);
                one(
                    &mut found,
                    source,
                    ("configMapKeyRef", "secretKeyRef"),
                    "name",
                    true,
                );
            }
        }
    }
    for volume in items(template, "/spec/volumes") {
        one(&mut found, volume, ("configMap", ""), "name", false);
        one(&mut found, volume, ("", "secret"), "secretName", false);
        for source in items(volume, "/projected/sources") {
            one(&mut found, source, ("configMap", "secret"), "name", false);
        }
    }
    let made =
        |((kind, name), (optional, in_environment)): ((ConfigKind, String), (bool, bool))| {
            Reference {
                kind,
                name,
                optional,
                in_environment,
            }
        };
    found.into_iter().map(made).collect()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

type Found = BTreeMap<(ConfigKind, String), (bool, bool)>;

/// Adds what a source names. It is optional only if every place that names it says so.
fn one(
    found: &mut Found,
    source: &Value,
    (map, secret): (&str, &str),
    name: &str,
    in_environment: bool,
) {
    for (kind, member) in [(ConfigKind::ConfigMap, map), (ConfigKind::Secret, secret)] {
        let Some(source) = source.get(member) else {
            continue;
        };
        let Some(name) = source.get(name).and_then(Value::as_str) else {
            continue;
        };
        let optional = source.get("optional") == Some(&Value::Bool(true));
        let place = found
            .entry((kind, name.to_owned()))
            .or_insert((true, false));
        place.0 &= optional;
        place.1 |= in_environment;
    }
}
