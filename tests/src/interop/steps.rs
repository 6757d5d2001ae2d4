//! Our client calls everything that another library's agent has.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use a2a::{
    client::{CallError, CallOptions, Client, ClientOptions, Events},
    types::{
        CancelTaskRequest, GetTaskRequest, ListPushConfigsRequest, ListTasksRequest, Message, Part,
        PushConfig, PushConfigRequest, Role, SendMessageConfiguration, SendMessageRequest,
        SendMessageResponse, StreamResponse, Task, TaskIdRequest, TaskState,
    },
};
use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use uuid::Uuid;

/// How long one step may take: the longest task works for a second.
const PATIENCE: Duration = Duration::from_mins(1);
/// A task that no agent has.
const MISSING: &str = "00000000-0000-0000-0000-000000000000";

type Step<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// Calls every operation of the agent at `url`, a step each, and prints the steps.
///
/// # Errors
/// The first step that failed, by name.
#[expect(clippy::print_stdout, reason = "the steps are a test's output")]
pub async fn call_everything(url: &str) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let client = Client::discover(http, url, ClientOptions::default())
        .await
        .context("step card")?;
    println!("step card: ok");
    let peer = Peer { client };
    let steps: [(&str, Step<'_>); 9] = [
        ("send blocking", Box::pin(peer.send_blocking())),
        ("send immediately", Box::pin(peer.send_immediately())),
        (
            "answered with a message",
            Box::pin(peer.answered_with_a_message()),
        ),
        (
            "artifacts of every kind",
            Box::pin(peer.artifacts_of_every_kind()),
        ),
        ("streams", Box::pin(peer.streams())),
        ("turns and history", Box::pin(peer.turns_and_history())),
        ("list and cancel", Box::pin(peer.list_and_cancel())),
        ("push configurations", Box::pin(peer.push_configurations())),
        ("errors", Box::pin(peer.errors())),
    ];
    for (name, step) in steps {
        let done = tokio::time::timeout(PATIENCE, step).await;
        done.map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("step {name}"))?;
        println!("step {name}: ok");
    }
    Ok(())
}

struct Peer {
    client: Client,
}

fn options() -> CallOptions {
    CallOptions::default()
}

fn request(part: Part, continued: Option<&Task>) -> SendMessageRequest {
    SendMessageRequest {
        message: Message {
            message_id: Uuid::new_v4().to_string(),
            role: Role::User,
            parts: vec![part],
            context_id: continued.map(|task| task.context_id.clone()),
            task_id: continued.map(|task| task.id.clone()),
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        },
        configuration: None,
        metadata: None,
    }
}

fn immediately(text: &str) -> SendMessageRequest {
    SendMessageRequest {
        configuration: Some(SendMessageConfiguration {
            return_immediately: true,
            ..SendMessageConfiguration::default()
        }),
        ..request(Part::text(text), None)
    }
}

fn in_state(task: &Task, states: &[TaskState]) -> anyhow::Result<()> {
    let state = task.status.state;
    ensure!(
        states.contains(&state),
        "expected {states:?}, the task is {state:?}"
    );
    Ok(())
}

fn fails<T>(result: Result<T, CallError>, code: i64) -> anyhow::Result<()> {
    match result {
        Ok(_) => bail!("expected the error {code}, got an answer"),
        Err(error) if error.code() == Some(code) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("expected the error {code}")),
    }
}

/// The text that a stream's artifact updates come to.
fn streamed_text(events: &[StreamResponse]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            StreamResponse::ArtifactUpdate(update) => {
                update.artifact.parts.first()?.text.as_deref()
            }
            _ => None,
        })
        .collect()
}

fn ends_completed(events: &[StreamResponse]) -> anyhow::Result<()> {
    match events.last() {
        Some(StreamResponse::StatusUpdate(update))
            if update.status.state == TaskState::Completed =>
        {
            Ok(())
        }
        other => bail!("the stream ends with {other:?}"),
    }
}

