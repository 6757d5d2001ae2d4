//! Clients that do not give up.

use std::time::Duration;

use a2a::{
    client::{Backoff, CallError, CallOptions, Client, ClientOptions, DiscoverError},
    types::{
        GetTaskRequest, ListTasksRequest, Message, Part, Role, SendMessageConfiguration,
        SendMessageRequest, SendMessageResponse, Task,
    },
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    LEAST,
    streams::{Start, Told, follow},
};

/// Where the agent is while it is up.
#[derive(Clone)]
pub(crate) struct Agent {
    url: String,
    http: reqwest::Client,
}

/// An acknowledged note.
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) request: SendMessageRequest,
    pub(crate) task: String,
}

/// A walk, as two streams told it.
pub(crate) struct Walk {
    pub(crate) task: String,
    pub(crate) told: [Vec<Told>; 2],
}

/// While the agent is down calls fail so; everything else is a defect.
pub(crate) async fn await_return(error: &CallError) {
    let down = matches!(
        error,
        CallError::Connect { .. }
            | CallError::Exchange { .. }
            | CallError::Lost { .. }
            | CallError::Suspended { .. }
    );
    assert!(down, "{error:?}");
    sleep(Duration::from_millis(5)).await;
}

impl Agent {
    pub(crate) fn at(url: String) -> Self {
        let http = reqwest::Client::new();
        Self { url, http }
    }

    /// A client with a fresh circuit breaker: an agent that dies this often would be left alone for half a minute.
    pub(crate) async fn client(&self) -> Client {
        let options = ClientOptions {
            backoff: Backoff {
                first: Duration::from_millis(20),
                ..Backoff::default()
            },
            ..ClientOptions::default()
        };
        loop {
            match Client::discover(self.http.clone(), &self.url, options.clone()).await {
                Ok(client) => return client,
                Err(DiscoverError::Fetch(error)) => await_return(&error).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Sends the very same message until it is acknowledged; the task that was made of it.
    pub(crate) async fn send(&self, request: &SendMessageRequest) -> String {
        loop {
            let client = self.client().await;
            match client.send_message(request, &CallOptions::default()).await {
                Ok(SendMessageResponse::Task(task)) => return task.id,
                Ok(SendMessageResponse::Message(message)) => panic!("no task: {message:?}"),
                Err(error) => await_return(&error).await,
            }
        }
    }

    pub(crate) async fn task(&self, id: &str) -> Task {
        let request = GetTaskRequest {
            id: id.to_owned(),
            history_length: None,
        };
        loop {
            let client = self.client().await;
            match client.get_task(&request, &CallOptions::default()).await {
                Ok(task) => return task,
                Err(error) => await_return(&error).await,
            }
        }
    }

    /// How many tasks there are.
    pub(crate) async fn tasks(&self) -> usize {
        let client = self.client().await;
        let request = ListTasksRequest::default();
        let listed = client.list_tasks(&request, &CallOptions::default()).await;
        listed.unwrap().total_size
    }
}

fn request(id: &str, skill: &str, input: &Value, return_immediately: bool) -> SendMessageRequest {
    SendMessageRequest {
        message: Message {
            message_id: id.to_owned(),
            role: Role::User,
            parts: vec![Part::json(json!({"skill": skill, "input": input}))],
            context_id: None,
            task_id: None,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        },
        configuration: Some(SendMessageConfiguration {
            return_immediately,
            ..SendMessageConfiguration::default()
        }),
        metadata: None,
    }
}

/// Notes until stopped, every other without waiting for its end.
pub(crate) async fn notes(agent: Agent, worker: usize, stop: CancellationToken) -> Vec<Note> {
    let mut notes = Vec::new();
    while !stop.is_cancelled() || notes.len() < LEAST {
        let key = format!("key-{worker}-{}", notes.len());
        let input = json!({"dry_run": false, "idempotency_key": key});
        let id = format!("note-{worker}-{}", notes.len());
        let request = request(&id, "note", &input, notes.len() % 2 == 0);
        let task = agent.send(&request).await;
        notes.push(Note { key, request, task });
    }
    notes
}

/// Walks until stopped, each followed by the stream of its message and by another subscriber.
pub(crate) async fn walks(agent: Agent, worker: usize, stop: CancellationToken) -> Vec<Walk> {
    let mut walks = Vec::new();
    while !stop.is_cancelled() || walks.len() < LEAST {
        let id = format!("walk-{worker}-{}", walks.len());
        let request = request(&id, "walk", &json!({"steps": 8}), false);
        let (known, task) = oneshot::channel();
        let subscriber = agent.clone();
        let second = tokio::spawn(async move {
            let task: String = task.await.unwrap();
            let told = follow(&subscriber, Start::Task(task.clone())).await;
            (task, told)
        });
        let first = follow(&agent, Start::Message(Box::new(request), known)).await;
        let (task, second) = second.await.unwrap();
        walks.push(Walk {
            task,
            told: [first, second],
        });
    }
    walks
}
