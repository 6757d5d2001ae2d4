//! The four methods of push notification configurations; each belongs to a task of the caller.

use a2a::types::{ListPushConfigsRequest, PushConfig, PushConfigRequest};

use super::{Answer, Request, check_id, find, page_size, typed};
use crate::a2a::fault::Fault;

pub(super) async fn create(request: Request<'_>) -> Result<Answer, Fault> {
    let params: PushConfig = typed(request.params)?;
    check_id("taskId", &params.task_id)?;
    let record = find(request.engine, request.principal, &params.task_id).await?;
    let push = &request.engine.push;
    let checked = push.check(params)?;
    Answer::of_task(&push.create(checked, &record).await?, &record)
}

pub(super) async fn get(request: Request<'_>) -> Result<Answer, Fault> {
    let params = named(request)?;
    let record = find(request.engine, request.principal, &params.task_id).await?;
    let config = request.engine.push.get(&record.task.id, &params.id).await?;
    Answer::of_task(&config, &record)
}

pub(super) async fn list(request: Request<'_>) -> Result<Answer, Fault> {
    let params: ListPushConfigsRequest = typed(request.params)?;
    check_id("taskId", &params.task_id)?;
    let size = page_size(params.page_size)?;
    let record = find(request.engine, request.principal, &params.task_id).await?;
    let token = params
        .page_token
        .as_deref()
        .filter(|token| !token.is_empty());
    let page = request
        .engine
        .push
        .list(&record.task.id, size, token)
        .await?;
    Answer::of_task(&page, &record)
}

pub(super) async fn delete(request: Request<'_>) -> Result<Answer, Fault> {
    let params = named(request)?;
    let record = find(request.engine, request.principal, &params.task_id).await?;
    request
        .engine
        .push
        .delete(&record.task.id, &params.id)
        .await?;
    Answer::of_task(&(), &record)
}

fn named(request: Request<'_>) -> Result<PushConfigRequest, Fault> {
    let params: PushConfigRequest = typed(request.params)?;
    check_id("taskId", &params.task_id)?;
    check_id("id", &params.id)?;
    Ok(params)
}
