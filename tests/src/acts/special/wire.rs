//! Headers, names and schemas.

use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    super::{assertions::select, runner::chain, scope::Scope, target::Target},
    message,
};

/// Members whose content is free: names in it are nobody's business.
const FREE: [&str; 3] = ["metadata", "data", "params"];

pub(super) async fn card_can_be_cached(target: &Target) -> Result<(), String> {
    let card = target
        .anonymous
        .card(HeaderMap::new())
        .await
        .map_err(chain)?;
    let cacheable = ["cache-control", "etag"]
        .iter()
        .any(|name| card.headers.contains_key(*name));
    if cacheable {
        Ok(())
    } else {
        Err("the card has neither Cache-Control nor ETag".into())
    }
}

pub(super) fn card_fits_the_schema(target: &Target) -> Result<(), String> {
    fits::<lf::AgentCard>(&target.card)
}

pub(super) fn answer_fits_the_schema(scope: &Scope) -> Result<(), String> {
    fits::<lf::SendMessageResponse>(scope.get("send.response")?)
}

/// The types of the protocol's own Rust library stand for the schema.
fn fits<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    serde_json::from_value::<T>(value.clone())
        .map(drop)
        .map_err(|error| format!("does not fit the schema: {error}"))
}

pub(super) async fn names_are_camel_case(target: &Target) -> Result<(), String> {
    for text in ["tck-complete-task names", "tck-artifact-file names"] {
        let answer = target
            .endpoint
            .call("SendMessage", message(text, false))
            .await;
        let answer = answer.map_err(chain)?;
        if let Some(name) = snake_case(&answer.body) {
            return Err(format!("the answer has a member {name}"));
        }
    }
    Ok(())
}

fn snake_case(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.iter().find_map(snake_case),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            if name.contains('_') {
                Some(name.as_str())
            } else if FREE.contains(&name.as_str()) {
                None
            } else {
                snake_case(value)
            }
        }),
        _ => None,
    }
}

pub(super) async fn answers_are_json(target: &Target) -> Result<(), String> {
    let sent = message("tck-complete-task media type", false);
    let answer = target.endpoint.call("SendMessage", sent).await;
    let answer = answer.map_err(chain)?;
    if select(&answer.body, "result.task").is_empty() {
        return Err(format!("no task came but {}", answer.body));
    }
    match answer.media_type() {
        "application/json" => Ok(()),
        other => Err(format!("the answer is of type {other}")),
    }
}
