//! Parameters and answers of the operations on messages and tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Message, PushConfig, Task, TaskState, nullable};

/// Parameters of `SendMessage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageRequest {
    /// The message.
    pub message: Message,
    /// How to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SendMessageConfiguration>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// How `SendMessage` should answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageConfiguration {
    /// Media types the caller takes.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub accepted_output_modes: Vec<String>,
    /// At most this many messages in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i64>,
    /// Answer as soon as the task exists.
    #[serde(default, deserialize_with = "nullable")]
    pub return_immediately: bool,
    /// Where to push the task's updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_push_notification_config: Option<PushConfig>,
}

/// Parameters of `GetTask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTaskRequest {
    /// The task.
    pub id: String,
    /// At most this many messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i64>,
}

/// Parameters of `SubscribeToTask`, and of `CancelTask` for whoever does not read its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskIdRequest {
    /// The task.
    pub id: String,
}

/// Parameters of `CancelTask`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelTaskRequest {
    /// The task.
    pub id: String,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Parameters of `ListTasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListTasksRequest {
    /// Only this conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// Only this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskState>,
    /// 1 to 100, default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<i64>,
    /// `nextPageToken` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// At most this many messages a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_length: Option<i64>,
    /// Only tasks whose status is not older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_timestamp_after: Option<String>,
    /// Whether to include artifacts (default false).
    #[serde(deserialize_with = "nullable")]
    pub include_artifacts: bool,
}

/// Answer of `ListTasks`; all four members are always written, but some agents leave out those that are empty or zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResponse {
    /// Newest status first.
    #[serde(default, deserialize_with = "nullable")]
    pub tasks: Vec<Task>,
    /// Empty on the last page.
    #[serde(default, deserialize_with = "nullable")]
    pub next_page_token: String,
    /// The page size in force.
    #[serde(default, deserialize_with = "nullable")]
    pub page_size: usize,
    /// How many tasks match in all.
    #[serde(default, deserialize_with = "nullable")]
    pub total_size: usize,
}
