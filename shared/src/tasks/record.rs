//! One task as it is stored.

use audit::record::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Entry, Write};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ACTIVE, TASKS, WAITING};
use crate::{
    a2a::{
        fault::Fault,
        types::{Message, Part, Role, Task, TaskState, TaskStatus},
    },
    context::Approval,
};

/// A task with what only the agent needs to know of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What the caller sees.
    pub task: Task,
    /// SPIFFE id of the principal that owns it.
    pub owner: String,
    /// Kind and name of that principal.
    pub caller: Caller,
    /// The external caller at the head of the chain.
    pub on_behalf_of: Option<String>,
    /// The skill, once it is known.
    pub skill: Option<String>,
    /// Its input; emptied at the end when it may hold secrets.
    pub input: Map<String, Value>,
    /// SHA-256 of the canonical input.
    pub input_digest: String,
    /// Whether the run changes the world.
    pub mutates: bool,
    /// Plan that waits for, or got, an approval.
    pub plan_digest: Option<String>,
    /// The approval, when given.
    pub approval: Option<StoredApproval>,
    /// The error a direct call is answered with.
    pub fault: Option<Fault>,
    /// When the caller stops waiting, RFC 3339.
    pub deadline: Option<String>,
    /// Trace that a resumed run continues.
    pub traceparent: Option<String>,
    /// Version in the store.
    #[serde(skip)]
    pub version: u64,
}

/// The principal in a stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Whether it is an agent of the mesh.
    pub agent: bool,
    /// Its name.
    pub name: String,
}

/// An approval in a stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredApproval {
    /// Digest of the approved plan.
    pub plan_digest: String,
    /// Who approved.
    pub approver: String,
}

impl From<StoredApproval> for Approval {
    fn from(
        StoredApproval {
            plan_digest,
            approver,
        }: StoredApproval,
    ) -> Self {
        Self {
            plan_digest,
            approver,
        }
    }
}

/// Reads an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

impl Record {
    /// Moves to a state, with a sentence for people when there is one to say.
    pub fn enter(&mut self, state: TaskState, say: Option<&str>) {
        let message = say.map(|text| Message {
            message_id: uuid::Uuid::now_v7().to_string(),
            role: Role::Agent,
            parts: vec![Part::text(text)],
            context_id: Some(self.task.context_id.clone()),
            task_id: Some(self.task.id.clone()),
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        });
        self.task.status = TaskStatus {
            state,
            message,
            timestamp: timestamp(OffsetDateTime::now_utc()),
        };
    }

    /// The state it is in.
    pub fn state(&self) -> TaskState {
        self.task.status.state
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            key: self.task.id.clone(),
            scope: self.owner.clone(),
            sort: self.task.status.timestamp.clone(),
            version: self.version,
            body: serde_json::to_vec(self).unwrap_or_default(),
        }
    }

    fn index(&self) -> Entry {
        Entry {
            key: self.task.id.clone(),
            scope: String::new(),
            sort: String::new(),
            version: 0,
            body: Vec::new(),
        }
    }

    /// The writes that make its present state durable, indexes included.
    pub fn writes(&self) -> Vec<Write> {
        let mut writes = vec![Write::Put {
            collection: TASKS,
            entry: self.entry(),
        }];
        let key = || self.task.id.clone();
        if self.state().is_settled() {
            writes.push(Write::Delete {
                collection: ACTIVE,
                key: key(),
            });
        } else {
            writes.push(Write::Put {
                collection: ACTIVE,
                entry: self.index(),
            });
        }
        if self.state() == TaskState::AuthRequired {
            writes.push(Write::Put {
                collection: WAITING,
                entry: self.index(),
            });
        } else {
            writes.push(Write::Delete {
                collection: WAITING,
                key: key(),
            });
        }
        writes
    }
}
