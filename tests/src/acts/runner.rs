//! Runs one test: its steps in order, until one does not hold.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use super::{
    adapt::{self, Expected},
    assertions::{any_element, check, select, shorten, until},
    client,
    corpus::{EventAssertion, ExpectStream, Ordering, Raw, Repeat, Step, Test},
    scope::Scope,
    special,
    target::Target,
    wire::{Answer, Reply},
};

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything held.
    Passed,
    /// What did not hold.
    Failed(String),
    /// Why it does not apply.
    Skipped(String),
}

/// What came back, without the envelope of an operation.
#[derive(Debug)]
struct Seen {
    status: u16,
    /// The result of an operation, or the whole body of a raw step.
    body: Value,
    /// The error of an operation.
    error: Option<Value>,
    /// The events of a stream, when there was one.
    events: Option<Vec<Value>>,
}

/// Runs a test against an agent.
pub async fn run(test: &Test, target: &Target, defaults: &BTreeMap<String, String>) -> Outcome {
    if let Some(reason) = special::inapplicable(test) {
        return Outcome::Skipped(reason.to_owned());
    }
    let mut scope = Scope::new(test, target, defaults);
    let outcome = async {
        special::prepare(test, target, &mut scope).await?;
        for step in &test.steps {
            run_step(step, target, &mut scope)
                .await
                .map_err(|reason| format!("step {}: {reason}", step.id))?;
        }
        special::verify(test, target, &scope).await
    };
    match outcome.await {
        Ok(()) => Outcome::Passed,
        Err(reason) => Outcome::Failed(reason),
    }
}

async fn run_step(step: &Step, target: &Target, scope: &mut Scope) -> Result<(), String> {
    if let Some(response) = &step.client_response {
        let parsed = client::parse(response).await?;
        let expected = step.expect_parsed.as_ref().ok_or("it expects nothing")?;
        return check(expected, Some(&parsed), "parsed");
    }
    let seen = match &step.repeat {
        None => perform(step, target, scope).await?,
        Some(repeat) => perform_until(step, repeat, target, scope).await?,
    };
    judge(step, &seen, scope)?;
    for (name, path) in &step.capture {
        let value = *select(&seen.body, path)
            .first()
            .ok_or_else(|| format!("cannot capture {path}: nothing is there"))?;
        scope.set(&format!("{}.{name}", step.id), value.clone());
    }
    scope.set(&format!("{}.response", step.id), seen.body);
    for collection in &step.assertions {
        let source = scope.fill(&Value::from(collection.source.as_str()))?;
        let expected = scope.fill(&collection.any.matching)?;
        any_element(&source, &collection.any.path, &expected)?;
    }
    Ok(())
}

async fn perform_until(
    step: &Step,
    repeat: &Repeat,
    target: &Target,
    scope: &Scope,
) -> Result<Seen, String> {
    for attempt in 0..repeat.max_attempts {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(repeat.delay_ms)).await;
        }
        let seen = perform(step, target, scope).await?;
        if until(&repeat.until, &seen.body)? {
            return Ok(seen);
        }
    }
    Err(format!(
        "{} attempts did not reach {}",
        repeat.max_attempts, repeat.until
    ))
}

async fn perform(step: &Step, target: &Target, scope: &Scope) -> Result<Seen, String> {
    let reply = match (&step.raw, &step.operation) {
        (Some(raw), None) => {
            let reply = target.endpoint.raw(fill_raw(raw, scope)?).await;
            return see_raw(reply.map_err(chain)?).await;
        }
        (None, Some(operation)) => operate(operation, step, target, scope).await?,
        _ => return Err("it is neither an operation nor raw".into()),
    };
    Ok(match reply {
        Reply::Answer(answer) => see(&answer),
        Reply::Events(mut events) => {
            let envelopes = events.rest().await.map_err(chain)?;
            let mut seen = Vec::new();
            for envelope in envelopes {
                seen.push(unwrap(&envelope)?);
            }
            Seen {
                status: 200,
                body: Value::Null,
                error: None,
                events: Some(seen),
            }
        }
    })
}

