//! What every object must have: a kind that exists, a name in the right form, well-formed labels.

use std::collections::HashMap;

use super::{
    finding::{Finding, Findings, Severity},
    names::{self, NameRule},
    object::{Gvk, Object},
    rules,
    schema::{self, Schema},
    yaml::Cursor,
};

/// Checks an object against the schema of its kind.
pub fn check_kind(schema: &Schema, object: &Object<'_>, findings: &mut Findings) {
    let Some(gvk) = object.gvk() else {
        let finding = Finding::at(
            &rules::SCHEMA_NO_KIND,
            object,
            &object.root,
            "apiVersion or kind is missing or no text",
        );
        return findings.push(finding.expected("apiVersion and kind"));
    };
    let place = object
        .root
        .get("kind")
        .unwrap_or_else(|| object.root.clone());
    let age = schema.lifecycle(&gvk);
    match (schema.find(&gvk), age) {
        (Some((table, kind)), age) => {
            if let Some(age) = age.filter(|a| a.deprecated.is_some()) {
                findings.push(aged(&rules::SCHEMA_DEPRECATED_API, object, &gvk, age));
            }
            schema::check(table, kind.shape, object, findings);
            if let Some(namespace) = object
                .root
                .path(&["metadata", "namespace"])
                .filter(|_| !kind.namespaced)
            {
                let message = format!("{} objects live in no namespace", gvk.kind);
                findings.push(
                    Finding::at(&rules::NAMESPACE_UNEXPECTED, object, &namespace, message)
                        .expected("no namespace"),
                );
            }
        }
        (None, Some(age)) if age.removed.is_some() => {
            findings.push(aged(&rules::SCHEMA_REMOVED_API, object, &gvk, age));
        }
        (None, _) => findings.push(unknown_kind(schema, object, &gvk, &place)),
    }
}

fn aged(rule: &rules::Rule, object: &Object<'_>, gvk: &Gvk, age: &schema::Lifecycle) -> Finding {
    let place = object
        .root
        .get("apiVersion")
        .unwrap_or_else(|| object.root.clone());
    let since = |word: &str, release: &Option<String>| {
        release
            .as_ref()
            .map(|r| format!(", {word} {r}"))
            .unwrap_or_default()
    };
    let message = format!(
        "{gvk} is{}{}",
        since("deprecated since", &age.deprecated),
        since("removed in", &age.removed)
    )
    .replace("is, ", "is ");
    let expected = age.replacement.as_ref().map_or_else(
        || "no replacement; drop the object".to_owned(),
        Gvk::to_string,
    );
    Finding::at(rule, object, &place, message)
        .expected(expected)
        .got(gvk.to_string())
}

/// A custom resource may well exist in the cluster (a warning); a kind of a built-in group may not (an error).
fn unknown_kind(schema: &Schema, object: &Object<'_>, gvk: &Gvk, place: &Cursor<'_>) -> Finding {
    let built_in = schema.knows_group(&gvk.group);
    let severity = if built_in {
        Severity::Error
    } else {
        Severity::Warning
    };
    let mut same_kind: Vec<_> = schema
        .all_kinds()
        .filter(|k| k.kind == gvk.kind && k.group == gvk.group)
        .collect();
    same_kind.extend(
        schema
            .all_kinds()
            .filter(|k| k.kind == gvk.kind && k.group != gvk.group),
    );
    let hint = same_kind.first().map(ToString::to_string).or_else(|| {
        let kinds = schema
            .all_kinds()
            .filter(|k| k.group == gvk.group)
            .map(|k| k.kind.as_str());
        schema::nearest(&gvk.kind, kinds).map(|kind| format!("{} {kind}", gvk.api_version()))
    });
    let message = match (&hint, built_in) {
        (Some(hint), _) => format!("unknown kind {gvk}; did you mean {hint}?"),
        (None, true) => format!(
            "unknown kind {gvk}: Kubernetes {} does not have it",
            schema.release()
        ),
        (None, false) => format!(
            "unknown kind {gvk}: a custom resource without its CustomResourceDefinition among the manifests is not checked"
        ),
    };
    let finding = Finding::at(&rules::SCHEMA_UNKNOWN_KIND, object, place, message)
        .severity(severity)
        .got(gvk.to_string());
    match hint {
        Some(hint) => finding.expected(hint),
        None => finding,
    }
}

