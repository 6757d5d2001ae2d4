//! Server-sent events: every event of a task, numbered, so that a client that was cut off goes on where it was.
//!
//! A stream is pulled by its client from the task's own log. A slow client costs no memory: it gets what the log still
//! holds, and the task as it stands when it fell too far behind.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use a2a::types::{Message, StreamResponse, TaskState};
use axum::{
    body::Body,
    http::Response,
    response::{IntoResponse, Sse, sse},
};
use futures::{StreamExt as _, stream};
use identity::Principal;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{envelope, fault::Fault, methods::TaskView};
use crate::{
    engine::{Engine, Following},
    streams::Place,
    tasks::{Record, response},
};

/// A comment this often keeps proxies from cutting off a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one stream tells.
pub(crate) struct Updates {
    source: Source,
    closing: CancellationToken,
    /// Given back when the stream ends.
    _place: Option<Place>,
}

enum Source {
    Message(Box<Message>),
    Task(Cursor),
}

/// Where a stream is in a task's log.
struct Cursor {
    record: Arc<Record>,
    now: watch::Receiver<Arc<Record>>,
    /// Number of the last event that was told; nothing was when absent.
    told: Option<u64>,
    /// Whether a question to the caller ends the stream: its answer is another message.
    turn: bool,
    ready: VecDeque<Told>,
    over: bool,
}

/// One event, encoded, with its number.
struct Told {
    number: Option<u64>,
    result: Box<RawValue>,
}

impl Updates {
    /// The stream of a message that was answered without a task.
    pub(crate) fn message(message: Message) -> Self {
        Self {
            source: Source::Message(Box::new(message)),
            closing: CancellationToken::new(),
            _place: None,
        }
    }

    /// The stream of a task that a message started.
    pub(crate) fn sent(
        engine: &Engine,
        principal: &Principal,
        following: Following,
        last_event: Option<u64>,
    ) -> Result<Self, Fault> {
        Self::task(engine, principal, Cursor::new(following, last_event, true))
    }

    /// The stream of a task that was there already.
    pub(crate) fn subscribed(
        engine: &Engine,
        principal: &Principal,
        following: Following,
        last_event: Option<u64>,
    ) -> Result<Self, Fault> {
        Self::task(engine, principal, Cursor::new(following, last_event, false))
    }

    fn task(engine: &Engine, principal: &Principal, cursor: Cursor) -> Result<Self, Fault> {
        Ok(Self {
            source: Source::Task(cursor),
            closing: engine.closing.clone(),
            _place: Some(engine.streams.enter(&principal.name)?),
        })
    }

    /// The HTTP response; every event is an answer to the request with this id.
    pub(crate) fn respond(self, id: &RawValue) -> Response<Body> {
        let id: Arc<RawValue> = id.to_owned().into();
        let closing = self.closing.clone();
        let events = stream::unfold(self, async |mut updates| {
            let told = updates.next().await?;
            Some((told, updates))
        });
        let events = events.map(move |told| Ok::<_, Infallible>(event(&id, &told)));
        let events = events.take_until(closing.cancelled_owned());
        let alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
        Sse::new(events).keep_alive(alive).into_response()
    }

    async fn next(&mut self) -> Option<Told> {
        match &mut self.source {
            Source::Task(cursor) => cursor.next().await,
            Source::Message(message) => {
                let told = Told::new(None, &StreamResponse::Message(Message::clone(message)));
                self.source = Source::Task(Cursor::over());
                told
            }
        }
    }
}

fn event(id: &RawValue, told: &Told) -> sse::Event {
    let event = sse::Event::default().data(envelope::result(id, &told.result));
    match told.number {
        Some(number) => event.id(number.to_string()),
        None => event,
    }
}

impl Told {
    fn new(number: Option<u64>, result: &impl Serialize) -> Option<Self> {
        let encoded = serde_json::value::to_raw_value(result);
        if let Err(error) = &encoded {
            tracing::error!(%error, "cannot encode an event");
        }
        let result = encoded.ok()?;
        Some(Self { number, result })
    }

