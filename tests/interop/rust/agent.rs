//! An agent made with the official Rust library. The text of a message says what to do: see `plan`.

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use lf::{
    A2AError, AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Artifact, Message, Part,
    Role, StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus,
    TaskStatusUpdateEvent,
};
use lf_server::{
    AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryPushConfigStore,
    InMemoryTaskStore, StaticAgentCard,
};
use serde_json::json;
use tokio::net::TcpListener;

type Events = BoxStream<'static, Result<StreamResponse, A2AError>>;

/// What a task does next: wait, then show an event.
type Plan = Vec<(Duration, StreamResponse)>;

struct Executor;

fn said(message: &Message) -> &str {
    message.text().unwrap_or_default()
}

/// The task of one execution, and the events that it can show.
struct Work {
    task_id: String,
    context_id: String,
}

impl Work {
    fn status(&self, state: TaskState, words: Option<&str>) -> StreamResponse {
        let message = words.map(|words| Message {
            task_id: Some(self.task_id.clone()),
            context_id: Some(self.context_id.clone()),
            ..Message::new(Role::Agent, vec![Part::text(words)])
        });
        StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            status: TaskStatus {
                state,
                message,
                timestamp: None,
            },
            metadata: None,
        })
    }

    fn artifact(&self, part: Part, append: bool, last_chunk: bool) -> StreamResponse {
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            artifact: Artifact {
                artifact_id: "output".into(),
                name: None,
                description: None,
                parts: vec![part],
                metadata: None,
                extensions: None,
            },
            append: Some(append),
            last_chunk: Some(last_chunk),
            metadata: None,
        })
    }

    fn submitted(&self, message: Message) -> StreamResponse {
        StreamResponse::Task(Task {
            id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            status: TaskStatus {
                state: TaskState::Submitted,
                message: None,
                timestamp: None,
            },
            artifacts: None,
            history: Some(vec![message]),
            metadata: None,
        })
    }

    fn plan(&self, name: &str, text: &str) -> Plan {
        let now = Duration::ZERO;
        let completed = || (now, self.status(TaskState::Completed, None));
        let working = || (now, self.status(TaskState::Working, None));
        let whole = |part| (now, self.artifact(part, false, true));
        match name {
            "tck-artifact-text" => vec![whole(Part::text("Generated text content")), completed()],
            "tck-artifact-file" => vec![whole(file(Part::raw(b"tck".to_vec()))), completed()],
            "tck-artifact-file-url" => {
                vec![
                    whole(file(Part::url("https://example.com/output.txt"))),
                    completed(),
                ]
            }
            "tck-artifact-data" => {
                vec![
                    whole(Part::data(json!({"key": "value", "count": 42}))),
                    completed(),
                ]
            }
            "tck-multi-turn" if !text.starts_with("done") => {
                vec![(now, self.status(TaskState::InputRequired, Some("more?")))]
            }
            "tck-cancel" => vec![working()],
            "tck-stream-chunked" => vec![
                working(),
                (now, self.artifact(Part::text("chunk-1 "), false, false)),
                (now, self.artifact(Part::text("chunk-2"), true, true)),
                completed(),
            ],
            "tck-long-running" => vec![
                working(),
                (
                    Duration::from_secs(1),
                    self.artifact(Part::text("done"), false, true),
                ),
                completed(),
            ],
            _ => vec![(
                now,
                self.status(TaskState::Completed, Some("Hello from Rust")),
            )],
        }
    }
}

fn file(part: Part) -> Part {
    Part {
        filename: Some("output.txt".into()),
        media_type: Some("text/plain".into()),
        ..part
    }
}

impl AgentExecutor for Executor {
    fn execute(&self, context: ExecutorContext) -> Events {
        let (task_id, context_id) = context.task_info();
        let work = Work {
            task_id,
            context_id,
        };
        let message = context.message.unwrap();
        let stored = context.stored_task.as_ref();
        let opening = stored.and_then(|task| task.history.as_ref()?.first());
        let text = said(opening.unwrap_or(&message)).to_owned();
        let name = text.split_whitespace().next().unwrap_or_default();
        if name == "tck-message-response" {
            let answer = Message::new(Role::Agent, vec![Part::text("Direct message response")]);
            return stream::iter([Ok(StreamResponse::Message(answer))]).boxed();
        }
        let mut plan = work.plan(name, said(&message));
        if stored.is_none() {
            plan.insert(0, (Duration::ZERO, work.submitted(message)));
        }
        let events = stream::iter(plan).then(|(pause, event)| async move {
            tokio::time::sleep(pause).await;
            Ok(event)
        });
        if name == "tck-cancel" {
            events.chain(stream::pending()).boxed()
        } else {
            events.boxed()
        }
    }

    fn cancel(&self, context: ExecutorContext) -> Events {
        let (task_id, context_id) = context.task_info();
        let work = Work {
            task_id,
            context_id,
        };
        stream::iter([Ok(work.status(TaskState::Canceled, None))]).boxed()
    }
}

fn card(url: &str) -> AgentCard {
    AgentCard {
        name: "rust-agent".into(),
        description: "An agent made with the official Rust library".into(),
        version: "1.0.0".into(),
        supported_interfaces: vec![AgentInterface::new(url, "JSONRPC")],
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(true),
            extensions: None,
            extended_agent_card: Some(false),
        },
        default_input_modes: vec!["text/plain".into(), "application/json".into()],
        default_output_modes: vec!["text/plain".into(), "application/json".into()],
        skills: vec![AgentSkill {
            id: "behave".into(),
            name: "Behave".into(),
            description: "Does what the text says".into(),
            tags: vec!["test".into()],
            examples: None,
            input_modes: None,
            output_modes: None,
            security_requirements: None,
        }],
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: None,
        security_requirements: None,
        signatures: None,
    }
}

/// Starts the agent on a free port and says where it is. It ends with the test's runtime.
pub(crate) async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let card = card(&url);
    let handler = DefaultRequestHandler::new(Executor, InMemoryTaskStore::new())
        .with_push_config_store(InMemoryPushConfigStore::new())
        .with_capabilities(card.capabilities.clone());
    let app = lf_server::jsonrpc::jsonrpc_router(Arc::new(handler)).merge(
        lf_server::agent_card::agent_card_router(Arc::new(StaticAgentCard::new(card))),
    );
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}
