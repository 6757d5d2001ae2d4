//! What streams tell of a task, however often they break off.

use std::collections::BTreeMap;

use a2a::{
    client::{CallOptions, UNSUPPORTED_OPERATION},
    types::{
        Artifact, SendMessageRequest, StreamResponse, Task, TaskArtifactUpdateEvent, TaskIdRequest,
        TaskState, TaskStatus,
    },
};
use futures::StreamExt as _;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::traffic::{Agent, await_return};

/// How a stream begins.
pub(crate) enum Start {
    /// With a message; the task it makes is passed on as soon as it is known.
    Message(Box<SendMessageRequest>, oneshot::Sender<String>),
    /// With a task that is there already.
    Task(String),
}

/// One event; without a number when it was fetched after the end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: Option<u64>,
    pub(crate) event: StreamResponse,
}

/// The state that an event tells of.
pub(crate) fn state(event: &StreamResponse) -> Option<TaskState> {
    match event {
        StreamResponse::Task(task) => Some(task.status.state),
        StreamResponse::StatusUpdate(update) => Some(update.status.state),
        StreamResponse::Message(_) | StreamResponse::ArtifactUpdate(_) => None,
    }
}

fn task_of(event: &StreamResponse) -> &str {
    match event {
        StreamResponse::Task(task) => &task.id,
        StreamResponse::StatusUpdate(update) => &update.task_id,
        StreamResponse::ArtifactUpdate(update) => &update.task_id,
        StreamResponse::Message(message) => panic!("no task: {message:?}"),
    }
}

/// Follows a task to its end. The client takes a lost stream up again a few times; then a new client goes on after the
/// last event that was seen.
pub(crate) async fn follow(agent: &Agent, start: Start) -> Vec<Told> {
    let (message, mut known, mut task) = match start {
        Start::Message(message, known) => (Some(message), Some(known), None),
        Start::Task(task) => (None, None, Some(task)),
    };
    let mut told: Vec<Told> = Vec::new();
    loop {
        let client = agent.client().await;
        let call = after(told.iter().rev().find_map(|told| told.id));
        let opened = match (&task, &message) {
            (Some(id), _) => {
                let request = TaskIdRequest { id: id.clone() };
                client.subscribe_to_task(&request, &call).await
            }
            (None, Some(message)) => client.send_streaming_message(message, &call).await,
            (None, None) => panic!("a stream of nothing"),
        };
        let mut events = match (opened, &task) {
            (Ok(events), _) => events,
            // It ended while nobody was listening.
            (Err(error), Some(id)) if error.code() == Some(UNSUPPORTED_OPERATION) => {
                let event = StreamResponse::Task(agent.task(id).await);
                told.push(Told { id: None, event });
                return told;
            }
            (Err(error), _) => {
                await_return(&error).await;
                continue;
            }
        };
        while let Some(event) = events.next().await {
            let (id, event) = match event {
                Ok(event) => event,
                Err(error) => {
                    await_return(&error).await;
                    break;
                }
            };
            let about = task_of(&event).to_owned();
            if let Some(known) = known.take() {
                known.send(about.clone()).unwrap();
            }
            assert_eq!(*task.get_or_insert_with(|| about.clone()), about);
            let ended = state(&event).is_some_and(TaskState::is_terminal);
            let id = id.map(|id| id.parse().unwrap());
            told.push(Told { id, event });
            if ended {
                return told;
            }
        }
    }
}

fn after(id: Option<u64>) -> CallOptions {
    let mut call = CallOptions::default();
    if let Some(id) = id {
        call.headers.insert("last-event-id", HeaderValue::from(id));
    }
    call
}

/// What a client knows of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    status: TaskStatus,
    artifacts: Vec<Artifact>,
    metadata: Map<String, Value>,
}

impl View {
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            status: task.status.clone(),
            artifacts: task.artifacts.clone(),
            metadata: task.metadata.clone(),
        }
    }

    fn grow(&mut self, update: &TaskArtifactUpdateEvent) {
        let new = update.artifact.clone();
        let same = |known: &&mut Artifact| known.artifact_id == new.artifact_id;
        match self.artifacts.iter_mut().find(same) {
            Some(known) if update.append => known.parts.extend(new.parts),
            Some(known) => *known = new,
            None => self.artifacts.push(new),
        }
    }
}

