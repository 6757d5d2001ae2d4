//! The methods of A2A 1.0 on top of the engine.

mod cancel;
mod list;
mod message;
mod push;
mod send;
mod view;

use std::sync::Arc;

use a2a::types::{GetTaskRequest, TaskIdRequest};
use identity::Principal;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    card::Cards,
    fault::{Fault, Kind},
    stream::Updates,
};
use crate::{
    SkillError,
    engine::{Engine, Following},
    registry::decode,
    tasks::Record,
    telemetry::Chain,
};
pub(crate) use view::{TaskView, artifact};

/// The methods of A2A 1.0.
const METHODS: [&str; 11] = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    "GetExtendedAgentCard",
];

/// Longest id that is looked up.
const MAX_ID: usize = 256;

/// Whether A2A 1.0 defines a method of this name.
pub(crate) fn is_defined(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Whether a method starts work, which the manifest limits; the others only look, or end work.
pub(crate) fn starts_work(method: &str) -> bool {
    matches!(method, "SendMessage" | "SendStreamingMessage")
}

/// What a method comes to.
pub(crate) enum Answer {
    /// One result, encoded, and the task it is about.
    Result(Box<RawValue>, Option<String>),
    /// Events of one task.
    Stream(Updates),
}

impl Answer {
    /// A result.
    pub(crate) fn of(result: &impl Serialize) -> Result<Self, Fault> {
        Ok(Self::Result(encode(result)?, None))
    }

    /// A result about one task.
    pub(crate) fn of_task(result: &impl Serialize, record: &Record) -> Result<Self, Fault> {
        Ok(Self::Result(encode(result)?, Some(record.task.id.clone())))
    }
}

fn encode(result: &impl Serialize) -> Result<Box<RawValue>, Fault> {
    to_raw_value(result).map_err(|error| {
        tracing::error!(%error, "cannot encode an answer");
        Fault::new(Kind::Internal, "the answer cannot be encoded")
    })
}

/// One request for a method.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) cards: &'a Cards,
    pub(crate) principal: &'a Principal,
    pub(crate) params: Option<&'a RawValue>,
    /// Whether the same message again stands for the same task.
    pub(crate) idempotent: bool,
    /// `Last-Event-ID` of a stream that is resumed.
    pub(crate) last_event: Option<u64>,
}

/// Runs a method.
pub(crate) async fn dispatch(method: &str, request: Request<'_>) -> Result<Answer, Fault> {
    let offers = request.cards.offers();
    match method {
        "SendMessage" => send::send_message(request).await,
        "SendStreamingMessage" if offers.streaming => send::send_streaming_message(request).await,
        "GetTask" => get_task(request).await,
        "ListTasks" => list::list_tasks(request).await,
        "CancelTask" => cancel::cancel_task(request).await,
        "SubscribeToTask" if offers.streaming => subscribe_to_task(request).await,
        "GetExtendedAgentCard" => extended_card(&request),
        "SendStreamingMessage" | "SubscribeToTask" => {
            let kind = Kind::UnsupportedOperation;
            Err(Fault::new(kind, "this agent does not stream"))
        }
        _ if !offers.push => Err(no_push()),
        "CreateTaskPushNotificationConfig" => push::create(request).await,
        "GetTaskPushNotificationConfig" => push::get(request).await,
        "ListTaskPushNotificationConfigs" => push::list(request).await,
        _ => push::delete(request).await,
    }
}

fn no_push() -> Fault {
    Fault::new(
        Kind::PushNotificationNotSupported,
        "this agent sends no push notifications",
    )
}

fn extended_card(request: &Request<'_>) -> Result<Answer, Fault> {
    if !request.cards.offers().extended_card {
        let kind = Kind::UnsupportedOperation;
        return Err(Fault::new(kind, "this agent has no extended card"));
    }
    let may = |skill: &str| request.engine.access.allows(request.principal, skill);
    Answer::of(&request.cards.extended(may))
}

/// Decodes parameters. The second, slower reading finds the path of the wrong field.
fn typed<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, Fault> {
    let text = params.map_or("{}", RawValue::get);
    if let Ok(typed) = serde_json::from_str(text) {
        return Ok(typed);
    }
    decode(super::endpoint::by_name(params)?).map_err(|error| Fault::from(&error))
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

fn page_size(size: Option<i64>) -> Result<usize, Fault> {
    let size = size.unwrap_or(50);
    match usize::try_from(size) {
        Ok(size @ 1..=100) => Ok(size),
        _ => Err(Fault::field("pageSize", "1 to 100", &size.to_string())),
    }
}

async fn find(engine: &Engine, principal: &Principal, id: &str) -> Result<Arc<Record>, Fault> {
    let record = engine
        .tasks
        .owned(id, principal.id.as_str())
        .await
        .map_err(store_fault)?;
    record.ok_or_else(|| Fault::new(Kind::TaskNotFound, "no such task").with("field", "id"))
}

async fn get_task(request: Request<'_>) -> Result<Answer, Fault> {
    let params: GetTaskRequest = typed(request.params)?;
    check_id("id", &params.id)?;
    let limit = history_limit(params.history_length)?;
    let record = find(request.engine, request.principal, &params.id).await?;
    Answer::of_task(&TaskView::new(&record.task, limit), &record)
}

async fn subscribe_to_task(request: Request<'_>) -> Result<Answer, Fault> {
    let Request {
        engine,
        principal,
        params,
        last_event,
        ..
    } = request;
    let params: TaskIdRequest = typed(params)?;
    check_id("id", &params.id)?;
    let first = find(engine, principal, &params.id).await?;
    let told_all = last_event.is_none_or(|seen| seen == first.log.newest());
    if first.state().is_terminal() && told_all {
        let kind = Kind::UnsupportedOperation;
        return Err(Fault::new(kind, "the task has ended").with("task_id", &params.id));
    }
    let following = Following {
        now: engine.tasks.follow(first.clone()),
        first,
    };
    Updates::subscribed(engine, principal, following, last_event).map(Answer::Stream)
}

pub(crate) fn store_fault(error: store::StoreError) -> Fault {
    let error = SkillError::unavailable("store", error);
    tracing::error!(error = %Chain(&error), "the store does not answer");
    Fault::from(&error)
}
