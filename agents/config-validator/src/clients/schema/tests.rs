//! The built-in schema, alone and against a second, independent validator.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};

use super::*;
use crate::domain::{
    finding::Severity,
    object::{Gvk, SourceFile},
    pod_security::PodSecurity,
    validate::{Manifests, validate},
};

const DEPLOYMENT: &str =
    include_str!("../../../../../examples/shop/releases/1.0.0/manifests/deployment.yaml");

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| built_in().unwrap());

fn errors(yaml: &str) -> Vec<(String, String)> {
    let files = [SourceFile {
        name: "f.yaml".into(),
        content: yaml.into(),
    }];
    let manifests = Manifests::read(&files).unwrap();
    let (findings, _) = validate(&manifests, &SCHEMA, PodSecurity::Baseline);
    let errors = findings
        .kept()
        .iter()
        .filter(|f| f.severity == Severity::Error && f.rule.starts_with("schema-"));
    errors
        .map(|f| (f.rule.clone(), f.pointer.clone()))
        .collect()
}

#[test]
fn has_the_kinds_of_the_release() {
    let schema = built_in().unwrap();
    assert_eq!(schema.release(), "v1.37.2");
    assert!(schema.kinds() > 80, "{}", schema.kinds());
    for (api, kind, namespaced) in [
        ("apps/v1", "Deployment", true),
        ("v1", "Namespace", false),
        ("v1", "Service", true),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", false),
    ] {
        assert_eq!(
            schema.find(&Gvk::new(api, kind)).unwrap().1.namespaced,
            namespaced,
            "{kind}"
        );
    }
    let removed = schema
        .lifecycle(&Gvk::new("policy/v1beta1", "PodDisruptionBudget"))
        .unwrap();
    assert_eq!(removed.removed.as_deref(), Some("1.25"));
}

#[test]
fn a_file_may_replace_it_plain_or_packed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("swagger.json");
    std::fs::write(&plain, inflate(BUILT_IN).unwrap()).unwrap();
    let packed = folder.path().join("packed");
    std::fs::write(&packed, BUILT_IN).unwrap();
    for file in [plain, packed] {
        assert_eq!(
            LazySchema::new(Some(file)).get().unwrap().kinds(),
            built_in().unwrap().kinds()
        );
    }
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "{}").unwrap();
    assert!(matches!(
        LazySchema::new(Some(wrong)).get(),
        Err(LoadSchemaError::Compile(_))
    ));
    assert!(matches!(
        LazySchema::new(Some(folder.path().join("none"))).get(),
        Err(LoadSchemaError::Read { .. })
    ));
}

/// The built-in document as JSON Schema, for the `jsonschema` crate: closed objects, and the few definitions
/// whose meaning the document leaves to their descriptions.
fn json_schema(gvk: (&str, &str, &str)) -> Value {
    let document: Value = serde_json::from_slice(&inflate(BUILT_IN).unwrap()).unwrap();
    let mut definitions = document["definitions"].clone();
    for schema in definitions.as_object_mut().unwrap().values_mut() {
        close(schema);
    }
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] =
        json!({"type": ["integer", "string", "null"]});
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = json!({"anyOf": [{"type": ["number", "null"]}, {"type": "string", "pattern": "^[+-]?([0-9]+|[0-9]+\\.[0-9]*|\\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"}]});
    let wanted = json!([{"group": gvk.0, "version": gvk.1, "kind": gvk.2}]);
    let root = document["definitions"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, d)| d["x-kubernetes-group-version-kind"] == wanted)
        .unwrap()
        .0;
    json!({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": format!("#/definitions/{root}"), "definitions": definitions})
}

/// Unknown fields forbidden, null allowed wherever the API server drops it.
fn close(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::String(kind)) = fields.get("type").cloned() {
        fields.insert("type".into(), json!([kind, "null"]));
    }
    if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".into(), json!(false));
    }
    match fields.get("format").and_then(Value::as_str) {
        Some("int32") => {
            fields.insert("minimum".into(), json!(i32::MIN));
            fields.insert("maximum".into(), json!(i32::MAX));
        }
        Some("byte") => {
            fields.insert(
                "pattern".into(),
                json!("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"),
            );
        }
        _ => {}
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.extend([json!(""), json!(null)]);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = fields.get_mut(key) {
            close(child);
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
}

/// Every place in a value, as a pointer.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, v)| {
            places(
                v,
                &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                found,
            );
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, v)| places(v, &format!("{pointer}/{i}"), found)),
        _ => {}
    }
}

