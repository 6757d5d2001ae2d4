//! What reaches the webhook that a test's steps named.

use serde_json::Value;

use super::super::{
    assertions::select, corpus::Test, scope::Scope, target::Target, webhook::Delivery,
};

/// The members of a push notification, of which there is exactly one.
const ARMS: [&str; 4] = ["task", "message", "statusUpdate", "artifactUpdate"];

async fn until_the_end(test: &Test, target: &Target) -> Result<Vec<Delivery>, String> {
    let ended = |deliveries: &[Delivery]| deliveries.iter().any(|one| is_end(&one.body));
    target.webhook.wait(&test.id, ended).await
}

fn is_end(body: &Value) -> bool {
    ["task.status.state", "statusUpdate.status.state"]
        .iter()
        .any(|path| {
            select(body, path).first().and_then(|state| state.as_str())
                == Some("TASK_STATE_COMPLETED")
        })
}

pub(super) async fn reaches_the_end(test: &Test, target: &Target) -> Result<(), String> {
    until_the_end(test, target).await.map(drop)
}

/// The corpus registers the scheme `Bearer` with the credentials `test-token`.
pub(super) async fn carries_credentials(test: &Test, target: &Target) -> Result<(), String> {
    let deliveries = until_the_end(test, target).await?;
    match deliveries
        .iter()
        .find(|one| one.header("authorization") != "Bearer test-token")
    {
        Some(other) => Err(format!(
            "a delivery has Authorization {:?}",
            other.header("authorization")
        )),
        None => Ok(()),
    }
}

pub(super) async fn has_the_format(
    test: &Test,
    target: &Target,
    scope: &Scope,
) -> Result<(), String> {
    let id = scope.get("create.taskId")?;
    until_the_end(test, target)
        .await?
        .iter()
        .try_for_each(|delivery| is_formatted(delivery, id))
}

fn is_formatted(delivery: &Delivery, id: &Value) -> Result<(), String> {
    let kind = delivery.header("content-type");
    if kind != "application/a2a+json" {
        return Err(format!("a delivery is of type {kind}"));
    }
    let members: Vec<&str> = delivery
        .body
        .as_object()
        .map(|body| body.keys().map(String::as_str).collect())
        .unwrap_or_default();
    if members.len() != 1 || !ARMS.contains(members.first().unwrap_or(&"")) {
        return Err(format!("a delivery has the members {members:?}"));
    }
    let named = [
        "task.id",
        "message.taskId",
        "statusUpdate.taskId",
        "artifactUpdate.taskId",
    ]
    .iter()
    .any(|path| select(&delivery.body, path) == [id]);
    if named {
        Ok(())
    } else {
        Err(format!(
            "a delivery is not about the task: {}",
            delivery.body
        ))
    }
}
