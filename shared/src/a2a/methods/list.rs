//! `ListTasks`: the caller's tasks, newest status first, page by page.

use a2a::types::{ListTasksRequest, Task};
use serde::Serialize;

use super::{Answer, Request, TaskView, history_limit, page_size, store_fault, typed};
use crate::{
    a2a::fault::Fault,
    tasks::{Record, parse_time},
};

/// `ListTasksResponse` with borrowed tasks; all four members are always there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    tasks: Vec<TaskView<'a>>,
    next_page_token: String,
    page_size: usize,
    total_size: usize,
}

pub(super) async fn list_tasks(request: Request<'_>) -> Result<Answer, Fault> {
    let params: ListTasksRequest = typed(request.params)?;
    let page_size = page_size(params.page_size)?;
    let limit = history_limit(params.history_length)?;
    let after = position(&params)?;
    let mut page = Vec::new();
    let (mut total, mut more) = (0, false);
    let visit = |mut record: Record| {
        if !matches(&record.task, &params) {
            return;
        }
        total += 1;
        if after.is_none_or(|after| position_of(&record.task) < after) {
            if page.len() < page_size {
                if !params.include_artifacts {
                    record.task.artifacts.clear();
                }
                page.push(record.task);
            } else {
                more = true;
            }
        }
    };
    let owner = request.principal.id.as_str();
    let read = request.engine.tasks.each(owner, visit).await;
    read.map_err(store_fault)?;
    let last = page.last().filter(|_| more);
    let next = last.map(|task: &Task| format!("{}/{}", task.status.timestamp, task.id));
    Answer::of(&Listed {
        tasks: page.iter().map(|task| TaskView::new(task, limit)).collect(),
        next_page_token: next.unwrap_or_default(),
        page_size,
        total_size: total,
    })
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
