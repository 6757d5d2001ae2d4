//! The A2A methods of this endpoint on top of the engine.

mod list;
mod message;

use std::sync::Arc;

use identity::Principal;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{
    fault::{Fault, Kind},
    types::{GetTaskRequest, Message, SendMessageRequest, TaskIdRequest, TaskState},
};
use crate::{
    SkillError,
    engine::{Call, Engine, Meta, new_record},
    registry::decode,
    tasks::{Caller, Record},
    telemetry::Chain,
};
use list::list_tasks;
use message::{Reading, check_message, continued, reading};

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

async fn cancel_task(
    engine: &Engine,
    principal: &Principal,
    params: Map<String, Value>,
) -> Result<Value, Fault> {
    let request: TaskIdRequest = typed(params)?;
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
                    other @ store::StoreError::Unavailable(_) => store_fault(other),
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
