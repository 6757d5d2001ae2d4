//! The agent card and the `OpenRPC` document, both made from the registry and the manifest.

use manifest::Manifest;
use serde_json::{Value, json};

use crate::registry::Registry;

/// The A2A 1.0 agent card (`GET /.well-known/agent-card.json`).
pub fn agent_card(registry: &Registry, manifest: &Manifest, url: &str) -> Value {
    let skills: Vec<Value> = registry
        .iter()
        .map(|skill| {
            json!({
                "id": skill.id, "name": skill.name, "description": skill.description, "tags": skill.tags,
                "inputModes": ["application/json"], "outputModes": ["application/json"],
            })
        })
        .collect();
    let role = manifest
        .role
        .as_deref()
        .or(manifest.description.as_deref())
        .unwrap_or_default();
    json!({
        "name": manifest.name,
        "description": role,
        "version": manifest.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION")),
        "supportedInterfaces": [{"url": format!("{url}/a2a"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": false, "pushNotifications": false, "extendedAgentCard": false},
        "securitySchemes": {"mtls": {"mtlsSecurityScheme": {"description": "X.509 SVID of this mesh's trust domain, TLS 1.3"}}},
        "securityRequirements": [{"schemes": {"mtls": {"list": []}}}],
        "defaultInputModes": ["application/json", "text/plain"],
        "defaultOutputModes": ["application/json"],
        "skills": skills,
    })
}

/// The `OpenRPC` 1.3 description of the direct methods (`rpc.discover`).
pub fn open_rpc(registry: &Registry, manifest: &Manifest) -> Value {
    let methods: Vec<Value> = registry
        .iter()
        .map(|skill| {
            let required = skill.input.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            let definitions = skill.input.get("$defs").cloned().unwrap_or_else(|| json!({}));
            let properties = skill.input.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            let params: Vec<Value> = properties
                .into_iter()
                .map(|(name, schema)| json!({"required": required.contains(&Value::String(name.clone())), "name": name, "schema": with_definitions(schema, &definitions)}))
                .collect();
            json!({
                "name": skill.id, "summary": skill.name, "description": skill.description, "paramStructure": "by-name",
                "params": params, "result": {"name": "artifact", "schema": skill.output},
            })
        })
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {"title": manifest.name, "version": manifest.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))},
        "methods": methods,
    })
}

/// A parameter's schema must stand alone, so it carries the definitions it may refer to.
fn with_definitions(mut schema: Value, definitions: &Value) -> Value {
    let refers = schema.to_string().contains("#/$defs/");
    if let Some(schema) = schema.as_object_mut().filter(|_| refers) {
        schema.insert("$defs".into(), definitions.clone());
    }
    schema
}
