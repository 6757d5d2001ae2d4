//! Streams of a task's events, taken up again where a connection broke off.

mod link;
mod seen;

use std::time::Duration;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::StatusCode;
use serde_json::{Map, Value, value::RawValue};
use sse_stream::Sse;
use tokio::time::{Instant, sleep, timeout_at};

pub(super) use link::Opening;

use super::{
    CallError, CallOptions, Client,
    error::{HttpAnswer, Repeat},
    exchange::{self, decode, malformed},
};
use crate::types::StreamResponse;
use link::{Link, Source};
use seen::{LONGEST_ID, Seen};

/// An event with the id that the agent gave it, if any.
pub type Event = (Option<String>, StreamResponse);
/// The events of a task, in order and none of them twice. It ends with the task, with a message, or with an error.
pub type Events = BoxStream<'static, Result<Event, CallError>>;

impl Client {
    /// Opens a stream; errors before the first answer are returned at once.
    pub(super) async fn follow(
        &self,
        opening: Opening,
        call: &CallOptions,
    ) -> Result<Events, CallError> {
        let link = Link::new(self, opening, call);
        let source = link.first().await?;
        let follower = Follower {
            link,
            source: Some(source),
            failed: 0,
            settled: false,
            done: false,
        };
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            follower.done |= event.is_err();
            Some((event, follower))
        });
        Ok(events.boxed())
    }
}

/// What came from a source.
enum Next {
    Event(Sse),
    Plain(Box<RawValue>),
    /// The answer came to its end in order.
    End,
}

struct Follower {
    link: Link,
    source: Option<Source>,
    /// Connections lost since the last update.
    failed: u32,
    /// Whether the task ended or waits for the caller, so that the agent may close the stream.
    settled: bool,
    done: bool,
}

impl Follower {
    /// The next event; None at the end.
    async fn next(&mut self) -> Option<Result<Event, CallError>> {
        while !self.done {
            let error = match self.receive().await {
                Ok(Next::Event(event)) => match self.read(event) {
                    Ok(Some(event)) => return Some(Ok(event)),
                    Ok(None) => continue,
                    Err(error) => error,
                },
                Ok(Next::Plain(result)) => {
                    self.done = true;
                    return Some(decode(&self.link.url, &result).map(|event| (None, event)));
                }
                Ok(Next::End) if self.settled => return None,
                Ok(Next::End) => self.lost(),
                Err(error) => error,
            };
            if let Some(last) = self.resume(error).await {
                self.done = true;
                return Some(last);
            }
        }
        None
    }

    fn lost(&self) -> CallError {
        CallError::Lost {
            url: self.link.url.clone(),
            source: None,
        }
    }

    async fn receive(&mut self) -> Result<Next, CallError> {
        let Some(Source::Events { events, .. }) = &mut self.source else {
            return match self.source.take() {
                Some(Source::Plain(result)) => Ok(Next::Plain(result)),
                _ => Err(self.lost()),
            };
        };
        let silent_at = Instant::now() + self.link.client.inner.options.stream_silence;
        let deadline = self.link.call.deadline;
        let at = deadline.map_or(silent_at, |deadline| deadline.min(silent_at));
        match timeout_at(at, events.next()).await {
            Ok(Some(event)) => event.map(Next::Event),
            Ok(None) => Ok(Next::End),
            Err(_) if at < silent_at => Err(CallError::Deadline {
                url: self.link.url.clone(),
            }),
            Err(_) => Err(self.lost()),
        }
    }

    /// Reads an event; None when it has nothing new or nothing that is known here.
    fn read(&mut self, event: Sse) -> Result<Option<Event>, CallError> {
        let Some(Source::Events { request, .. }) = &self.source else {
            return Ok(None);
        };
        let url = &self.link.url;
        let Sse { data, id, .. } = event;
        if id.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
            return Err(malformed(url, "the id of an event is too long"));
        }
        let answer = match data.filter(|data| !data.is_empty()) {
            None => None,
            Some(data) => Some(exchange::result(url, *request, data.as_bytes(), OK)?),
        };
        // An event counts as received only now that it could be read.
        let new = id.as_deref().is_none_or(|id| self.link.seen.insert(id));
        let Some(answer) = answer.filter(|_| new) else {
            return Ok(None);
        };
        let event: StreamResponse = match decode(url, &answer) {
            Err(_) if !is_known(&answer) => return Ok(None),
            event => event?,
        };
        // An agent may begin every connection with the task as it stands; only what follows shows progress.
        if !matches!(event, StreamResponse::Task(_)) {
            self.failed = 0;
        }
        self.note(&event);
        Ok(Some((id.filter(|id| !id.is_empty()), event)))
    }

    /// Notes which task this is about and whether it goes on.
    fn note(&mut self, event: &StreamResponse) {
        let (task, state) = match event {
            StreamResponse::Message(_) => {
                self.done = true;
                return;
            }
            StreamResponse::ArtifactUpdate(update) => {
                self.link.task = Some(update.task_id.clone());
                return;
            }
            StreamResponse::Task(task) => (&task.id, task.status.state),
            StreamResponse::StatusUpdate(update) => (&update.task_id, update.status.state),
        };
        self.link.task = Some(task.clone());
        self.settled = state.is_settled();
        self.done = state.is_terminal();
    }

    /// Connects again. Returns what the stream ends with when that is of no use.
    async fn resume(&mut self, mut error: CallError) -> Option<Result<Event, CallError>> {
        self.source = None;
        loop {
            self.failed += 1;
            let Some(pause) = self.pause(&error) else {
                return Some(Err(error));
            };
            tracing::debug!(url = self.link.url, error = %error, "taking a lost stream up again");
            sleep(pause).await;
            error = match self.link.open().await {
                Ok(source) => {
                    self.source = Some(source);
                    return None;
                }
                Err(error) => error,
            };
            if let Some(last) = self.link.ended(&error).await {
                return Some(last);
            }
        }
    }

    /// How long to wait before connecting again; None when that is of no use.
    fn pause(&self, error: &CallError) -> Option<Duration> {
        let least = match error {
            _ if !self.link.can_resume() => None,
            CallError::Suspended { source, .. } => Some(source.retry_in),
            // To subscribe is to read.
            error => error.repeat_after(Repeat::Safe),
        };
        let left = self
            .link
            .deadline()
            .saturating_duration_since(Instant::now());
        let backoff = self.link.client.inner.options.backoff;
        backoff.pause(self.failed, super::jitter(), least?, left)
    }
}

/// The head of an answer with events.
const OK: HttpAnswer = HttpAnswer {
    status: StatusCode::OK,
    retry_after: None,
    challenge: None,
};

/// Whether a result has a member that this version of the protocol defines for events.
fn is_known(result: &RawValue) -> bool {
    let arms = ["task", "message", "statusUpdate", "artifactUpdate"];
    serde_json::from_str::<Map<String, Value>>(result.get()).map_or(true, |members| {
        arms.iter().any(|arm| members.contains_key(*arm))
    })
}
