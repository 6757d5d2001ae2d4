//! What the corpus leaves to runners in prose (`runner-special`): headers, schemas, webhooks, several streams, callers.

mod callers;
mod push;
mod streams;
mod wire;

use serde_json::{Map, Value, json};

use super::{client, corpus::Test, scope::Scope, target::Target};

/// Why a test is not for this runner at all.
pub fn inapplicable(test: &Test) -> Option<&'static str> {
    match test.id.as_str() {
        "SEC-PUSH-002" => Some("is about a client's webhook receiver; the project has none"),
        _ => None,
    }
}

/// Sets up what a test's steps refer to and nobody else provides.
///
/// # Errors
/// An agent that does not answer as it should.
pub async fn prepare(test: &Test, target: &Target, scope: &mut Scope) -> Result<(), String> {
    if test.id == "SEC-AUTH-003" {
        let id = callers::task_of_another(target).await?;
        scope.set("otherUserTaskId", id.into());
    }
    Ok(())
}

/// Checks what a test's description asks for beyond its steps.
///
/// # Errors
/// What does not hold; also a test whose description nobody has read yet.
pub async fn verify(test: &Test, target: &Target, scope: &Scope) -> Result<(), String> {
    match test.id.as_str() {
        "CARD-CACHE-001" => wire::card_can_be_cached(target).await,
        "CARD-SCHEMA-001" => wire::card_fits_the_schema(target),
        "DM-SERIAL-002" => wire::answer_fits_the_schema(scope),
        "DM-FMT-001" => wire::names_are_camel_case(target).await,
        "JSONRPC-CT-001" => wire::answers_are_json(target).await,
        "SEC-AUTH-001" => callers::bad_credentials_are_refused(target).await,
        "SEC-AUTH-002" => callers::insufficient_credentials_are_refused(target).await,
        "SEC-AUTH-003" | "CORE-ERR-009" => callers::foreign_tasks_look_missing(target).await,
        "SEC-AUTH-004" => callers::every_method_wants_credentials(target).await,
        "SEC-PUSH-001" | "PUSH-DELIV-001" => push::carries_credentials(test, target).await,
        "PUSH-DELIV-002" => push::reaches_the_end(test, target).await,
        "PUSH-DELIV-003" => push::has_the_format(test, target, scope).await,
        "STREAM-MULTI-001" => streams::two_see_the_same(target).await,
        "STREAM-MULTI-002" => streams::closing_one_spares_the_other(target).await,
        "STREAM-RESUB-001" => streams::a_lost_one_is_resumed(target).await,
        "CLIENT-CAP-001" => client::goes_by_the_card(test).await,
        "CLIENT-AUTH-001" => client::goes_by_the_extended_card(test).await,
        // Its prose says no more than its step.
        "CORE-CTX-001" => Ok(()),
        _ if test.is_special() => Err(format!("nobody has read: {}", test.description)),
        _ => Ok(()),
    }
}

/// Parameters of a message with one text.
fn message(text: &str, return_immediately: bool) -> Map<String, Value> {
    let params = json!({
        "message": {"role": "ROLE_USER", "parts": [{"text": text}]},
        "configuration": {"returnImmediately": return_immediately},
    });
    params.as_object().cloned().unwrap_or_default()
}

/// Parameters that name a task.
fn task(id: &str) -> Map<String, Value> {
    Map::from_iter([("id".to_owned(), id.into())])
}
