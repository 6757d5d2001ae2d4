//! A2A 1.0 objects as they stand on the wire (`ProtoJSON`, camelCase). Unknown members are ignored.

mod push;
mod requests;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use push::{
    ListPushConfigsRequest, ListPushConfigsResponse, PushAuthentication, PushConfig,
    PushConfigRequest,
};
pub use requests::{
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, ListTasksResponse,
    SendMessageConfiguration, SendMessageRequest, TaskIdRequest,
};

/// `null` means the default, as `ProtoJSON` has it.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Keeps `"data": null` (a JSON null as content) apart from no data.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// State of a task, in the protocol's spelling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskState {
    /// Accepted, not started.
    #[default]
    #[serde(rename = "TASK_STATE_SUBMITTED")]
    Submitted,
    /// Running.
    #[serde(rename = "TASK_STATE_WORKING")]
    Working,
    /// Done, with its artifact.
    #[serde(rename = "TASK_STATE_COMPLETED")]
    Completed,
    /// Did not succeed.
    #[serde(rename = "TASK_STATE_FAILED")]
    Failed,
    /// Stopped by the caller.
    #[serde(rename = "TASK_STATE_CANCELED")]
    Canceled,
    /// Waits for another message of the caller.
    #[serde(rename = "TASK_STATE_INPUT_REQUIRED")]
    InputRequired,
    /// The agent would not do it.
    #[serde(rename = "TASK_STATE_REJECTED")]
    Rejected,
    /// Waits for an approval.
    #[serde(rename = "TASK_STATE_AUTH_REQUIRED")]
    AuthRequired,
}

impl TaskState {
    /// Whether the task can never change again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Canceled | Self::Rejected => true,
            Self::Submitted | Self::Working | Self::InputRequired | Self::AuthRequired => false,
        }
    }

    /// Whether a blocking call stops waiting here.
    pub fn is_settled(self) -> bool {
        self.is_terminal() || matches!(self, Self::InputRequired | Self::AuthRequired)
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The caller.
    #[serde(rename = "ROLE_USER")]
    User,
    /// The agent.
    #[serde(rename = "ROLE_AGENT")]
    Agent,
}

/// A piece of content: exactly one of `text`, `raw`, `url` and `data`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Where the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Any JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub data: Option<Value>,
    /// Media type of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// File name of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// A JSON part.
    pub fn json(data: Value) -> Self {
        Self {
            data: Some(data),
            media_type: Some("application/json".into()),
            ..Self::default()
        }
    }

    /// How many of the four content members are set.
    pub fn contents(&self) -> usize {
        [
            self.text.is_some(),
            self.raw.is_some(),
            self.url.is_some(),
            self.data.is_some(),
        ]
        .into_iter()
        .filter(|set| *set)
        .count()
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Chosen by the sender, unique for it.
    pub message_id: String,
    /// Who wrote it.
    pub role: Role,
    /// At least one part.
    pub parts: Vec<Part>,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The task it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Extensions in use.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub extensions: Vec<String>,
    /// Related tasks.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub reference_task_ids: Vec<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The state.
    pub state: TaskState,
    /// What a person should know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// When it was entered: RFC 3339, UTC, milliseconds.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "nullable"
    )]
    pub timestamp: String,
}

/// Output of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Unique within the task.
    pub artifact_id: String,
    /// The skill that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// At least one part.
    pub parts: Vec<Part>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Extensions in use.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub extensions: Vec<String>,
}

/// A unit of work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Chosen by the agent.
    pub id: String,
    /// The conversation.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "nullable"
    )]
    pub context_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// What it produced.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub artifacts: Vec<Artifact>,
    /// Messages so far.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub history: Vec<Message>,
    /// Free metadata: `skill`, `progress`.
    #[serde(
        default,
        skip_serializing_if = "Map::is_empty",
        deserialize_with = "nullable"
    )]
    pub metadata: Map<String, Value>,
}

impl Task {
    /// The task with at most `limit` newest messages; none at all for 0.
    #[must_use]
    pub fn with_history(mut self, limit: Option<u32>) -> Self {
        if let Some(limit) = limit {
            let surplus = self.history.len().saturating_sub(limit as usize);
            self.history.drain(..surplus);
        }
        self
    }
}

/// The members of an answer of which exactly one is set, among others that do not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneOf {
    task: Option<Task>,
    message: Option<Message>,
    status_update: Option<TaskStatusUpdateEvent>,
    artifact_update: Option<TaskArtifactUpdateEvent>,
}

/// Answer of `SendMessage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "OneOf")]
pub enum SendMessageResponse {
    /// Work was made of the message.
    Task(Task),
    /// The message was answered at once.
    Message(Message),
}

impl TryFrom<OneOf> for SendMessageResponse {
    type Error = &'static str;

    fn try_from(answer: OneOf) -> Result<Self, Self::Error> {
        match answer {
            OneOf {
                task: Some(task),
                message: None,
                ..
            } => Ok(Self::Task(task)),
            OneOf {
                task: None,
                message: Some(message),
                ..
            } => Ok(Self::Message(message)),
            _ => Err("exactly one of task and message is needed"),
        }
    }
}

/// One event of a stream, and the body of a push notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "OneOf")]
pub enum StreamResponse {
    /// The task as it stands.
    Task(Task),
    /// The only answer.
    Message(Message),
    /// The task's status changed.
    StatusUpdate(TaskStatusUpdateEvent),
    /// An artifact was added or grew.
    ArtifactUpdate(TaskArtifactUpdateEvent),
}

impl TryFrom<OneOf> for StreamResponse {
    type Error = &'static str;

    fn try_from(event: OneOf) -> Result<Self, Self::Error> {
        let mut arms = [
            event.task.map(Self::Task),
            event.message.map(Self::Message),
            event.status_update.map(Self::StatusUpdate),
            event.artifact_update.map(Self::ArtifactUpdate),
        ]
        .into_iter()
        .flatten();
        match (arms.next(), arms.next()) {
            (Some(arm), None) => Ok(arm),
            _ => Err("exactly one of task, message, statusUpdate and artifactUpdate is needed"),
        }
    }
}

/// The task's status changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatusUpdateEvent {
    /// The task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// Where it stands now.
    pub status: TaskStatus,
    /// Free metadata: `progress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// An artifact was added or grew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskArtifactUpdateEvent {
    /// The task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// The artifact, with the new parts only.
    pub artifact: Artifact,
    /// Whether the parts follow those of the same artifact before.
    #[serde(default, deserialize_with = "nullable")]
    pub append: bool,
    /// Whether the artifact is complete.
    #[serde(default, deserialize_with = "nullable")]
    pub last_chunk: bool,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}
