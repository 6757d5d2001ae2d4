//! The client against a server of somebody else: the official Rust SDK (`a2a-server-lf`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use std::sync::Arc;

use a2a::{
    client::{CallError, CallOptions, Client, ClientOptions, TASK_NOT_FOUND},
    types::{
        CancelTaskRequest, GetTaskRequest, ListPushConfigsRequest, ListTasksRequest, Message, Part,
        PushConfig, PushConfigRequest, Role, SendMessageConfiguration, SendMessageRequest,
        SendMessageResponse, StreamResponse, TaskIdRequest, TaskState,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use lf_server::{
    AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryPushConfigStore,
    InMemoryTaskStore, StaticAgentCard, agent_card::agent_card_router, jsonrpc::jsonrpc_router,
};
use serde_json::json;

/// Answers `message` with a message; makes one artifact of everything else, and never ends what begins with `wait`.
struct Echo;

type LfEvents = BoxStream<'static, Result<lf::StreamResponse, lf::A2AError>>;

fn status(ctx: &ExecutorContext, state: lf::TaskState) -> lf::StreamResponse {
    lf::StreamResponse::StatusUpdate(lf::TaskStatusUpdateEvent {
        task_id: ctx.task_id.clone(),
        context_id: ctx.context_id.clone(),
        status: lf::TaskStatus {
            state,
            message: None,
            timestamp: None,
        },
        metadata: None,
    })
}

impl AgentExecutor for Echo {
    fn execute(&self, ctx: ExecutorContext) -> LfEvents {
        let text = ctx
            .message
            .as_ref()
            .and_then(lf::Message::text)
            .unwrap_or_default()
            .to_owned();
        if text == "message" {
            let answer = lf::Message::new(lf::Role::Agent, vec![lf::Part::text("hello")]);
            return stream::iter([Ok(lf::StreamResponse::Message(answer))]).boxed();
        }
        let task = lf::StreamResponse::Task(lf::Task {
            id: ctx.task_id.clone(),
            context_id: ctx.context_id.clone(),
            status: lf::TaskStatus {
                state: lf::TaskState::Working,
                message: None,
                timestamp: None,
            },
            artifacts: None,
            history: None,
            metadata: None,
        });
        if text.starts_with("wait") {
            return stream::iter([Ok(task)]).chain(stream::pending()).boxed();
        }
        let artifact = lf::StreamResponse::ArtifactUpdate(lf::TaskArtifactUpdateEvent {
            task_id: ctx.task_id.clone(),
            context_id: ctx.context_id.clone(),
            artifact: lf::Artifact {
                artifact_id: "echo".into(),
                name: None,
                description: None,
                parts: vec![lf::Part::text(text)],
                metadata: None,
                extensions: None,
            },
            append: None,
            last_chunk: Some(true),
            metadata: None,
        });
        stream::iter([
            Ok(task),
            Ok(artifact),
            Ok(status(&ctx, lf::TaskState::Completed)),
        ])
        .boxed()
    }

    fn cancel(&self, ctx: ExecutorContext) -> LfEvents {
        stream::iter([Ok(status(&ctx, lf::TaskState::Canceled))]).boxed()
    }
}

async fn client() -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let card: lf::AgentCard = serde_json::from_value(json!({
        "name": "Echo", "description": "Echoes.", "version": "1.0.0",
        "supportedInterfaces": [{"url": format!("{url}/"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true, "pushNotifications": true, "extendedAgentCard": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "echo", "name": "Echo", "description": "Echoes.", "tags": []}],
    }))
    .unwrap();
    let handler = DefaultRequestHandler::new(Echo, InMemoryTaskStore::new())
        .with_push_config_store(InMemoryPushConfigStore::new())
        .with_extended_agent_card(lf::AgentCard {
            name: "Extended echo".into(),
            ..card.clone()
        })
        .with_capabilities(card.capabilities.clone());
    let router = jsonrpc_router(Arc::new(handler))
        .merge(agent_card_router(Arc::new(StaticAgentCard::new(card))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Client::discover(http, &url, ClientOptions::default())
        .await
        .unwrap()
}

fn message(id: &str, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        message: Message {
            message_id: id.into(),
            role: Role::User,
            parts: vec![Part::text(text)],
            context_id: None,
            task_id: None,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        },
        configuration: None,
        metadata: None,
    }
}

fn options() -> CallOptions {
    CallOptions::default()
}

/// A task that goes on.
async fn waiting(client: &Client) -> String {
    let mut request = message("w", "wait");
    request.configuration = Some(SendMessageConfiguration {
        return_immediately: true,
        ..SendMessageConfiguration::default()
    });
    match client.send_message(&request, &options()).await.unwrap() {
        SendMessageResponse::Task(task) => task.id,
        SendMessageResponse::Message(message) => panic!("{message:?}"),
    }
}

#[tokio::test]
async fn sends_messages_and_reads_tasks() {
    let client = client().await;
    assert_eq!(client.card().skills[0].id, "echo");
    let empty = client
        .list_tasks(&ListTasksRequest::default(), &options())
        .await
        .unwrap();
    assert!(empty.tasks.is_empty());

    let answer = client
        .send_message(&message("m-1", "message"), &options())
        .await
        .unwrap();
    assert!(matches!(answer, SendMessageResponse::Message(answer) if answer.role == Role::Agent));

    let answer = client
        .send_message(&message("m-2", "hi"), &options())
        .await
        .unwrap();
    let SendMessageResponse::Task(task) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(task.status.state, TaskState::Completed);
    assert_eq!(task.artifacts[0].parts[0].text.as_deref(), Some("hi"));

    let request = GetTaskRequest {
        id: task.id.clone(),
        history_length: None,
    };
    assert_eq!(
        client.get_task(&request, &options()).await.unwrap().id,
        task.id
    );
    let request = ListTasksRequest {
        include_artifacts: true,
        ..ListTasksRequest::default()
    };
    let page = client.list_tasks(&request, &options()).await.unwrap();
    assert!(
        page.tasks
            .iter()
            .any(|it| it.id == task.id && !it.artifacts.is_empty()),
        "{page:?}"
    );

    let request = GetTaskRequest {
        id: "none".into(),
        history_length: None,
    };
    let CallError::Refused(error) = client.get_task(&request, &options()).await.unwrap_err() else {
        panic!("no refusal")
    };
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (TASK_NOT_FOUND, Some("TASK_NOT_FOUND"))
    );
}

#[tokio::test]
async fn follows_a_stream() {
    let client = client().await;
    let events = client
        .send_streaming_message(&message("m-1", "hi"), &options())
        .await
        .unwrap();
    let events: Vec<_> = events.map(|event| event.unwrap().1).collect().await;
    assert!(matches!(&events[0], StreamResponse::Task(_)), "{events:?}");
    assert!(
        events.iter().any(
            |event| matches!(event, StreamResponse::ArtifactUpdate(update) if update.last_chunk)
        )
    );
    let Some(StreamResponse::StatusUpdate(last)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(last.status.state, TaskState::Completed);

    let request = TaskIdRequest {
        id: last.task_id.clone(),
    };
    let ended = client
        .subscribe_to_task(&request, &options())
        .await
        .err()
        .unwrap();
    assert_eq!(ended.code(), Some(-32004));
}

#[tokio::test]
async fn subscribes_and_cancels() {
    let client = client().await;
    let id = waiting(&client).await;
    let mut events = client
        .subscribe_to_task(&TaskIdRequest { id: id.clone() }, &options())
        .await
        .unwrap();
    let first = events.next().await.unwrap().unwrap().1;
    assert!(
        matches!(&first, StreamResponse::Task(task) if task.id == id),
        "{first:?}"
    );
    let request = CancelTaskRequest { id, metadata: None };
    let task = client.cancel_task(&request, &options()).await.unwrap();
    assert_eq!(task.status.state, TaskState::Canceled);
}

#[tokio::test]
async fn manages_push_configurations_and_gets_the_extended_card() {
    let client = client().await;
    let task_id = waiting(&client).await;
    let config = PushConfig {
        task_id: task_id.clone(),
        url: "https://example.com/hook".into(),
        ..PushConfig::default()
    };
    let made = client
        .create_push_config(&config, &options())
        .await
        .unwrap();
    let one = PushConfigRequest {
        task_id: task_id.clone(),
        id: made.id.clone(),
    };
    assert_eq!(
        client.get_push_config(&one, &options()).await.unwrap(),
        made
    );
    let all = ListPushConfigsRequest {
        task_id,
        page_size: None,
        page_token: None,
    };
    assert_eq!(
        client
            .list_push_configs(&all, &options())
            .await
            .unwrap()
            .configs,
        [made]
    );
    client.delete_push_config(&one, &options()).await.unwrap();
    assert!(
        client
            .list_push_configs(&all, &options())
            .await
            .unwrap()
            .configs
            .is_empty()
    );

    assert_eq!(
        client
            .get_extended_agent_card(&options())
            .await
            .unwrap()
            .name,
        "Extended echo"
    );
}
