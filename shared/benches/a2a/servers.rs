//! The servers under load.

use std::sync::Arc;

use a2a::types::{Artifact, Part};
use futures::stream::{self, BoxStream};
use lf::{A2AError, StreamResponse};
use lf_server::{AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryTaskStore};
use shared::{
    converse::{Converse, Reply, Turn},
    testing::OpenAgent,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Peer,
    Memory,
    MemorySigned,
    Durable,
    DurableSigned,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peer => "a2a-server-lf, memory",
            Self::Memory => "ours, memory",
            Self::MemorySigned => "ours, memory, signed audit",
            Self::Durable => "ours, SQLite",
            Self::DurableSigned => "ours, SQLite, signed audit",
        }
    }
}

/// Serves until killed; says its address first.
pub(crate) fn serve(kind: &str) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        match kind {
            "Peer" => peer(listener).await,
            _ => ours(kind, listener).await,
        }
    });
}

struct Echo;

fn artifact(text: String) -> Artifact {
    Artifact {
        artifact_id: "echo".into(),
        name: None,
        description: None,
        parts: vec![Part::text(text)],
        metadata: None,
        extensions: Vec::new(),
    }
}

impl Converse for Echo {
    fn reply(&self, turn: &Turn<'_>) -> Reply {
        let text = turn
            .message
            .parts
            .first()
            .and_then(|part| part.text.clone());
        Reply::Task(Box::new(move |context| {
            Box::pin(
                async move { context.artifact(artifact(text.unwrap_or_default()), false, true) },
            )
        }))
    }
}

async fn ours(kind: &str, listener: TcpListener) {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = OpenAgent::new("echo-agent").converse(Echo);
    if kind.starts_with("Durable") {
        let store = store::sqlite::SqliteStore::open(folder.path().join("echo.db")).unwrap();
        agent = agent.store(Arc::new(store));
    }
    if kind.ends_with("Signed") {
        agent = agent.signing_key(identity::SigningKey::generate());
    }
    agent
        .serve(listener, CancellationToken::new())
        .await
        .unwrap();
}

struct PeerEcho;

impl AgentExecutor for PeerEcho {
    fn execute(
        &self,
        ctx: ExecutorContext,
    ) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        let parts = ctx.message.map(|message| message.parts).unwrap_or_default();
        let (task_id, context_id) = (ctx.task_id, ctx.context_id);
        let artifact = StreamResponse::ArtifactUpdate(lf::TaskArtifactUpdateEvent {
            task_id: task_id.clone(),
            context_id: context_id.clone(),
            artifact: lf::Artifact {
                artifact_id: "echo".into(),
                name: None,
                description: None,
                parts,
                metadata: None,
                extensions: None,
            },
            append: Some(false),
            last_chunk: Some(true),
            metadata: None,
        });
        let done = StreamResponse::StatusUpdate(lf::TaskStatusUpdateEvent {
            task_id,
            context_id,
            status: lf::TaskStatus {
                state: lf::TaskState::Completed,
                message: None,
                timestamp: None,
            },
            metadata: None,
        });
        Box::pin(stream::iter([Ok(artifact), Ok(done)]))
    }

    fn cancel(&self, _: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        Box::pin(stream::empty())
    }
}

async fn peer(listener: TcpListener) {
    use axum::serve::ListenerExt as _;
    let handler = DefaultRequestHandler::new(PeerEcho, InMemoryTaskStore::new());
    let router = lf_server::jsonrpc::jsonrpc_router(Arc::new(handler));
    let router = axum::Router::new().nest("/a2a", router);
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    axum::serve(listener, router).await.unwrap();
}
