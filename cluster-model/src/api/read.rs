use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::{Call, ok, table};
use crate::domain::object::set;
use crate::domain::verbs::read_scale;
use crate::domain::{Key, Refusal};

pub(super) fn get(call: &Call) -> Result<Response, Refusal> {
    let key = call.target.key();
    let object = call.engine.read(|state| state.get(&key).cloned());
    let object = object.ok_or_else(|| Refusal::not_found(key.kind, &key.name))?;
    if table::wanted(&call.accept) {
        return Ok(ok(&table::of(key.kind, &[object], &Value::Null)));
    }
    Ok(ok(&object))
}

pub(super) fn scale(call: &Call) -> Result<Response, Refusal> {
    let key = call.target.key();
    Ok(ok(&call.engine.read(|state| read_scale(state, &key))?))
}

pub(super) fn list(call: &Call) -> Result<Response, Refusal> {
    let kind = call.target.kind;
    let (items, metadata) = page(call)?;
    if table::wanted(&call.accept) {
        return Ok(ok(&table::of(kind, &items, &metadata)));
    }
    Ok(ok(&json!({
        "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": metadata, "items": items.iter().map(|item| &**item).collect::<Vec<_>>(),
    })))
}

/// One page of the list, in order of namespace and name, and its metadata. The `continue` token
/// is the last key of the page before.
fn page(call: &Call) -> Result<(Vec<Arc<Value>>, Value), Refusal> {
    let (target, query) = (&call.target, &call.query);
    let after = match query.next.split_once('/') {
        Some((namespace, name)) => Some(Key::new(target.kind, namespace, name)),
        None if query.next.is_empty() => None,
        None => return Err(Refusal::bad_request("continue key is not valid")),
    };
    let (items, more, revision) = call.engine.read(|state| {
        let namespace = Some(target.namespace.as_str()).filter(|name| !name.is_empty());
        let mut found = state
            .list(target.kind, namespace)
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .filter(|(_, object)| {
                query.labels.match_object(object) && query.fields.match_object(object)
            });
        let limit = if query.limit == 0 {
            usize::MAX
        } else {
            query.limit
        };
        let items: Vec<_> = found
            .by_ref()
            .take(limit)
            .map(|(_, o)| Arc::clone(o))
            .collect();
        (items, found.count(), state.revision())
    });
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (true, Some(last)) = (more > 0, items.last()) {
        let last = Key::of(target.kind, last);
        let token = format!("{}/{}", last.namespace, last.name);
        set(&mut metadata, "/continue", token);
        set(&mut metadata, "/remainingItemCount", more);
    }
    Ok((items, metadata))
}
