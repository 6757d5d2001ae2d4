//! The eleven operations, and direct methods.

use http::HeaderMap;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value, value::RawValue};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::{
    CallError, CallOptions, Client, LONGEST_WAIT, Tries,
    error::Repeat,
    exchange::{Outgoing, decode, headers, malformed},
    session::{self, Session},
    stream::{Events, Opening},
};
use crate::{
    card::AgentCard,
    types::{
        CancelTaskRequest, GetTaskRequest, ListPushConfigsRequest, ListPushConfigsResponse,
        ListTasksRequest, ListTasksResponse, PushConfig, PushConfigRequest, SendMessageRequest,
        SendMessageResponse, Task, TaskIdRequest,
    },
};

/// A request for a plain answer.
struct Request<'a> {
    method: &'a str,
    params: Value,
    repeat: Repeat,
}

impl Client {
    /// `SendMessage`. Tried again after a lost answer only when the agent recognises the message by its id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send_message(
        &self,
        request: &SendMessageRequest,
        call: &CallOptions,
    ) -> Result<SendMessageResponse, CallError> {
        let repeat = self.sending(request)?;
        self.typed("SendMessage", request, repeat, call).await
    }

    /// `SendStreamingMessage`: the events of the task, or the one message that answers. A lost stream is taken up again
    /// where it broke off.
    ///
    /// # Errors
    /// [`CallError`]; later ones come as the last item of the stream.
    pub async fn send_streaming_message(
        &self,
        request: &SendMessageRequest,
        call: &CallOptions,
    ) -> Result<Events, CallError> {
        self.needs_streaming()?;
        let repeat = self.sending(request)?;
        let params = params(&self.session(), request)?;
        let opening = Opening::Send { params, repeat };
        self.follow(opening, call).await
    }

    /// `GetTask`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_task(
        &self,
        request: &GetTaskRequest,
        call: &CallOptions,
    ) -> Result<Task, CallError> {
        self.typed("GetTask", request, Repeat::Safe, call).await
    }

    /// `ListTasks`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_tasks(
        &self,
        request: &ListTasksRequest,
        call: &CallOptions,
    ) -> Result<ListTasksResponse, CallError> {
        self.typed("ListTasks", request, Repeat::Safe, call).await
    }

    /// `CancelTask`; cancelling twice does no harm.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn cancel_task(
        &self,
        request: &CancelTaskRequest,
        call: &CallOptions,
    ) -> Result<Task, CallError> {
        self.typed("CancelTask", request, Repeat::Safe, call).await
    }

    /// `SubscribeToTask`: the task as it stands, then its events.
    ///
    /// # Errors
    /// [`CallError`]; later ones come as the last item of the stream.
    pub async fn subscribe_to_task(
        &self,
        request: &TaskIdRequest,
        call: &CallOptions,
    ) -> Result<Events, CallError> {
        self.needs_streaming()?;
        let id = request.id.clone();
        self.follow(Opening::Subscribe { id }, call).await
    }

    /// `CreateTaskPushNotificationConfig`. Not tried again after a lost answer: the agent may make two of it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_push_config(
        &self,
        config: &PushConfig,
        call: &CallOptions,
    ) -> Result<PushConfig, CallError> {
        self.needs_push()?;
        let method = "CreateTaskPushNotificationConfig";
        self.typed(method, config, Repeat::Unsafe, call).await
    }

    /// `GetTaskPushNotificationConfig`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_push_config(
        &self,
        request: &PushConfigRequest,
        call: &CallOptions,
    ) -> Result<PushConfig, CallError> {
        self.needs_push()?;
        let method = "GetTaskPushNotificationConfig";
        self.typed(method, request, Repeat::Safe, call).await
    }

    /// `ListTaskPushNotificationConfigs`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_push_configs(
        &self,
        request: &ListPushConfigsRequest,
        call: &CallOptions,
    ) -> Result<ListPushConfigsResponse, CallError> {
        self.needs_push()?;
        let method = "ListTaskPushNotificationConfigs";
        self.typed(method, request, Repeat::Safe, call).await
    }

    /// `DeleteTaskPushNotificationConfig`; deleting twice does no harm.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_push_config(
        &self,
        request: &PushConfigRequest,
        call: &CallOptions,
    ) -> Result<(), CallError> {
        self.needs_push()?;
        let method = "DeleteTaskPushNotificationConfig";
        // Agents answer with null or an empty object.
        self.typed::<IgnoredAny>(method, request, Repeat::Safe, call)
            .await?;
        Ok(())
    }

    /// `GetExtendedAgentCard`. The card takes the place of the public one, until [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// [`CallError`], also when the signature policy does not trust it.
    pub async fn get_extended_agent_card(
        &self,
        call: &CallOptions,
    ) -> Result<AgentCard, CallError> {
        let session = self.session();
        offered(
            session.card.capabilities.extended_agent_card,
            "an extended agent card",
        )?;
        let card: Value = self
            .typed("GetExtendedAgentCard", &Map::new(), Repeat::Safe, call)
            .await?;
        let options = &self.inner.options;
        let card = session::decode(&card, &options.signatures)?
            .map_err(|error| malformed(&session.url, format!("no agent card: {error}")))?;
        let extended = session
            .extended(card, &options.extensions)
            .map_err(|error| malformed(&session.url, error.to_string()))?;
        self.replace(extended);
        Ok(self.card())
    }

    /// Calls a method that is not A2A's: a skill of an agent of this mesh. The deadline goes along as
    /// `params._meta.deadline`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        call: &CallOptions,
    ) -> Result<T, CallError> {
        let mut params = object(params)?;
        if let Some(deadline) = call.deadline {
            let meta = params.entry("_meta").or_insert_with(|| Map::new().into());
            let meta = meta
                .as_object_mut()
                .ok_or_else(|| CallError::Request("_meta is no object".into()))?;
            meta.insert("deadline".into(), wall_clock(deadline).into());
        }
        let repeat = if call.repeatable {
            Repeat::Safe
        } else {
            Repeat::Unsafe
        };
        let session = self.session();
        let request = Request {
            method,
            params: params.into(),
            repeat,
        };
        let result = self.result(&session, &request, call).await?;
        decode(&session.url, &result)
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
        repeat: Repeat,
        call: &CallOptions,
    ) -> Result<T, CallError> {
        let session = self.session();
        let request = Request {
            method,
            params: params(&session, request)?,
            repeat,
        };
        let result = self.result(&session, &request, call).await?;
        decode(&session.url, &result)
    }

    async fn result(
        &self,
        session: &Session,
        request: &Request<'_>,
        call: &CallOptions,
    ) -> Result<Box<RawValue>, CallError> {
        let options = &self.inner.options;
        let tries = Tries {
            backoff: options.backoff,
            repeat: request.repeat,
            deadline: call
                .deadline
                .unwrap_or_else(|| Instant::now() + LONGEST_WAIT),
        };
        let attempt = || async {
            let outgoing = Outgoing {
                url: &session.url,
                id: self.next_id(),
                method: request.method,
                params: &request.params,
                headers: self.headers(session, &call.headers),
            };
            let response = outgoing.send(&self.inner.http).await?;
            outgoing.result(response, options.max_answer).await
        };
        let guarded = || self.guarded(&session.url, tries.deadline, attempt());
        tries.run(&session.url, guarded).await
    }

    pub(super) fn headers(&self, session: &Session, call: &HeaderMap) -> HeaderMap {
        headers(
            session.extensions.as_ref(),
            &self.inner.options.headers,
            call,
        )
    }

    /// Whether a message may be sent twice. Asks for no push notifications of an agent that has none.
    fn sending(&self, request: &SendMessageRequest) -> Result<Repeat, CallError> {
        let configuration = request.configuration.as_ref();
        if configuration.is_some_and(|it| it.task_push_notification_config.is_some()) {
            self.needs_push()?;
        }
        Ok(if self.session().idempotent {
            Repeat::Safe
        } else {
            Repeat::Unsafe
        })
    }

    fn needs_streaming(&self) -> Result<(), CallError> {
        offered(self.session().card.capabilities.streaming, "streaming")
    }

    fn needs_push(&self) -> Result<(), CallError> {
        let capability = self.session().card.capabilities.push_notifications;
        offered(capability, "push notifications")
    }
}

fn offered(capability: Option<bool>, name: &'static str) -> Result<(), CallError> {
    match capability {
        Some(true) => Ok(()),
        _ => Err(CallError::NotOffered(name)),
    }
}

/// The parameters of an A2A operation, with the interface's tenant.
pub(super) fn params(session: &Session, request: &impl Serialize) -> Result<Value, CallError> {
    let mut params = object(request)?;
    if let Some(tenant) = &session.tenant {
        params.insert("tenant".into(), tenant.clone().into());
    }
    Ok(params.into())
}

fn object(params: &impl Serialize) -> Result<Map<String, Value>, CallError> {
    match serde_json::to_value(params) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(_) => Err(CallError::Request("params are no object".into())),
        Err(error) => Err(CallError::Request(error.to_string())),
    }
}

/// A deadline as other machines understand it: RFC 3339, UTC, milliseconds.
fn wall_clock(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let at = OffsetDateTime::now_utc() + left;
    let at = at
        .replace_nanosecond(u32::from(at.millisecond()) * 1_000_000)
        .unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}
