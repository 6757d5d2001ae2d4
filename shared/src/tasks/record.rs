//! One task as it is stored.

use a2a::types::{Artifact, Message, Part, Role, Task, TaskState, TaskStatus};
use audit::record::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Entry, Write};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    ACTIVE, TASKS, WAITING,
    events::{self, Event, Log},
    keys::Key,
};
use crate::{a2a::fault::Fault, context::Approval};

/// A task with what only the agent needs to know of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
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
    /// What happened so far, numbered.
    #[serde(default)]
    pub(crate) log: Log,
    /// The replica that runs it, where several share the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Keys that its first write takes.
    #[serde(skip)]
    pub(crate) keys: Vec<Key>,
    /// Why the call is refused after all.
    #[serde(skip)]
    pub(crate) refused: Option<Fault>,
    /// Version in the store, once the writes made so far are done.
    #[serde(skip)]
    pub version: u64,
    /// State in the store, likewise; decides about the indexes.
    #[serde(skip)]
    pub(crate) stored: Option<TaskState>,
}

/// The principal in a stored task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// Whether it is an agent of the mesh.
    pub agent: bool,
    /// Its name.
    pub name: String,
}

/// An approval in a stored task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredApproval {
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
    pub(crate) fn enter(&mut self, state: TaskState, say: Option<&str>) {
        let message = say.map(|text| self.saying(text));
        self.stand(state, message);
        self.log.push(Event::Status {
            status: Box::new(self.task.status.clone()),
            metadata: None,
        });
    }

    /// The state of a task that nobody has seen yet.
    pub(crate) fn begin(&mut self, state: TaskState) {
        self.stand(state, None);
    }

    /// Shows progress: it replaces what was said before, and the state stays.
    pub(crate) fn advance(&mut self, text: &str, progress: Value) {
        let message = Some(self.saying(text));
        self.stand(self.state(), message);
        let metadata = Map::from_iter([("progress".to_owned(), progress)]);
        self.task.metadata.extend(metadata.clone());
        self.log.push(Event::Status {
            status: Box::new(self.task.status.clone()),
            metadata: Some(metadata),
        });
    }

    /// Adds an artifact, replaces it, or lets it grow.
    pub(crate) fn add(&mut self, artifact: Artifact, append: bool, last: bool) {
        events::add(&mut self.task, &mut self.log, artifact, append, last);
    }

    fn stand(&mut self, state: TaskState, message: Option<Message>) {
        self.task.status = TaskStatus {
            state,
            message,
            timestamp: timestamp(OffsetDateTime::now_utc()),
        };
    }

    fn saying(&self, text: &str) -> Message {
        Message {
            message_id: uuid::Uuid::now_v7().to_string(),
            role: Role::Agent,
            parts: vec![Part::text(text)],
            context_id: Some(self.task.context_id.clone()),
            task_id: Some(self.task.id.clone()),
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        }
    }

    /// The state it is in.
    pub(crate) fn state(&self) -> TaskState {
        self.task.status.state
    }

    fn entry(&self) -> Entry {
        Entry {
            key: self.task.id.clone(),
            scope: self.owner.clone(),
            sort: self.task.status.timestamp.clone(),
            version: self.version,
            body: serde_json::to_vec(self).unwrap_or_default(),
        }
    }

    /// Makes its next writes follow what is stored now, after one of its own was lost.
    pub(crate) fn rebase(&mut self, stored: &Self) {
        self.version = stored.version;
        self.stored = stored.stored;
    }

    /// Takes its first write back, which failed.
    pub(crate) fn unwrite(&mut self) {
        self.version = 0;
        self.stored = None;
    }

    /// The writes that make its present state durable, indexes included. They fail when somebody else has written
    /// the task since, and the record counts on their success.
    pub(crate) fn writes(&mut self) -> Vec<Write> {
        let entry = self.entry();
        let collection = TASKS;
        let mut writes = Vec::with_capacity(4);
        if self.version == 0 {
            let keys = self.keys.iter();
            writes.extend(keys.map(|key| key.write(&self.task.id, &self.owner)));
            writes.push(Write::Insert { collection, entry });
        } else {
            writes.push(Write::Update { collection, entry });
        }
        let (before, now) = (self.stored, self.state());
        let active = |state: TaskState| !state.is_settled();
        let waits = |state: TaskState| state == TaskState::AuthRequired;
        writes.extend(index(
            ACTIVE,
            &self.task.id,
            before.is_some_and(active),
            active(now),
        ));
        writes.extend(index(
            WAITING,
            &self.task.id,
            before.is_some_and(waits),
            waits(now),
        ));
        self.version += 1;
        self.stored = Some(now);
        writes
    }
}

/// The write that puts a task into an index or takes it out.
fn index(collection: &'static str, id: &str, before: bool, now: bool) -> Option<Write> {
    match (before, now) {
        (false, true) => Some(Write::Put {
            collection,
            entry: Entry {
                key: id.to_owned(),
                scope: String::new(),
                sort: String::new(),
                version: 0,
                body: Vec::new(),
            },
        }),
        (true, false) => Some(Write::Delete {
            collection,
            key: id.to_owned(),
        }),
        _ => None,
    }
}
