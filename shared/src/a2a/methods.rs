//! The A2A methods of this endpoint on top of the engine.

use std::sync::Arc;

use identity::Principal;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{
    fault::{Fault, Kind},
    types::{
        CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse, Message,
        SendMessageRequest, Task, TaskState,
    },
};
use crate::{
    SkillError,
    engine::{Call, Engine, Meta, new_record},
    registry::decode,
    tasks::{Caller, Record, parse_time},
    telemetry::Chain,
};

/// Methods of A2A 1.0 that this endpoint does not offer, and the error each is answered with.
const ABSENT: [(&str, Kind); 7] = [
    ("SendStreamingMessage", Kind::UnsupportedOperation),
    ("SubscribeToTask", Kind::UnsupportedOperation),
    ("GetExtendedAgentCard", Kind::UnsupportedOperation),
    (
        "CreateTaskPushNotificationConfig",
        Kind::PushNotificationNotSupported,
    ),
    (
        "GetTaskPushNotificationConfig",
        Kind::PushNotificationNotSupported,
    ),
    (
        "ListTaskPushNotificationConfigs",
        Kind::PushNotificationNotSupported,
    ),
    (
        "DeleteTaskPushNotificationConfig",
        Kind::PushNotificationNotSupported,
    ),
];

/// Methods of A2A 1.0 that this endpoint offers.
const OFFERED: [&str; 4] = ["SendMessage", "GetTask", "ListTasks", "CancelTask"];

/// Longest id that is looked up.
const MAX_ID: usize = 256;

/// Whether A2A 1.0 defines a method of this name.
pub(crate) fn is_defined(method: &str) -> bool {
    OFFERED.contains(&method) || ABSENT.iter().any(|(name, _)| *name == method)
}

/// Runs an A2A method.
pub(crate) async fn dispatch(
    engine: &Arc<Engine>,
    principal: &Principal,
    method: &str,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    match method {
        "SendMessage" => send_message(engine, principal, params).await,
        "GetTask" => get_task(engine, principal, params).await,
        "ListTasks" => list_tasks(engine, principal, params).await,
        "CancelTask" => cancel_task(engine, principal, params).await,
        _ => {
            let absent = ABSENT
                .iter()
                .find(|(name, _)| *name == method)
                .map(|(_, kind)| *kind);
            Err(Fault::new(
                absent.unwrap_or(Kind::MethodNotFound),
                format!("this agent does not offer {method}"),
            ))
        }
    }
}

fn typed<T: DeserializeOwned>(params: Map<String, Value>) -> Result<T, Fault> {
    decode(params).map_err(|error| Fault::from(&error))
}

fn check_id(field: &str, id: &str) -> Result<(), Fault> {
    if (1..=MAX_ID).contains(&id.len()) {
        Ok(())
    } else {
        Err(Fault::field(
            field,
            "1 to 256 characters",
            &format!("{} characters", id.len()),
        ))
    }
}

fn history_limit(length: Option<i64>) -> Result<Option<u32>, Fault> {
    let wrong = |got: i64| Fault::field("historyLength", "a number from 0", &got.to_string());
    length
        .map(|n| u32::try_from(n).map_err(|_| wrong(n)))
        .transpose()
}

async fn send_message(
    engine: &Arc<Engine>,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: SendMessageRequest = typed(params)?;
    check_message(&request.message)?;
    let configuration = request.configuration.unwrap_or_default();
    let limit = history_limit(configuration.history_length)?;
    if configuration.task_push_notification_config.is_some() {
        return Err(Fault::new(
            Kind::PushNotificationNotSupported,
            "this agent sends no push notifications",
        ));
    }
    let continues = continued(engine, principal, &request.message).await?;
    let (skill, mut input) = match reading(engine, &request.message) {
        Reading::Skill(skill, input) => (skill, input),
        Reading::Unclear => return ask(engine, principal, request.message, continues).await,
    };
    let mut meta = Meta::take(&mut input)?;
    meta.detached |= configuration.return_immediately;
    let call = Call {
        principal: principal.clone(),
        skill,
        input,
        context_id: request.message.context_id.clone(),
        meta: meta.clone(),
        message: Some(request.message),
        continues,
    };
    let receiver = engine.start(call).await?;
    let record = if meta.detached {
        durable(engine, &receiver).await?
    } else {
        settled(receiver).await
    };
    Ok(json!({"task": record.task.with_history(limit)}))
}

/// A detached task is answered once it is on disk.
async fn durable(
    engine: &Arc<Engine>,
    receiver: &watch::Receiver<Arc<Record>>,
) -> Result<Record, Fault> {
    let record = Record::clone(&receiver.borrow());
    crate::context::Backplane::store(&*engine.plane)
        .submit(Vec::new())
        .await
        .map_err(store_fault)?;
    Ok(record)
}

/// The task once it settled.
pub(crate) async fn settled(mut receiver: watch::Receiver<Arc<Record>>) -> Record {
    let _closed_only_after_the_last_state = receiver
        .wait_for(|record| record.state().is_settled())
        .await
        .is_ok();
    let record = receiver.borrow();
    Record::clone(&record)
}

