//! `SendMessage` and `SendStreamingMessage`.

use a2a::types::{Message, Part, Role, SendMessageRequest, TaskState};

use super::{
    Answer, Request, history_limit,
    message::{Reading, check_message, continued, reading},
    no_push, typed,
    view::{Sent, TaskView},
};
use crate::{
    a2a::{fault::Fault, stream::Updates},
    converse::Reply,
    engine::{Call, Meta, Started, Work},
};

/// What became of a message.
enum Outcome {
    Task(Started),
    Message(Box<Message>),
}

pub(super) async fn send_message(request: Request<'_>) -> Result<Answer, Fault> {
    let send: SendMessageRequest = typed(request.params)?;
    let wanted = send.configuration.clone().unwrap_or_default();
    let limit = history_limit(wanted.history_length)?;
    let (started, detached) = start(&request, send, wanted.return_immediately).await?;
    match started {
        Outcome::Message(message) => Answer::of(&Sent::Message(&message)),
        Outcome::Task(started) => {
            let record = if detached {
                started.detach().first
            } else {
                started.settled().await?
            };
            let task = TaskView::new(&record.task, limit);
            Answer::of_task(&Sent::Task(task), &record)
        }
    }
}

pub(super) async fn send_streaming_message(request: Request<'_>) -> Result<Answer, Fault> {
    let send: SendMessageRequest = typed(request.params)?;
    let (started, _) = start(&request, send, true).await?;
    let updates = match started {
        Outcome::Message(message) => Updates::message(*message),
        Outcome::Task(started) => Updates::sent(
            request.engine,
            request.principal,
            started.detach(),
            request.last_event,
        )?,
    };
    Ok(Answer::Stream(updates))
}

/// Checks a message and starts what it asks for; also says whether the caller wants no more than the start.
async fn start(
    request: &Request<'_>,
    send: SendMessageRequest,
    shown: bool,
) -> Result<(Outcome, bool), Fault> {
    let (engine, principal) = (request.engine, request.principal);
    let SendMessageRequest {
        message,
        configuration,
        ..
    } = send;
    check_message(&message, request.cards.input_modes())?;
    let wanted = configuration.and_then(|wanted| wanted.task_push_notification_config);
    let push = match wanted {
        Some(_) if !request.cards.offers().push => return Err(no_push()),
        Some(config) => Some(engine.push.check(config)?),
        None => None,
    };
    let mut continues = continued(engine, principal, &message).await?;
    if let Some(waiting) = continues.take_if(|task| task.state() == TaskState::AuthRequired) {
        let following = engine
            .hear(waiting, message, push, request.idempotent)
            .await?;
        return Ok((Outcome::Task(following.into()), shown));
    }
    let (work, meta) = match reading(engine, &message)? {
        Reading::Skill(skill, mut input) => {
            let meta = Meta::take(&mut input)?;
            (Work::Skill(skill, input), meta)
        }
        Reading::Unclear => match engine.reply(&message, continues.as_ref()) {
            Reply::Task(talk) => (Work::Talk(talk), Meta::default()),
            Reply::Message(parts) => {
                let answer = Box::new(answer(parts, message.context_id));
                return Ok((Outcome::Message(answer), false));
            }
        },
    };
    let detached = meta.detached || shown;
    let call = Call {
        principal: principal.clone(),
        work,
        meta,
        message: Some(message),
        once: request.idempotent,
        continues,
        shown,
        push,
    };
    let started = engine.start(call).await?;
    Ok((Outcome::Task(started), detached))
}

/// A message of the agent in the caller's conversation, or in a new one.
fn answer(parts: Vec<Part>, context_id: Option<String>) -> Message {
    let fresh = || uuid::Uuid::now_v7().to_string();
    Message {
        message_id: fresh(),
        role: Role::Agent,
        parts,
        context_id: Some(context_id.unwrap_or_else(fresh)),
        task_id: None,
        metadata: None,
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
    }
}
