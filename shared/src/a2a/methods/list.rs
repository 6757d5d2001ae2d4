//! `ListTasks`: the caller's tasks, newest status first, page by page.

async fn list_tasks(
    engine: &Engine,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: ListTasksRequest = typed(params)?;
    let page_size = match request.page_size.unwrap_or(50) {
        size @ 1..=100 => usize::try_from(size).unwrap_or(50),
        size => return Err(Fault::field("pageSize", "1 to 100", &size.to_string())),
    };
    let limit = history_limit(request.history_length)?;
    let after = match request.page_token.as_deref() {
        None | Some("") => None,
        Some(token) => Some(token.split_once('/').ok_or_else(|| {
            Fault::field(
                "pageToken",
                "nextPageToken of an earlier page",
                "another text",
            )
        })?),
    };
    if request
        .status_timestamp_after
        .as_deref()
        .is_some_and(|time| parse_time(time).is_none())
    {
        return Err(Fault::field(
            "statusTimestampAfter",
            "an RFC 3339 time",
            "another text",
        ));
    }
    let mut page = Vec::new();
    let (mut total, mut more) = (0, false);
    let visit = |record: Record| {
        if !matches(&record.task, &request) {
            return;
        }
        total += 1;
        let position = (
            record.task.status.timestamp.as_str(),
            record.task.id.as_str(),
        );
        if after.is_none_or(|after| position < after) {
            if page.len() < page_size {
                page.push(record.task)
            } else {
                more = true
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

fn listed(task: Task, artifacts: bool) -> Value {
    let mut task = json!(task);
    if let (Some(task), false) = (task.as_object_mut(), artifacts) {
        task.remove("artifacts");
    }
    task
}