fn check_message(message: &Message) -> Result<(), Fault> {
    check_id("message.messageId", &message.message_id)?;
    if message.parts.is_empty() {
        return Err(Fault::field("message.parts", "at least one part", "none"));
    }
    for (index, part) in message.parts.iter().enumerate() {
        if part.contents() != 1 {
            let got = format!("{} of them", part.contents());
            return Err(Fault::field(
                &format!("message.parts[{index}]"),
                "exactly one of text, raw, url and data",
                &got,
            ));
        }
        let known = part.media_type.as_deref().is_none_or(|kind| {
            kind.starts_with("application/json") || kind.starts_with("text/plain")
        });
        if !known || part.raw.is_some() || part.url.is_some() {
            return Err(Fault::new(
                Kind::ContentTypeNotSupported,
                format!("message.parts[{index}]: expected application/json or text/plain"),
            )
            .with("field", format!("message.parts[{index}]")));
        }
    }
    message
        .context_id
        .as_deref()
        .map_or(Ok(()), |id| check_id("message.contextId", id))
}

/// The waiting task that a message continues.
async fn continued(
    engine: &Engine,
    principal: &Principal,
    message: &Message,
) -> Result<Option<Record>, Fault> {
    let Some(id) = &message.task_id else {
        return Ok(None);
    };
    check_id("message.taskId", id)?;
    let record = find(engine, principal, id).await?;
    if message
        .context_id
        .as_ref()
        .is_some_and(|context| *context != record.task.context_id)
    {
        return Err(Fault::field(
            "message.contextId",
            "the context of the task",
            "another context",
        ));
    }
    match record.state() {
        TaskState::InputRequired => Ok(Some(record)),
        _ => Err(Fault::new(
            Kind::UnsupportedOperation,
            "the task takes no further message in its state",
        )
        .with("task_id", id)),
    }
}

enum Reading {
    Skill(String, Map<String, Value>),
    Unclear,
}

/// What a message asks for: a data part names the skill; a text that is just a skill's name runs it on defaults.
fn reading(engine: &Engine, message: &Message) -> Reading {
    for part in &message.parts {
        if let Some(Value::Object(data)) = &part.data
            && let Some(skill) = data.get("skill").and_then(Value::as_str)
        {
            let mut input = match data.get("input") {
                Some(Value::Object(input)) => input.clone(),
                _ => Map::new(),
            };
            if let Some(meta) = data.get("_meta") {
                input.insert("_meta".into(), meta.clone());
            }
            return Reading::Skill(skill.to_owned(), input);
        }
    }
    let text = message
        .parts
        .iter()
        .filter_map(|part| part.text.as_deref())
        .collect::<String>();
    match engine.registry.get(text.trim()) {
        Some(skill) => Reading::Skill(skill.id.to_owned(), Map::new()),
        None => Reading::Unclear,
    }
}

/// Puts the task into `input-required` with the list of skills.
async fn ask(
    engine: &Arc<Engine>,
    principal: &Principal,
    message: Message,
    continues: Option<Record>,
) -> Result<Value, Fault> {
    let caller = Caller {
        agent: principal.kind == identity::PrincipalKind::Agent,
        name: principal.name.clone(),
    };
    let mut record = continues.unwrap_or_else(|| {
        new_record(principal.id.to_string(), caller, message.context_id.clone())
    });
    let skills = engine
        .registry
        .iter()
        .map(|skill| skill.id)
        .collect::<Vec<_>>()
        .join(", ");
    let context = record.task.context_id.clone();
    let task_id = Some(record.task.id.clone());
    record.task.history.push(Message {
        context_id: Some(context),
        task_id,
        ..message
    });
    let say = format!("Send a data part {{\"skill\": ..., \"input\": {{...}}}}. Skills: {skills}.");
    record.enter(TaskState::InputRequired, Some(&say));
    crate::context::Backplane::store(&*engine.plane)
        .submit(record.writes())
        .await
        .map_err(store_fault)?;
    Ok(json!({"task": record.task}))
}

async fn find(engine: &Engine, principal: &Principal, id: &str) -> Result<Record, Fault> {
    let record = engine
        .tasks
        .owned(id, principal.id.as_str())
        .await
        .map_err(store_fault)?;
    record.ok_or_else(|| Fault::new(Kind::TaskNotFound, "no such task").with("field", "id"))
}

async fn get_task(
    engine: &Engine,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: GetTaskRequest = typed(params)?;
    check_id("id", &request.id)?;
    let limit = history_limit(request.history_length)?;
    Ok(json!(
        find(engine, principal, &request.id)
            .await?
            .task
            .with_history(limit)
    ))
}

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

async fn cancel_task(
    engine: &Engine,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: CancelTaskRequest = typed(params)?;
    check_id("id", &request.id)?;
    let record = find(engine, principal, &request.id).await?;
    if let Some(receiver) = engine.tasks.cancel(&request.id) {
        let record = settled(receiver).await;
        return if record.state() == TaskState::Canceled {
            Ok(json!(record.task))
        } else {
            Err(not_cancelable(&request.id))
        };
    }
    match record.state() {
        TaskState::Canceled => Ok(json!(record.task)),
        state if state.is_terminal() => Err(not_cancelable(&request.id)),
        _ => {
            let mut record = record;
            record.enter(TaskState::Canceled, Some("canceled by the caller"));
            engine
                .tasks
                .replace(&record)
                .await
                .map_err(|error| match error {
                    store::StoreError::Conflict { .. } => not_cancelable(&request.id),
                    other => store_fault(other),
                })?;
            Ok(json!(record.task))
        }
    }
}

fn not_cancelable(id: &str) -> Fault {
    Fault::new(Kind::TaskNotCancelable, "the task has ended").with("task_id", id)
}

pub(crate) fn store_fault(error: store::StoreError) -> Fault {
    let error = SkillError::unavailable("store", error);
    tracing::error!(error = %Chain(&error), "the store does not answer");
    Fault::from(&error)
}