async fn collect(events: Events) -> anyhow::Result<Vec<StreamResponse>> {
    let events: Vec<_> = events.try_collect().await?;
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

impl Peer {
    async fn task(&self, request: SendMessageRequest) -> anyhow::Result<Task> {
        match self.client.send_message(&request, &options()).await? {
            SendMessageResponse::Task(task) => Ok(task),
            SendMessageResponse::Message(message) => bail!("no task came but {message:?}"),
        }
    }

    async fn said(&self, text: &str) -> anyhow::Result<Task> {
        self.task(request(Part::text(text), None)).await
    }

    async fn look(&self, id: &str, history_length: Option<i64>) -> anyhow::Result<Task> {
        let request = GetTaskRequest {
            id: id.to_owned(),
            history_length,
        };
        Ok(self.client.get_task(&request, &options()).await?)
    }

    async fn send_blocking(&self) -> anyhow::Result<()> {
        let task = self.said("tck-complete-task from Rust").await?;
        in_state(&task, &[TaskState::Completed])?;
        ensure!(!task.context_id.is_empty(), "the task has no context");
        Ok(())
    }

    async fn send_immediately(&self) -> anyhow::Result<()> {
        let mut task = self.task(immediately("tck-long-running")).await?;
        in_state(&task, &[TaskState::Submitted, TaskState::Working])?;
        while !task.status.state.is_terminal() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            task = self.look(&task.id, None).await?;
        }
        in_state(&task, &[TaskState::Completed])?;
        ensure!(
            task.artifacts.len() == 1,
            "it has {} artifacts",
            task.artifacts.len()
        );
        Ok(())
    }

    async fn answered_with_a_message(&self) -> anyhow::Result<()> {
        let asked = || request(Part::text("tck-message-response"), None);
        let answer = self.client.send_message(&asked(), &options()).await?;
        ensure!(
            matches!(&answer, SendMessageResponse::Message(message) if message.role == Role::Agent),
            "got {answer:?}"
        );
        let events = self
            .client
            .send_streaming_message(&asked(), &options())
            .await?;
        let events = collect(events).await?;
        ensure!(
            matches!(events.as_slice(), [StreamResponse::Message(_)]),
            "the stream has {events:?}"
        );
        Ok(())
    }

    async fn artifacts_of_every_kind(&self) -> anyhow::Result<()> {
        let only = async |text: &str| {
            let task = self.said(text).await?;
            let part = task
                .artifacts
                .first()
                .and_then(|it| it.parts.first())
                .cloned();
            part.with_context(|| format!("{text} has no artifact"))
        };
        let text = only("tck-artifact-text").await?.text;
        ensure!(
            text.as_deref() == Some("Generated text content"),
            "text {text:?}"
        );
        let file = only("tck-artifact-file").await?;
        ensure!(file.raw.as_deref() == Some("dGNr"), "file {file:?}");
        ensure!(
            file.filename.as_deref() == Some("output.txt"),
            "file {file:?}"
        );
        let url = only("tck-artifact-file-url").await?.url;
        ensure!(
            url.as_deref() == Some("https://example.com/output.txt"),
            "url {url:?}"
        );
        let data = only("tck-artifact-data").await?.data.unwrap_or_default();
        ensure!(data.get("key") == Some(&json!("value")), "data {data}");
        ensure!(
            data.get("count").and_then(serde_json::Value::as_f64) == Some(42.0),
            "data {data}"
        );
        Ok(())
    }

    async fn streams(&self) -> anyhow::Result<()> {
        let chunked = request(Part::text("tck-stream-chunked"), None);
        let events = self
            .client
            .send_streaming_message(&chunked, &options())
            .await?;
        let events = collect(events).await?;
        ensure!(
            matches!(events.first(), Some(StreamResponse::Task(_))),
            "got {events:?}"
        );
        let text = streamed_text(&events);
        ensure!(text == "chunk-1 chunk-2", "the chunks are {text:?}");
        ends_completed(&events)?;
        let running = self.task(immediately("tck-long-running")).await?;
        let id = running.id.clone();
        let events = self
            .client
            .subscribe_to_task(&TaskIdRequest { id }, &options())
            .await?;
        let events = collect(events).await?;
        ensure!(
            matches!(events.first(), Some(StreamResponse::Task(task)) if task.id == running.id),
            "the subscription begins with {:?}",
            events.first()
        );
        ends_completed(&events)
    }

    async fn turns_and_history(&self) -> anyhow::Result<()> {
        let first = self.said("tck-multi-turn begin").await?;
        in_state(&first, &[TaskState::InputRequired])?;
        let second = self.task(request(Part::text("more"), Some(&first))).await?;
        in_state(&second, &[TaskState::InputRequired])?;
        let last = self.task(request(Part::text("done"), Some(&first))).await?;
        in_state(&last, &[TaskState::Completed])?;
        ensure!(
            last.id == first.id && last.context_id == first.context_id,
            "it is another task"
        );
        let history = self.look(&first.id, None).await?.history;
        let said: Vec<_> = history
            .iter()
            .filter(|message| message.role == Role::User)
            .filter_map(|message| message.parts.first()?.text.as_deref())
            .collect();
        ensure!(
            said == ["tck-multi-turn begin", "more", "done"],
            "the history is {said:?}"
        );
        let none = self.look(&first.id, Some(0)).await?.history;
        ensure!(none.is_empty(), "a history of none has {none:?}");
        Ok(())
    }

    async fn list_and_cancel(&self) -> anyhow::Result<()> {
        let first = self.said("tck-complete-task one").await?;
        for text in ["tck-complete-task two", "tck-complete-task three"] {
            let mut more = request(Part::text(text), Some(&first));
            more.message.task_id = None;
            self.task(more).await?;
        }
        let mut asked = ListTasksRequest {
            context_id: Some(first.context_id.clone()),
            page_size: Some(2),
            ..ListTasksRequest::default()
        };
        let page = self.client.list_tasks(&asked, &options()).await?;
        ensure!(
            page.tasks.len() == 2 && page.total_size == 3,
            "the first page is {page:?}"
        );
        asked.page_token = Some(page.next_page_token);
        let last = self.client.list_tasks(&asked, &options()).await?;
        let ids: BTreeSet<_> = page
            .tasks
            .iter()
            .chain(&last.tasks)
            .map(|task| &task.id)
            .collect();
        ensure!(
            ids.len() == 3 && ids.contains(&first.id),
            "the pages have {ids:?}"
        );
        ensure!(
            last.next_page_token.is_empty(),
            "the last page has a successor"
        );
        let running = self.task(immediately("tck-cancel")).await?;
        in_state(&running, &[TaskState::Submitted, TaskState::Working])?;
        in_state(&self.cancel(&running.id).await?, &[TaskState::Canceled])
    }

    async fn cancel(&self, id: &str) -> Result<Task, CallError> {
        let request = CancelTaskRequest {
            id: id.to_owned(),
            metadata: None,
        };
        self.client.cancel_task(&request, &options()).await
    }

    async fn push_configurations(&self) -> anyhow::Result<()> {
        let running = self.task(immediately("tck-cancel")).await?;
        let task_id = running.id;
        let config = PushConfig {
            task_id: task_id.clone(),
            url: "https://example.com/hook".into(),
            ..PushConfig::default()
        };
        let made = self.client.create_push_config(&config, &options()).await?;
        ensure!(
            !made.id.is_empty() && made.url == config.url,
            "made {made:?}"
        );
        let named = PushConfigRequest {
            task_id: task_id.clone(),
            id: made.id.clone(),
        };
        let kept = self.client.get_push_config(&named, &options()).await?;
        ensure!(kept.url == config.url, "kept {kept:?}");
        let all = ListPushConfigsRequest {
            task_id: task_id.clone(),
            page_size: None,
            page_token: None,
        };
        let listed = self
            .client
            .list_push_configs(&all, &options())
            .await?
            .configs;
        ensure!(
            listed.iter().map(|it| &it.id).eq([&made.id]),
            "listed {listed:?}"
        );
        self.client.delete_push_config(&named, &options()).await?;
        self.client.delete_push_config(&named, &options()).await?;
        fails(
            self.client.get_push_config(&named, &options()).await,
            -32001,
        )?;
        self.cancel(&task_id).await?;
        Ok(())
    }

    async fn errors(&self) -> anyhow::Result<()> {
        let done = self.said("tck-complete-task").await?;
        let missing = GetTaskRequest {
            id: MISSING.into(),
            history_length: None,
        };
        fails(self.client.get_task(&missing, &options()).await, -32001)?;
        fails(self.cancel(&done.id).await, -32002)?;
        let again = request(Part::text("again"), Some(&done));
        fails(self.client.send_message(&again, &options()).await, -32004)?;
        let follow = TaskIdRequest { id: done.id };
        fails(
            self.client.subscribe_to_task(&follow, &options()).await,
            -32004,
        )
    }
}