async fn operate(
    operation: &str,
    step: &Step,
    target: &Target,
    scope: &Scope,
) -> Result<Reply, String> {
    let params = scope.fill_members(&step.params)?;
    if operation == "get_agent_card" && params.get("extended") != Some(&Value::Bool(true)) {
        let card = target
            .endpoint
            .card(reqwest::header::HeaderMap::new())
            .await;
        let mut card = card.map_err(chain)?;
        // A card has no envelope; it gets one so that everything below reads the same.
        card.body = Value::Object(Map::from_iter([("result".into(), card.body)]));
        return Ok(Reply::Answer(card));
    }
    if operation == "get_agent_card" {
        let answer = target
            .endpoint
            .call("GetExtendedAgentCard", Map::new())
            .await;
        return answer.map(Reply::Answer).map_err(chain);
    }
    let method =
        adapt::method(operation).ok_or_else(|| format!("unknown operation {operation}"))?;
    if step.expect_stream.is_some() || method.contains("Stream") || method.starts_with("Subscribe")
    {
        return target.endpoint.open(method, params).await.map_err(chain);
    }
    let answer = target.endpoint.call(method, params).await;
    answer.map(Reply::Answer).map_err(chain)
}

fn fill_raw(raw: &Raw, scope: &Scope) -> Result<Raw, String> {
    let mut filled = raw.clone();
    for value in filled.headers.values_mut() {
        let text = scope.fill_text(value)?;
        text.as_str().unwrap_or_default().clone_into(value);
    }
    filled.body = raw.body.as_ref().map(|body| scope.fill(body)).transpose()?;
    Ok(filled)
}

async fn see_raw(reply: Reply) -> Result<Seen, String> {
    let (status, body, events) = match reply {
        Reply::Answer(answer) => (answer.status, answer.body, None),
        Reply::Events(mut events) => {
            let events = events.rest().await.map_err(chain)?;
            (200, Value::Null, Some(events))
        }
    };
    Ok(Seen {
        status,
        body,
        error: None,
        events,
    })
}

fn see(answer: &Answer) -> Seen {
    let result = answer.body.get("result").cloned().unwrap_or_default();
    let refused = (answer.status >= 400).then(|| answer.body.clone());
    Seen {
        status: answer.status,
        body: adapt::with_abstract_parts(result),
        error: answer.body.get("error").cloned().or(refused),
        events: None,
    }
}

/// The event within an envelope, its arm named both by itself and as the corpus does, its members at the top.
fn unwrap(envelope: &Value) -> Result<Value, String> {
    let result = envelope
        .get("result")
        .and_then(Value::as_object)
        .ok_or_else(|| format!("an event has no result: {}", shorten(&envelope.to_string())))?;
    let arms: Vec<_> = result.iter().collect();
    let [(arm, payload)] = arms.as_slice() else {
        return Err(format!("an event has {} arms", result.len()));
    };
    let name = match arm.as_str() {
        "statusUpdate" => "status_update",
        "artifactUpdate" => "artifact_update",
        "task" => "task",
        "message" => "message",
        other => return Err(format!("an event has the unknown arm {other}")),
    };
    let mut view = payload.as_object().cloned().unwrap_or_default();
    view.insert(name.into(), (*payload).clone());
    Ok(Value::Object(view))
}

fn judge(step: &Step, seen: &Seen, scope: &Scope) -> Result<(), String> {
    if let Some(expected) = &step.expect_stream {
        let events = seen.events.as_deref().ok_or_else(|| {
            let instead = seen.error.as_ref().unwrap_or(&seen.body);
            format!("no stream came but {}", shorten(&instead.to_string()))
        })?;
        judge_stream(expected, events)?;
    }
    match adapt::expected(step.expect.clone(), step.expect_error.clone()) {
        Some(Expected::Error(error)) => judge_error(&error, seen),
        Some(Expected::Answer { status, body }) => {
            if let Some(error) = &seen.error {
                return Err(format!("refused: {}", shorten(&error.to_string())));
            }
            if let Some(status) = status {
                check(&status, Some(&Value::from(seen.status)), "status")?;
            }
            let body = body.map(|body| scope.fill(&body)).transpose()?;
            body.map_or(Ok(()), |body| check(&body, Some(&seen.body), "body"))
        }
        None if step.expect_stream.is_some() => Ok(()),
        None => Err("it expects nothing".into()),
    }
}

