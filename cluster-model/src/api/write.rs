use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Call, json as answer_json, ok};
use crate::domain::object::{int, list, name, set, text, uid};
use crate::domain::patch::Patch;
use crate::domain::verbs::{self, DeleteOptions, Deleted, Part, Propagation};
use crate::domain::{Kind, Refusal};

pub(super) fn create(call: &Call) -> Result<Response, Refusal> {
    let (target, dry_run) = (&call.target, call.query.dry_run);
    let mut body = call.object()?;
    if target.kind.namespaced && target.namespace.is_empty() {
        return Err(Refusal::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    if let (true, Some(object)) = (dry_run, body.as_object_mut()) {
        object.remove("status");
    }
    let created = call.engine.write(|state, now| {
        verbs::create(state, target.kind, &target.namespace, (body, dry_run), now)
    })?;
    Ok(answer_json(StatusCode::CREATED, &created))
}

pub(super) fn replace(call: &Call) -> Result<Response, Refusal> {
    let (key, body, dry_run) = (call.target.key(), call.object()?, call.query.dry_run);
    let part = part(call);
    let stored = call
        .engine
        .write(|state, _| verbs::replace(state, &key, part, (body, dry_run)))?;
    Ok(ok(&stored))
}

pub(super) fn patch(call: &Call) -> Result<Response, Refusal> {
    let (key, patch, dry_run) = (call.target.key(), call.patch()?, call.query.dry_run);
    let part = part(call);
    let (stored, created) = call
        .engine
        .write(|state, now| verbs::patch(state, &key, part, (&patch, dry_run), now))?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(answer_json(status, &stored))
}

pub(super) fn scale(call: &Call) -> Result<Response, Refusal> {
    let (key, dry_run) = (call.target.key(), call.query.dry_run);
    let patch = if call.body_is_patch() {
        Some(call.patch()?)
    } else {
        None
    };
    let body = if patch.is_none() {
        call.object()?
    } else {
        Value::Null
    };
    let scaled = call.engine.write(|state, _| {
        let mut scale = verbs::read_scale(state, &key)?;
        match &patch {
            None => scale = body,
            Some(Patch::Json(operations)) => {
                scale = crate::domain::patch::json_patch(&scale, operations)?;
            }
            Some(Patch::Merge(change) | Patch::Strategic(change)) => {
                crate::domain::patch::merge_patch(&mut scale, change);
            }
            Some(Patch::Apply { object, .. }) => {
                set(&mut scale, "/spec/replicas", int(object, "/spec/replicas"));
            }
        }
        verbs::write_scale(state, &key, (&scale, dry_run))
    })?;
    Ok(ok(&scaled))
}

/// Namespaces lose their finalizers through a subresource of their own.
pub(super) fn finalize(call: &Call) -> Result<Response, Refusal> {
    let (key, body) = (call.target.key(), call.object()?);
    let stored = call.engine.write(|state, _| {
        let found = state.get(&key).cloned();
        let found = found.ok_or_else(|| Refusal::not_found(key.kind, &key.name))?;
        let mut next = (*found).clone();
        set(
            &mut next,
            "/spec/finalizers",
            list(&body, "/spec/finalizers").to_vec(),
        );
        state.put(&key, next)
    })?;
    Ok(ok(&stored))
}

pub(super) fn evict(call: &Call) -> Result<Response, Refusal> {
    let (key, body) = (call.target.key(), call.object()?);
    let options = delete_options(call, body.get("deleteOptions").unwrap_or(&Value::Null))?;
    call.engine
        .write(|state, now| verbs::delete(state, &key, &options, now))?;
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(answer_json(StatusCode::CREATED, &status))
}

pub(super) fn delete(call: &Call) -> Result<Response, Refusal> {
    let key = call.target.key();
    let options = delete_options(call, &call.delete_body()?)?;
    let deleted = call
        .engine
        .write(|state, now| verbs::delete(state, &key, &options, now))?;
    Ok(match deleted {
        Deleted::Going(object) => ok(&object),
        Deleted::Gone(object) if key.kind.kind == "Pod" => ok(&object),
        Deleted::Gone(object) => ok(&success(key.kind, &object)),
    })
}

pub(super) fn delete_collection(call: &Call) -> Result<Response, Refusal> {
    let (target, query) = (&call.target, &call.query);
    if target.kind.namespaced && target.namespace.is_empty() {
        return Err(Refusal::method_not_allowed());
    }
    let options = delete_options(call, &call.delete_body()?)?;
    let (items, revision) = call.engine.write(|state, now| {
        let namespace = Some(target.namespace.as_str()).filter(|name| !name.is_empty());
        let found = state.list(target.kind, namespace).filter(|(_, object)| {
            query.labels.match_object(object) && query.fields.match_object(object)
        });
        let keys: Vec<_> = found.map(|(key, _)| key.clone()).collect();
        let deleted = keys
            .iter()
            .filter_map(|key| verbs::delete(state, key, &options, now).ok())
            .map(|(Deleted::Gone(object) | Deleted::Going(object))| (*object).clone());
        let deleted: Vec<Value> = deleted.collect();
        (deleted, state.revision())
    });
    Ok(ok(&json!({
        "kind": format!("{}List", target.kind.kind), "apiVersion": target.kind.api_version(),
        "metadata": {"resourceVersion": revision.to_string()}, "items": items,
    })))
}

fn part(call: &Call) -> Part {
    if call.target.part == "status" {
        Part::Status
    } else {
        Part::Main
    }
}

fn success(kind: &Kind, object: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name(object), "group": kind.group, "kind": kind.plural,
                    "uid": uid(object)},
    })
}

/// Options from the body, else from the query.
fn delete_options(call: &Call, body: &Value) -> Result<DeleteOptions, Refusal> {
    let policy = match text(body, "/propagationPolicy") {
        "" => call.query.propagation.as_str(),
        policy => policy,
    };
    let orphan = body.get("orphanDependents") == Some(&Value::Bool(true));
    let propagation = match policy {
        "Orphan" => Propagation::Orphan,
        "" if orphan => Propagation::Orphan,
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        other => {
            return Err(Refusal::bad_request(format!(
                "propagationPolicy: Unsupported value: {other:?}: supported values: \
                 \"Background\", \"Foreground\", \"Orphan\""
            )));
        }
    };
    Ok(DeleteOptions {
        propagation,
        grace: int(body, "/gracePeriodSeconds").or(call.query.grace),
        uid: text(body, "/preconditions/uid").to_owned(),
        resource_version: text(body, "/preconditions/resourceVersion").to_owned(),
        dry_run: call.query.dry_run || !list(body, "/dryRun").is_empty(),
    })
}

impl Call {
    fn delete_body(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        self.object()
    }

    fn body_is_patch(&self) -> bool {
        self.content_type.contains("patch+")
    }
}
