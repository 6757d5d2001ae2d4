//! As much of OpenAPI v3 as `kubectl apply` asks for: that patches take `fieldValidation`.
//! Objects are checked against the published types instead of a schema.

use serde_json::{Map, Value, json};

use super::discovery::{groups, kinds};
use crate::domain::Kind;

/// Which documents there are.
pub(super) fn index() -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        paths.insert(path, url);
    };
    add("api/v1".to_owned());
    for (group, version) in groups() {
        add(format!("apis/{group}/{version}"));
    }
    json!({"paths": paths})
}

/// The document of a group and version.
pub(super) fn schema(group: &str, version: &str) -> Option<Value> {
    let kinds = kinds(group, version);
    let first = kinds.first()?;
    let root = if first.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let root = format!("{root}/{}", first.api_version());
    let paths = kinds.iter().map(|kind| {
        let place = if kind.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let path = format!("{root}{place}/{}/{{name}}", kind.plural);
        (path, json!({"patch": patch(kind)}))
    });
    let schemas = kinds.iter().map(|kind| {
        let gvk = json!([gvk(kind)]);
        let schema = json!({
            "type": "object", "x-kubernetes-group-version-kind": gvk,
            "x-kubernetes-preserve-unknown-fields": true,
        });
        (kind.kind.to_owned(), schema)
    });
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "cluster-model", "version": super::VERSION},
        "paths": paths.collect::<Map<_, _>>(),
        "components": {"schemas": schemas.collect::<Map<_, _>>()},
    }))
}

fn patch(kind: &Kind) -> Value {
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    json!({
        "operationId": format!("patch{}", kind.kind),
        "parameters": [query("dryRun"), query("fieldManager"), query("fieldValidation")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": gvk(kind),
    })
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}