/// A copy of the object for each kind of mistake at each place.
fn mutations(object: &Value) -> BTreeMap<String, Value> {
    let mut all = Vec::new();
    places(object, "", &mut all);
    let mut mutated = BTreeMap::new();
    for pointer in all
        .iter()
        .filter(|p| !p.is_empty() && !matches!(p.as_str(), "/apiVersion" | "/kind"))
    {
        for wrong in [
            json!(true),
            json!(-3),
            json!("Wrong!"),
            json!([1]),
            json!({"unknown": 1}),
            json!(9_999_999_999_i64),
            json!(1.5),
        ] {
            let mut copy = object.clone();
            *copy.pointer_mut(pointer).unwrap() = wrong.clone();
            mutated.insert(format!("{pointer} = {wrong}"), copy);
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut copy = object.clone();
        if let Some(Value::Object(fields)) = copy.pointer_mut(parent) {
            let value = fields.remove(&key.replace("~1", "/").replace("~0", "~"));
            mutated.insert(format!("{pointer} removed"), copy.clone());
            if let Some(Value::Object(fields)) = copy.pointer_mut(parent) {
                fields.insert(format!("{key}x"), value.unwrap());
            }
            mutated.insert(format!("{pointer} misspelt"), copy);
        }
    }
    mutated
}

/// A second implementation: the `jsonschema` crate over the same document must agree on every mutation.
#[test]
fn agrees_with_a_json_schema_validator_on_single_mutations() {
    let files = [SourceFile {
        name: "d".into(),
        content: DEPLOYMENT.into(),
    }];
    let manifests = Manifests::read(&files).unwrap();
    let deployment = manifests.objects()[0].root.node().to_json();
    let validator = jsonschema::validator_for(&json_schema(("apps", "v1", "Deployment"))).unwrap();
    assert!(
        validator.is_valid(&deployment) && errors(DEPLOYMENT).is_empty(),
        "{:?}",
        errors(DEPLOYMENT)
    );
    let mutated = mutations(&deployment);
    assert!(mutated.len() > 500, "{}", mutated.len());
    let mut refused = 0;
    for (name, object) in mutated {
        let ours = errors(&object.to_string());
        let theirs = validator.is_valid(&object);
        refused += usize::from(!theirs);
        assert_eq!(ours.is_empty(), theirs, "{name}: {ours:?}");
    }
    assert!(refused > 400, "{refused}");
}

#[test]
fn custom_resources_are_checked_once_their_definition_is_there() {
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: carts.shop.example}\nspec:\n  group: shop.example\n  scope: Namespaced\n  names: {kind: Cart, plural: carts}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n          spec:\n            type: object\n            required: [size]\n            properties: {size: {type: integer, minimum: 1}, colour: {type: string, enum: [red, blue]}}\n";
    let cart = |spec: &str| {
        format!(
            "{definition}---\napiVersion: shop.example/v1\nkind: Cart\nmetadata: {{name: a, namespace: b}}\nspec: {spec}\n"
        )
    };
    assert_eq!(errors(&cart("{size: 3, colour: red}")), []);
    let found = errors(&cart("{size: 0, colour: green, wheels: 4}"));
    let rules: Vec<_> = found
        .iter()
        .map(|(rule, pointer)| (rule.as_str(), pointer.as_str()))
        .collect();
    assert_eq!(
        rules,
        [
            ("schema-format", "/spec/size"),
            ("schema-unknown-value", "/spec/colour"),
            ("schema-unknown-field", "/spec/wheels")
        ]
    );
    assert_eq!(errors(&cart("{}"))[0].0, "schema-missing-field");
}
