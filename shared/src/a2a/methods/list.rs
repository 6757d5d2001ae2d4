//! `ListTasks`: the caller's tasks, newest status first, page by page.

use identity::Principal;
use serde_json::{Map, Value, json};

use super::{history_limit, store_fault, typed};
use crate::{
    a2a::{
        fault::Fault,
        types::{ListTasksRequest, ListTasksResponse, Task},
    },
    engine::Engine,
    tasks::{Record, parse_time},
};

pub(super) async fn list_tasks(
    engine: &Engine,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: ListTasksRequest = typed(params)?;
    let page_size = page_size(&request)?;
    let limit = history_limit(request.history_length)?;
    let after = position(&request)?;
    let mut page = Vec::new();
    let (mut total, mut more) = (0, false);
    let visit = |record: Record| {
        if !matches(&record.task, &request) {
            return;
        }
        total += 1;
        if after.is_none_or(|after| position_of(&record.task) < after) {
            if page.len() < page_size {
                page.push(record.task);
            } else {
                more = true;
            }
        }
    };
    engine
        .tasks
        .each(principal.id.as_str(), visit)
        .await
        .map_err(store_fault)?;
    let next_page_token = page
        .last()
        .filter(|_| more)
        .map(|task: &Task| format!("{}/{}", task.status.timestamp, task.id))
        .unwrap_or_default();
    let tasks = page
        .into_iter()
        .map(|task| listed(task.with_history(limit), request.include_artifacts))
        .collect();
    Ok(json!(ListTasksResponse {
        tasks,
        next_page_token,
        page_size,
        total_size: total
    }))
}

fn page_size(request: &ListTasksRequest) -> Result<usize, Fault> {
    let size = request.page_size.unwrap_or(50);
    match usize::try_from(size) {
        Ok(size @ 1..=100) => Ok(size),
        _ => Err(Fault::field("pageSize", "1 to 100", &size.to_string())),
    }
}

/// Where the page before ended; also refuses the other filter that may be malformed.
fn position(request: &ListTasksRequest) -> Result<Option<(&str, &str)>, Fault> {
    let since = request.status_timestamp_after.as_deref();
    if since.is_some_and(|time| parse_time(time).is_none()) {
        return Err(Fault::field(
            "statusTimestampAfter",
            "an RFC 3339 time",
            "another text",
        ));
    }
    match request.page_token.as_deref() {
        None | Some("") => Ok(None),
        Some(token) => token.split_once('/').map(Some).ok_or_else(|| {
            Fault::field(
                "pageToken",
                "nextPageToken of an earlier page",
                "another text",
            )
        }),
    }
}

fn position_of(task: &Task) -> (&str, &str) {
    (task.status.timestamp.as_str(), task.id.as_str())
}

fn matches(task: &Task, request: &ListTasksRequest) -> bool {
    let since = request
        .status_timestamp_after
        .as_deref()
        .and_then(parse_time);
    request
        .context_id
        .as_ref()
        .is_none_or(|context| *context == task.context_id)
        && request
            .status
            .is_none_or(|state| state == task.status.state)
        && since
            .is_none_or(|since| parse_time(&task.status.timestamp).is_some_and(|at| at >= since))
}

fn listed(mut task: Task, artifacts: bool) -> Task {
    if !artifacts {
        task.artifacts.clear();
    }
    task
}