    fn task(record: &Record) -> Option<Self> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        enum Snapshot<'a> {
            Task(TaskView<'a>),
        }
        let snapshot = Snapshot::Task(TaskView::new(&record.task, None));
        Self::new(Some(record.log.newest()), &snapshot)
    }
}

impl Cursor {
    fn new(following: Following, told: Option<u64>, turn: bool) -> Self {
        Self {
            record: following.first,
            now: following.now,
            told,
            turn,
            ready: VecDeque::new(),
            over: false,
        }
    }

    /// A stream that has told everything.
    fn over() -> Self {
        let record = Arc::new(Record::default());
        Self {
            now: watch::channel(record.clone()).1,
            record,
            told: None,
            turn: false,
            ready: VecDeque::new(),
            over: true,
        }
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            if self.over {
                return None;
            }
            self.gather();
            if self.ready.is_empty() && !self.over {
                // An error means that nobody writes any more; what there is has been told then.
                let gone = self.now.changed().await.is_err();
                self.record = self.now.borrow_and_update().clone();
                self.over = gone && self.told == Some(self.record.log.newest());
            }
        }
    }

    /// Encodes what was not told yet.
    fn gather(&mut self) {
        let record = &self.record;
        match self.told.and_then(|told| record.log.after(told)) {
            Some(events) => self.ready.extend(events.filter_map(|(number, event)| {
                Told::new(Some(number), &response(&record.task, event)?)
            })),
            None => self.ready.extend(Told::task(record)),
        }
        self.told = Some(record.log.newest());
        let state = record.state();
        self.over = state.is_terminal() || (self.turn && state == TaskState::InputRequired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(cursor: &mut Cursor) -> Vec<(u64, &'static str)> {
        cursor.gather();
        let kind = |told: &Told| match told.result.get() {
            text if text.starts_with("{\"task\"") => "task",
            _ => "update",
        };
        let ready = cursor.ready.drain(..);
        ready
            .map(|told| (told.number.unwrap(), kind(&told)))
            .collect()
    }

    fn following(record: Record) -> (watch::Sender<Arc<Record>>, Following) {
        let first = Arc::new(record);
        let (sender, now) = watch::channel(first.clone());
        (sender, Following { first, now })
    }

    fn working() -> Record {
        let mut record = Record::default();
        record.begin(TaskState::Working);
        record
    }

    #[test]
    fn a_stream_begins_with_the_task_and_goes_on_with_what_is_new() {
        let mut record = working();
        let (_sender, first) = following(record.clone());
        let mut cursor = Cursor::new(first, None, true);
        assert_eq!(numbers(&mut cursor), [(1, "task")]);
        assert!(!cursor.over);
        record.advance("half way", serde_json::json!({"done": 1, "total": 2}));
        record.enter(TaskState::Completed, None);
        cursor.record = Arc::new(record);
        assert_eq!(numbers(&mut cursor), [(2, "update"), (3, "update")]);
        assert!(cursor.over);
    }

    #[test]
    fn a_resumed_stream_repeats_nothing_and_a_lost_place_gets_the_task() {
        let mut record = working();
        for step in 0..200 {
            record.advance("on", serde_json::json!(step));
        }
        let newest = record.log.newest();
        for (last, told) in [
            (newest - 1, vec![(newest, "update")]),
            (newest, vec![]),
            (2, vec![(newest, "task")]),
            (newest + 7, vec![(newest, "task")]),
        ] {
            let (_sender, first) = following(record.clone());
            assert_eq!(numbers(&mut Cursor::new(first, Some(last), false)), told);
        }
    }

    #[test]
    fn a_question_ends_the_turn_but_not_a_subscription() {
        let mut record = working();
        record.enter(TaskState::InputRequired, Some("which one?"));
        for turn in [true, false] {
            let (_sender, first) = following(record.clone());
            let mut cursor = Cursor::new(first, None, turn);
            cursor.gather();
            assert_eq!(cursor.over, turn);
        }
    }
}
