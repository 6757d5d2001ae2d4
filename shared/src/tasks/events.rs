//! The numbered events of a task: what streams show and webhooks are sent.

use std::collections::VecDeque;

use a2a::types::{
    Artifact, StreamResponse, Task, TaskArtifactUpdateEvent, TaskStatus, TaskStatusUpdateEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Newest events that are kept; who is further behind is given the task as it stands.
const KEPT: usize = 128;

/// What happened. Parts of artifacts are not repeated: they stand in the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Status {
        status: Box<TaskStatus>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Map<String, Value>>,
    },
    /// Parts `from..to` of the artifact at `index`.
    Artifact {
        index: usize,
        from: usize,
        to: usize,
        append: bool,
        last: bool,
    },
}

/// The newest events of one task. A new task is at 1 without any event: the task itself is its first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Log {
    newest: u64,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    events: VecDeque<Event>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            newest: 1,
            events: VecDeque::new(),
        }
    }
}

impl Log {
    /// Number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.newest += 1;
    }

    /// Forgets events that cannot be told any more because their artifact was replaced.
    fn forget_artifact(&mut self, replaced: usize) {
        let of_it =
            |event: &Event| matches!(event, Event::Artifact { index, .. } if *index == replaced);
        if let Some(last) = self.events.iter().rposition(of_it) {
            self.events.drain(..=last);
        }
    }

    /// The events after number `seen`; nothing when some of them are gone, or `seen` never was.
    pub(crate) fn after(&self, seen: u64) -> Option<impl Iterator<Item = (u64, &Event)>> {
        let behind = usize::try_from(self.newest.checked_sub(seen)?).ok()?;
        let first = self.events.len().checked_sub(behind)?;
        Some((seen + 1..).zip(self.events.range(first..)))
    }
}

/// Adds an artifact, replaces it, or lets it grow.
pub(super) fn add(task: &mut Task, log: &mut Log, artifact: Artifact, append: bool, last: bool) {
    let known = task
        .artifacts
        .iter()
        .position(|known| known.artifact_id == artifact.artifact_id);
    let count = artifact.parts.len();
    let (index, from) = match known {
        Some(index) if append => {
            let parts = task.artifacts.get_mut(index).map(|known| &mut known.parts);
            let from = parts.as_ref().map_or(0, |parts| parts.len());
            if let Some(parts) = parts {
                parts.extend(artifact.parts);
            }
            (index, from)
        }
        Some(index) => {
            log.forget_artifact(index);
            if let Some(known) = task.artifacts.get_mut(index) {
                *known = artifact;
            }
            (index, 0)
        }
        None => {
            task.artifacts.push(artifact);
            (task.artifacts.len() - 1, 0)
        }
    };
    log.push(Event::Artifact {
        index,
        from,
        to: from + count,
        append: append && known.is_some(),
        last,
    });
}

/// An event as it stands on the wire; nothing when its artifact is gone.
pub(crate) fn response(task: &Task, event: &Event) -> Option<StreamResponse> {
    let (task_id, context_id) = (task.id.clone(), task.context_id.clone());
    match event {
        Event::Status { status, metadata } => {
            Some(StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
                task_id,
                context_id,
                status: TaskStatus::clone(status),
                metadata: metadata.clone(),
            }))
        }
        Event::Artifact {
            index,
            from,
            to,
            append,
            last,
        } => {
            let whole = task.artifacts.get(*index)?;
            let artifact = Artifact {
                artifact_id: whole.artifact_id.clone(),
                name: whole.name.clone(),
                description: whole.description.clone(),
                parts: whole.parts.get(*from..*to)?.to_vec(),
                metadata: whole.metadata.clone(),
                extensions: whole.extensions.clone(),
            };
            Some(StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
                task_id,
                context_id,
                artifact,
                append: *append,
                last_chunk: *last,
                metadata: None,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use a2a::types::{Part, TaskState};

    use super::*;

    fn task() -> Task {
        Task {
            id: "t".into(),
            context_id: "c".into(),
            status: status(),
            artifacts: Vec::new(),
            history: Vec::new(),
            metadata: Map::new(),
        }
    }

    fn status() -> TaskStatus {
        TaskStatus {
            state: TaskState::Working,
            message: None,
            timestamp: "2026-01-01T00:00:00.000Z".into(),
        }
    }

    fn artifact(text: &str) -> Artifact {
        Artifact {
            artifact_id: "a".into(),
            name: None,
            description: None,
            parts: vec![Part::text(text)],
            metadata: None,
            extensions: Vec::new(),
        }
    }

    fn numbers(log: &Log, seen: u64) -> Option<Vec<u64>> {
        Some(log.after(seen)?.map(|(number, _)| number).collect())
    }

    #[test]
    fn tells_what_came_after_and_says_when_it_cannot() {
        let mut log = Log::default();
        assert_eq!(numbers(&log, 1), Some(vec![]));
        assert_eq!(numbers(&log, 0), None, "the task itself came before");
        assert_eq!(numbers(&log, 2), None, "never was");
        for _ in 0..KEPT + 5 {
            log.push(Event::Status {
                status: Box::new(status()),
                metadata: None,
            });
        }
        let newest = log.newest();
        assert_eq!(newest, 1 + KEPT as u64 + 5);
        assert_eq!(numbers(&log, newest - 2), Some(vec![newest - 1, newest]));
        assert_eq!(numbers(&log, newest - KEPT as u64).unwrap().len(), KEPT);
        assert_eq!(numbers(&log, newest - KEPT as u64 - 1), None);
    }

    #[test]
    fn an_artifact_grows_by_its_new_parts_only() {
        let (mut task, mut log) = (task(), Log::default());
        add(&mut task, &mut log, artifact("one"), false, false);
        add(&mut task, &mut log, artifact("two"), true, true);
        assert_eq!(task.artifacts.len(), 1);
        let told: Vec<_> = log
            .after(1)
            .unwrap()
            .filter_map(|(_, event)| response(&task, event))
            .map(|response| match response {
                StreamResponse::ArtifactUpdate(update) => (
                    update.artifact.parts[0].text.clone().unwrap(),
                    update.append,
                    update.last_chunk,
                ),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            [("one".into(), false, false), ("two".into(), true, true)]
        );
    }

    #[test]
    fn a_replaced_artifact_is_not_told_in_pieces() {
        let (mut task, mut log) = (task(), Log::default());
        add(&mut task, &mut log, artifact("one"), false, false);
        add(&mut task, &mut log, artifact("new"), false, true);
        assert_eq!(numbers(&log, 1), None);
        assert_eq!(numbers(&log, 2), Some(vec![3]));
        assert_eq!(task.artifacts[0].parts, [Part::text("new")]);
    }
}