/// Checks name and labels. A kind that the schema does not have may be a configuration file, not an object
/// of the API, and reviews are asked rather than stored: both go without a name.
pub fn check_metadata(schema: &Schema, object: &Object<'_>, findings: &mut Findings) {
    let Some(kind) = object.kind else { return };
    let is_review = matches!(
        object.group(),
        "authentication.k8s.io" | "authorization.k8s.io"
    );
    let is_stored = !is_review && object.gvk().is_some_and(|gvk| schema.find(&gvk).is_some());
    let metadata = object.root.get("metadata");
    if is_stored && object.name().is_none() {
        let place = metadata.as_ref().unwrap_or(&object.root);
        let finding = Finding::at(
            &rules::NAME_MISSING,
            object,
            place,
            "the object has no name",
        );
        findings.push(finding.expected("metadata.name or metadata.generateName"));
    }
    if let Some(metadata) = metadata {
        name(object, kind, &metadata, findings);
        labels(object, &metadata, findings);
    }
    if let Some(pod) = object
        .pod_template()
        .filter(|_| kind != "Pod")
        .and_then(|t| t.get("metadata"))
    {
        labels(object, &pod, findings);
    }
}

fn name(object: &Object<'_>, kind: &str, metadata: &Cursor<'_>, findings: &mut Findings) {
    let rule = NameRule::of(object.group(), kind);
    if let Some(name) = metadata.get("name")
        && let Some(text) = name.node().as_str().filter(|text| !rule.accepts(text))
    {
        let message = format!("`{text}` cannot be the name of a {kind}");
        findings.push(
            Finding::at(&rules::NAME_INVALID, object, &name, message)
                .expected(rule.expected())
                .got(name.describe()),
        );
    }
    if let Some(namespace) = metadata.get("namespace")
        && namespace
            .node()
            .as_str()
            .is_some_and(|text| !NameRule::Label.accepts(text))
    {
        let finding = Finding::at(
            &rules::NAME_INVALID,
            object,
            &namespace,
            "malformed namespace",
        );
        findings.push(
            finding
                .expected(NameRule::Label.expected())
                .got(namespace.describe()),
        );
    }
}

fn labels(object: &Object<'_>, metadata: &Cursor<'_>, findings: &mut Findings) {
    const EXPECTED: &str = "[domain/]name of letters, digits, '-', '_' and '.', at most 63 characters, a letter or digit at both ends";
    for map in ["labels", "annotations"] {
        let Some(map_at) = metadata.get(map) else {
            continue;
        };
        for (key, value) in map_at.fields() {
            // Annotation keys are compared in lower case, as the API server does.
            let malformed_value = map == "labels"
                && value
                    .node()
                    .as_str()
                    .is_some_and(|v| !names::label_value(v));
            let key = if map == "annotations" {
                key.to_ascii_lowercase()
            } else {
                key.to_owned()
            };
            if malformed_value || !names::qualified(&key) {
                let message = format!(
                    "malformed {} of {} `{key}`",
                    if malformed_value { "value" } else { "key" },
                    map.trim_end_matches('s')
                );
                findings.push(
                    Finding::at(&rules::LABEL_INVALID, object, &value, message)
                        .expected(EXPECTED)
                        .got(value.describe()),
                );
            }
        }
    }
}

/// Objects that occur twice.
pub fn check_duplicates(objects: &[Object<'_>], findings: &mut Findings) {
    let mut seen: HashMap<(&str, &str, &str, &str), &Object<'_>> = HashMap::new();
    for object in objects {
        let name = object
            .root
            .node()
            .path(&["metadata", "name"])
            .and_then(|n| n.as_str());
        let (Some(kind), Some(name)) = (object.kind, name) else {
            continue;
        };
        let key = (
            object.group(),
            kind,
            object.namespace().unwrap_or_default(),
            name,
        );
        if let Some(first) = seen.get(&key) {
            let message = format!(
                "the same object is already in {} at line {}",
                first.file,
                first.root.node().at.line
            );
            findings.push(Finding::at(
                &rules::OBJECT_DUPLICATE,
                object,
                &object.root,
                message,
            ));
        } else {
            seen.insert(key, object);
        }
    }
}
