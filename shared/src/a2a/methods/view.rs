//! Tasks as they are answered, without a copy.

use a2a::types::{Artifact, Message, Task, TaskStatus};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tasks::Record;

/// A task with part of its history.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView<'a> {
    id: &'a str,
    context_id: &'a str,
    status: &'a TaskStatus,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    artifacts: &'a [Artifact],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    history: &'a [Message],
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
}

impl<'a> TaskView<'a> {
    /// The task with at most `limit` newest messages; none at all for 0.
    pub(crate) fn new(task: &'a Task, limit: Option<u32>) -> Self {
        let history = task.history.as_slice();
        let surplus = limit.map_or(0, |limit| history.len().saturating_sub(limit as usize));
        Self {
            id: &task.id,
            context_id: &task.context_id,
            status: &task.status,
            artifacts: &task.artifacts,
            history: history.get(surplus..).unwrap_or_default(),
            metadata: &task.metadata,
        }
    }
}

/// `SendMessageResponse` with a borrowed task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Sent<'a> {
    Task(TaskView<'a>),
    Message(&'a Message),
}

/// The data of the task's artifact: the answer of a direct call.
pub(crate) fn artifact(record: &Record) -> &Value {
    let mut artifacts = record.task.artifacts.iter();
    let part = artifacts.next().and_then(|artifact| artifact.parts.first());
    part.and_then(|part| part.data.as_ref())
        .unwrap_or(&Value::Null)
}
