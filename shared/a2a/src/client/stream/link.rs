//! What a stream is about, and how to connect to it, for the first time and again.

use futures::{StreamExt, stream::BoxStream};
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, value::RawValue};
use sse_stream::Sse;
use tokio::time::Instant;

use super::{Event, Seen};
use crate::{
    client::{
        CallError, CallOptions, Client, LONGEST_WAIT, Tries,
        error::{Repeat, TASK_NOT_FOUND, UNSUPPORTED_OPERATION},
        exchange::{self, Outgoing, malformed},
        methods::params,
        sse,
    },
    types::{GetTaskRequest, StreamResponse, TaskIdRequest},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How a stream begins.
#[derive(Debug)]
pub(in crate::client) enum Opening {
    /// With a message.
    Send { params: Value, repeat: Repeat },
    /// With a task that is there already.
    Subscribe { id: String },
}

/// One answer to a streaming request.
pub(super) enum Source {
    /// A stream of answers to the request with this id.
    Events {
        request: u64,
        events: BoxStream<'static, Result<Sse, CallError>>,
    },
    /// The agent answered at once, without a stream.
    Plain(Box<RawValue>),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) call: CallOptions,
    opening: Opening,
    /// The task that the events are about, once it is known.
    pub(super) task: Option<String>,
    pub(super) seen: Seen,
}

impl Link {
    pub(super) fn new(client: &Client, opening: Opening, call: &CallOptions) -> Self {
        // The task that a message names is not followed before an event shows that the message arrived.
        let task = match &opening {
            Opening::Send { .. } => None,
            Opening::Subscribe { id } => Some(id.clone()),
        };
        Self {
            client: client.clone(),
            url: client.url(),
            call: call.clone(),
            opening,
            task,
            seen: Seen::default(),
        }
    }

    /// Connects for the first time.
    pub(super) async fn first(&self) -> Result<Source, CallError> {
        let repeat = match &self.opening {
            Opening::Send { repeat, .. } => *repeat,
            Opening::Subscribe { .. } => Repeat::Safe,
        };
        let tries = Tries {
            backoff: self.client.inner.options.backoff,
            repeat,
            deadline: self.deadline(),
        };
        tries.run(&self.url, || self.open()).await
    }

    pub(super) fn deadline(&self) -> Instant {
        self.call
            .deadline
            .unwrap_or_else(|| Instant::now() + LONGEST_WAIT)
    }

    /// Whether it can be connected to again: the task is known, or the message may be sent again.
    pub(super) fn can_resume(&self) -> bool {
        let again = |opening: &Opening| {
            matches!(
                opening,
                Opening::Send {
                    repeat: Repeat::Safe,
                    ..
                }
            )
        };
        self.task.is_some() || again(&self.opening)
    }

    /// One try to connect, from where the stream broke off if it did.
    pub(super) async fn open(&self) -> Result<Source, CallError> {
        let client = &self.client;
        let session = client.session();
        let (method, params) = match (&self.task, &self.opening) {
            (Some(id), _) | (None, Opening::Subscribe { id }) => {
                let request = TaskIdRequest { id: id.clone() };
                ("SubscribeToTask", params(&session, &request)?)
            }
            (None, Opening::Send { params, .. }) => ("SendStreamingMessage", params.clone()),
        };
        let mut headers = client.headers(&session, &self.call.headers);
        let accept = HeaderValue::from_static("text/event-stream, application/json");
        headers.insert(header::ACCEPT, accept);
        if let Some(id) = self.seen.last() {
            let id = HeaderValue::from_str(id)
                .map_err(|_| malformed(&self.url, "the id of an event cannot stand in a header"))?;
            headers.insert(LAST_EVENT_ID, id);
        }
        let outgoing = Outgoing {
            url: &session.url,
            id: client.next_id(),
            method,
            params: &params,
            headers,
        };
        client
            .guarded(&session.url, self.deadline(), self.answer(&outgoing))
            .await
    }

    async fn answer(&self, outgoing: &Outgoing<'_>) -> Result<Source, CallError> {
        let options = &self.client.inner.options;
        let response = outgoing.send(&self.client.inner.http).await?;
        if exchange::is_event_stream(&response) {
            return Ok(Source::Events {
                request: outgoing.id,
                events: sse::events(outgoing.url, response, options.max_event).boxed(),
            });
        }
        let result = outgoing.result(response, options.max_answer).await?;
        Ok(Source::Plain(result))
    }

    /// The last state of the task, when the agent says that there is nothing left to follow.
    pub(super) async fn ended(&self, error: &CallError) -> Option<Result<Event, CallError>> {
        let id = self.task.clone()?;
        if !matches!(error.code(), Some(TASK_NOT_FOUND | UNSUPPORTED_OPERATION)) {
            return None;
        }
        let request = GetTaskRequest {
            id,
            history_length: None,
        };
        let task = self.client.get_task(&request, &self.call).await;
        Some(task.map(|task| (None, StreamResponse::Task(task))))
    }
}
