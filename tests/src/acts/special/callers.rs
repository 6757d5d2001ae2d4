//! Who may call, and what strangers learn.

use serde_json::{Map, Value};

use super::{
    super::{
        assertions::select,
        runner::chain,
        target::{Target, Tokens},
        wire::{Answer, Endpoint},
    },
    message, task,
};

/// A task that exists nowhere.
const MISSING: &str = "00000000-0000-0000-0000-000000000000";

fn tokens(target: &Target) -> Result<&Tokens, String> {
    let tokens = target.tokens.as_ref();
    tokens.ok_or_else(|| "the agent knows no tokens".to_owned())
}

/// A task that another caller made.
pub(super) async fn task_of_another(target: &Target) -> Result<String, String> {
    let other = target.anonymous.with_bearer(&tokens(target)?.other);
    let sent = message("tck-complete-task of another", false);
    let answer = other.call("SendMessage", sent).await.map_err(chain)?;
    select(&answer.body, "result.task.id")
        .first()
        .and_then(|id| id.as_str())
        .map(str::to_owned)
        .ok_or_else(|| format!("another caller got no task but {}", answer.body))
}

pub(super) async fn foreign_tasks_look_missing(target: &Target) -> Result<(), String> {
    let foreign = task_of_another(target).await?;
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        let mut seen = Vec::new();
        for id in [foreign.as_str(), MISSING] {
            let answer = target
                .endpoint
                .call(method, task(id))
                .await
                .map_err(chain)?;
            refused(&answer, method)?;
            let error = answer.body.get("error").unwrap_or(&Value::Null).to_string();
            seen.push((answer.status, error.replace(id, "ID")));
        }
        if seen.first() != seen.last() {
            return Err(format!(
                "{method} tells a foreign task from a missing one: {seen:?}"
            ));
        }
    }
    Ok(())
}

pub(super) async fn bad_credentials_are_refused(target: &Target) -> Result<(), String> {
    let wrong = target.anonymous.with_bearer("nobody-has-this-token");
    for endpoint in [&target.anonymous, &wrong] {
        let answer = send(endpoint).await?;
        refused(&answer, "SendMessage")?;
        if answer.status == 401 && !answer.headers.contains_key("www-authenticate") {
            return Err("401 without WWW-Authenticate".into());
        }
    }
    served(&send(&target.endpoint).await?)
}

pub(super) async fn insufficient_credentials_are_refused(target: &Target) -> Result<(), String> {
    let poor = target.anonymous.with_bearer(&tokens(target)?.insufficient);
    refused(&send(&poor).await?, "SendMessage")?;
    served(&send(&target.endpoint).await?)
}

pub(super) async fn every_method_wants_credentials(target: &Target) -> Result<(), String> {
    let id = task_of_another(target).await?;
    for method in [
        "GetTask",
        "ListTasks",
        "CancelTask",
        "SubscribeToTask",
        "SendMessage",
        "SendStreamingMessage",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
        "GetExtendedAgentCard",
    ] {
        let params = match method {
            "ListTasks" | "GetExtendedAgentCard" => Map::new(),
            "SendMessage" | "SendStreamingMessage" => message("tck-complete-task", false),
            _ => Map::from_iter([
                ("id".to_owned(), id.clone().into()),
                ("taskId".to_owned(), id.clone().into()),
            ]),
        };
        let answer = target.anonymous.call(method, params).await.map_err(chain)?;
        refused(&answer, method)?;
        // An error that speaks of the task would mean that it was looked up before the caller was.
        let text = answer.body.to_string();
        if text.contains(&id) || text.contains("-32001") {
            return Err(format!(
                "{method} looked for the task before the caller: {text}"
            ));
        }
    }
    Ok(())
}

async fn send(endpoint: &Endpoint) -> Result<Answer, String> {
    let sent = message("tck-complete-task", false);
    endpoint.call("SendMessage", sent).await.map_err(chain)
}

fn refused(answer: &Answer, method: &str) -> Result<(), String> {
    if answer.is_refusal() {
        Ok(())
    } else {
        Err(format!("{method} was served: {}", answer.body))
    }
}

fn served(answer: &Answer) -> Result<(), String> {
    if answer.is_refusal() {
        Err(format!("the valid token is refused: {}", answer.body))
    } else {
        Ok(())
    }
}