/// One stream, read as the protocol says.
#[derive(Debug)]
pub(crate) struct Story {
    /// What its reader knew after each numbered event.
    pub(crate) views: BTreeMap<u64, View>,
    /// What it knew in the end.
    pub(crate) end: View,
    /// How often it was given the whole task after the first event.
    pub(crate) snapshots: usize,
}

/// Numbers rise, jump only to a snapshot, and end with the completed task.
pub(crate) fn check(told: &[Told]) -> Result<Story, String> {
    let (mut view, mut last, mut snapshots): (Option<View>, _, _) = (None, None::<u64>, 0);
    let mut views = BTreeMap::new();
    for (at, Told { id, event }) in told.iter().enumerate() {
        let snapshot = matches!(event, StreamResponse::Task(_));
        match (id, last) {
            (Some(id), Some(last)) if *id <= last => return Err(format!("{id} after {last}")),
            (Some(id), Some(last)) if *id != last + 1 && !snapshot => {
                return Err(format!("{id} after {last}, and no snapshot"));
            }
            (None, _) if !snapshot || at + 1 != told.len() => {
                return Err(format!("an event without a number: {event:?}"));
            }
            _ => last = id.or(last),
        }
        snapshots += usize::from(snapshot && at > 0);
        match (event, view.as_mut()) {
            (StreamResponse::Task(task), _) => view = Some(View::of(task)),
            (_, None) => return Err(format!("begins with {event:?}")),
            (StreamResponse::StatusUpdate(update), Some(view)) => {
                view.status = update.status.clone();
                view.metadata
                    .extend(update.metadata.clone().unwrap_or_default());
            }
            (StreamResponse::ArtifactUpdate(update), Some(view)) => view.grow(update),
            (StreamResponse::Message(_), _) => return Err("a message".into()),
        }
        let now = view.clone().ok_or("no view")?;
        views.extend(id.map(|id| (id, now)));
    }
    let end = view.ok_or("an empty stream")?;
    if end.status.state != TaskState::Completed {
        return Err(format!("ends with {:?}", end.status));
    }
    Ok(Story {
        views,
        end,
        snapshots,
    })
}

/// An update has the same words on both streams.
pub(crate) fn check_updates(told: &[Vec<Told>; 2]) -> Result<(), String> {
    let [first, second] = told.each_ref().map(|told| {
        let numbered = told
            .iter()
            .filter_map(|told| Some((told.id?, &told.event)))
            .filter(|(_, event)| !matches!(event, StreamResponse::Task(_)));
        numbered.collect::<BTreeMap<_, _>>()
    });
    for (id, event) in first {
        if let Some(other) = second.get(&id)
            && *other != event
        {
            return Err(format!("{id} is {event:?} and {other:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_wrong_stream_is_noticed() {
    let task = |state| {
        StreamResponse::Task(Task {
            status: TaskStatus {
                state,
                ..TaskStatus::default()
            },
            ..Task::default()
        })
    };
    let update = |state| {
        StreamResponse::StatusUpdate(a2a::types::TaskStatusUpdateEvent {
            task_id: String::new(),
            context_id: String::new(),
            status: TaskStatus {
                state,
                ..TaskStatus::default()
            },
            metadata: None,
        })
    };
    let (begun, ended) = (TaskState::Working, TaskState::Completed);
    let case = |events: Vec<(Option<u64>, StreamResponse)>| {
        let told: Vec<Told> = events
            .into_iter()
            .map(|(id, event)| Told { id, event })
            .collect();
        check(&told).is_ok()
    };
    assert!(case(vec![(Some(1), task(begun)), (Some(2), update(ended))]));
    assert!(case(vec![(Some(1), task(begun)), (Some(5), task(ended))]));
    assert!(case(vec![(Some(1), task(begun)), (None, task(ended))]));
    assert!(
        !case(vec![(Some(1), task(begun)), (Some(3), update(ended))]),
        "a gap"
    );
    assert!(
        !case(vec![(Some(1), task(begun)), (Some(1), task(ended))]),
        "a repeat"
    );
    assert!(!case(vec![(Some(1), update(ended))]), "no beginning");
    assert!(
        !case(vec![(Some(1), task(begun)), (Some(2), update(begun))]),
        "no end"
    );
    assert!(!case(vec![]));
}