fn judge_error(expected: &Map<String, Value>, seen: &Seen) -> Result<(), String> {
    let error = seen.error.as_ref().ok_or_else(|| {
        format!(
            "not refused but answered: {}",
            shorten(&seen.body.to_string())
        )
    })?;
    let mut expected = expected.clone();
    if let Some(code) = expected.get_mut("code") {
        number_errors(code)?;
    }
    check(&Value::Object(expected), Some(error), "error")
}

/// Names of errors become their JSON-RPC codes.
fn number_errors(code: &mut Value) -> Result<(), String> {
    match code {
        Value::String(name) => {
            *code = adapt::error_code(name)
                .ok_or_else(|| format!("unknown error {name}"))?
                .into();
            Ok(())
        }
        Value::Object(members) => members.values_mut().try_for_each(number_errors),
        Value::Array(names) => names.iter_mut().try_for_each(number_errors),
        _ => Ok(()),
    }
}

fn judge_stream(expected: &ExpectStream, events: &[Value]) -> Result<(), String> {
    if expected.min_count.is_some_and(|least| events.len() < least) {
        return Err(format!("only {} events came", events.len()));
    }
    if expected.ordering == Some(Ordering::MonotonicState) {
        judge_order(events)?;
    }
    for assertion in &expected.events {
        judge_event(assertion, events)?;
    }
    if let Some(last) = &expected.final_event {
        check(last, events.last(), "final event")?;
    }
    let each = expected.each_event.iter();
    each.flat_map(|each| events.iter().map(move |event| (each, event)))
        .try_for_each(|(each, event)| check(each, Some(event), "event"))
}

fn judge_event(assertion: &EventAssertion, events: &[Value]) -> Result<(), String> {
    let body = Value::Object(assertion.body.clone());
    let holds = |event: &Value| check(&body, Some(event), "event").is_ok();
    match (assertion.index, assertion.position.as_deref()) {
        (Some(index), None) => check(&body, events.get(index), &format!("events[{index}]")),
        (None, Some("any_position")) if events.iter().any(holds) => Ok(()),
        (None, Some("any_position")) => Err(format!("no event: {}", assertion.description)),
        other => Err(format!("cannot tell which event is meant: {other:?}")),
    }
}

/// ACTS 7.1: nothing follows a terminal state, nothing goes back to submitted.
fn judge_order(events: &[Value]) -> Result<(), String> {
    const TERMINAL: [&str; 4] = ["COMPLETED", "FAILED", "CANCELED", "REJECTED"];
    let states: Vec<&str> = events
        .iter()
        .filter_map(|event| select(event, "status.state").first()?.as_str())
        .collect();
    states
        .iter()
        .zip(states.iter().skip(1))
        .try_for_each(|(before, after)| {
            let left_terminal = TERMINAL.iter().any(|name| before.ends_with(name));
            let illegal = before != after && (left_terminal || after.ends_with("SUBMITTED"));
            if illegal {
                Err(format!("{after} follows {before}"))
            } else {
                Ok(())
            }
        })
}

/// An error with all its causes.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is used as a function value"
)]
pub fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn states(names: &[&str]) -> Vec<Value> {
        names
            .iter()
            .map(|name| json!({"status": {"state": format!("TASK_STATE_{name}")}}))
            .collect()
    }

    #[test]
    fn states_do_not_regress() {
        assert!(judge_order(&states(&["SUBMITTED", "WORKING", "WORKING", "COMPLETED"])).is_ok());
        assert!(judge_order(&states(&["WORKING", "SUBMITTED"])).is_err());
        assert!(judge_order(&states(&["COMPLETED", "WORKING"])).is_err());
    }

    #[test]
    fn an_event_shows_its_arm_and_its_members() {
        let event = json!({"result": {"statusUpdate": {"status": {"state": "X"}}}});
        let view = unwrap(&event).unwrap();
        assert_eq!(view["status"]["state"], "X");
        assert_eq!(view["status_update"]["status"]["state"], "X");
        assert!(unwrap(&json!({"error": {}})).is_err());
        assert!(unwrap(&json!({"result": {"task": {}, "message": {}}})).is_err());
    }
}
