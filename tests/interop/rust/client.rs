//! The official Rust library's client calls everything that our agent has.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use lf::{
    A2AError, AuthenticationInfo, CancelTaskRequest, DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    ListTasksRequest, Message, Part, PartContent, Role, SendMessageConfiguration,
    SendMessageRequest, SendMessageResponse, StreamResponse, SubscribeToTaskRequest, Task,
    TaskPushNotificationConfig, TaskState,
};
use lf_client::{
    A2AClient, A2AClientFactory, Transport, agent_card::AgentCardResolver,
    jsonrpc::JsonRpcTransportFactory,
};
use serde_json::json;
use tests::acts::webhook::Receiver;

/// A task that no agent has.
const MISSING: &str = "00000000-0000-0000-0000-000000000000";

/// Calls every operation, a step each, and prints the steps.
pub(crate) async fn call_everything(url: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let card = AgentCardResolver::new(Some(http.clone()))
        .resolve(url)
        .await
        .unwrap();
    assert_eq!(card.name, "conformance-agent");
    let client = A2AClientFactory::builder()
        .no_defaults()
        .register(Arc::new(JsonRpcTransportFactory::new(Some(http))))
        .build()
        .create_from_card(&card)
        .await
        .unwrap();
    println!("step card: ok");
    let steps = Steps { client };
    step("send", steps.send()).await;
    step("artifacts of every kind", steps.artifacts_of_every_kind()).await;
    step("streams", steps.streams()).await;
    step("turns and history", steps.turns_and_history()).await;
    step("list and cancel", steps.list_and_cancel()).await;
    step("push configurations", steps.push_configurations()).await;
    step("push delivery", steps.push_delivery()).await;
    step("errors", steps.errors()).await;
}

async fn step(name: &str, step: impl Future<Output = ()>) {
    println!("step {name}: ...");
    let done = tokio::time::timeout(Duration::from_mins(1), step).await;
    done.unwrap_or_else(|_| panic!("step {name} takes more than a minute"));
    println!("step {name}: ok");
}

struct Steps {
    client: A2AClient<Box<dyn Transport>>,
}

fn request(part: Part, continued: Option<&Task>, immediately: bool) -> SendMessageRequest {
    let message = Message {
        task_id: continued.map(|task| task.id.clone()),
        context_id: continued.map(|task| task.context_id.clone()),
        ..Message::new(Role::User, vec![part])
    };
    SendMessageRequest {
        message,
        configuration: Some(SendMessageConfiguration {
            accepted_output_modes: None,
            task_push_notification_config: None,
            history_length: None,
            return_immediately: Some(immediately),
        }),
        metadata: None,
        tenant: None,
    }
}

fn push_config(url: String, task_id: String) -> TaskPushNotificationConfig {
    TaskPushNotificationConfig {
        url,
        id: None,
        task_id,
        token: None,
        authentication: None,
        tenant: None,
    }
}

#[track_caller]
fn fails<T>(result: Result<T, A2AError>, code: i32) {
    assert_eq!(result.err().expect("an error").code, code);
}

async fn collect(
    events: Result<BoxStream<'static, Result<StreamResponse, A2AError>>, A2AError>,
) -> Vec<StreamResponse> {
    events.unwrap().map(Result::unwrap).collect().await
}

fn ends_completed(events: &[StreamResponse]) {
    let Some(StreamResponse::StatusUpdate(update)) = events.last() else {
        panic!("the stream ends with {:?}", events.last());
    };
    assert_eq!(update.status.state, TaskState::Completed);
}

impl Steps {
    async fn task(&self, request: SendMessageRequest) -> Task {
        match self.client.send_message(&request).await.unwrap() {
            SendMessageResponse::Task(task) => task,
            SendMessageResponse::Message(message) => panic!("no task came but {message:?}"),
        }
    }

    async fn said(&self, text: &str) -> Task {
        self.task(request(Part::text(text), None, false)).await
    }

    async fn started(&self, text: &str) -> Task {
        let task = self.task(request(Part::text(text), None, true)).await;
        assert!(matches!(
            task.status.state,
            TaskState::Submitted | TaskState::Working
        ));
        task
    }

    async fn look(&self, id: &str, history_length: Option<i32>) -> Result<Task, A2AError> {
        let request = GetTaskRequest {
            id: id.into(),
            history_length,
            tenant: None,
        };
        self.client.get_task(&request).await
    }

    async fn cancel(&self, id: &str) -> Result<Task, A2AError> {
        let request = CancelTaskRequest {
            id: id.into(),
            metadata: None,
            tenant: None,
        };
        self.client.cancel_task(&request).await
    }

    async fn send(&self) {
        let task = self.said("tck-complete-task from Rust").await;
        assert_eq!(task.status.state, TaskState::Completed);
        let mut task = self.started("tck-long-running").await;
        while task.status.state != TaskState::Completed {
            tokio::time::sleep(Duration::from_millis(100)).await;
            task = self.look(&task.id, None).await.unwrap();
        }
        let direct = request(Part::text("tck-message-response"), None, false);
        let SendMessageResponse::Message(message) =
            self.client.send_message(&direct).await.unwrap()
        else {
            panic!("no message came");
        };
        assert_eq!(message.role, Role::Agent);
        let skill = Part::data(json!({"skill": "echo", "input": {"text": "hello"}}));
        let task = self.task(request(skill, None, false)).await;
        let artifacts = task.artifacts.unwrap();
        assert_eq!(
            artifacts[0].parts[0].content,
            PartContent::Data(json!({"text": "hello"}))
        );
    }

    async fn artifacts_of_every_kind(&self) {
        let only = async |text: &str| self.said(text).await.artifacts.unwrap()[0].parts[0].clone();
        let text = only("tck-artifact-text").await;
        assert_eq!(text.as_text(), Some("Generated text content"));
        let file = only("tck-artifact-file").await;
        assert_eq!(file.content, PartContent::Raw(b"tck".to_vec()));
        assert_eq!(file.filename.as_deref(), Some("output.txt"));
        let url = only("tck-artifact-file-url").await;
        assert_eq!(
            url.content,
            PartContent::Url("https://example.com/output.txt".into())
        );
        let data = only("tck-artifact-data").await;
        // This library reads numbers as protobuf does: all of them are floating.
        assert_eq!(
            data.content,
            PartContent::Data(json!({"key": "value", "count": 42.0}))
        );
    }

    async fn streams(&self) {
        let chunked = request(Part::text("tck-stream-chunked"), None, false);
        let events = collect(self.client.send_streaming_message(&chunked).await).await;
        assert!(
            matches!(events.first(), Some(StreamResponse::Task(_))),
            "{events:?}"
        );
        let chunks: String = events
            .iter()
            .filter_map(|event| match event {
                StreamResponse::ArtifactUpdate(update) => update.artifact.parts[0].as_text(),
                _ => None,
            })
            .collect();
        assert_eq!(chunks, "chunk-1 chunk-2");
        ends_completed(&events);
        let id = self.started("tck-long-running").await.id;
        let follow = SubscribeToTaskRequest { id, tenant: None };
        let events = collect(self.client.subscribe_to_task(&follow).await).await;
        assert!(
            matches!(events.first(), Some(StreamResponse::Task(_))),
            "{events:?}"
        );
        ends_completed(&events);
    }

    async fn turns_and_history(&self) {
        let first = self.said("tck-multi-turn begin").await;
        assert_eq!(first.status.state, TaskState::InputRequired);
        let more = request(Part::text("more"), Some(&first), false);
        assert_eq!(self.task(more).await.status.state, TaskState::InputRequired);
        let done = request(Part::text("done"), Some(&first), false);
        assert_eq!(self.task(done).await.status.state, TaskState::Completed);
        let history = self.look(&first.id, None).await.unwrap().history.unwrap();
        let said: Vec<_> = history
            .iter()
            .filter(|message| message.role == Role::User)
            .filter_map(Message::text)
            .collect();
        assert_eq!(said, ["tck-multi-turn begin", "more", "done"]);
        let none = self.look(&first.id, Some(0)).await.unwrap().history;
        assert!(none.unwrap_or_default().is_empty());
    }

    async fn list_and_cancel(&self) {
        let first = self.said("tck-complete-task one").await;
        for text in ["tck-complete-task two", "tck-complete-task three"] {
            let mut more = request(Part::text(text), Some(&first), false);
            more.message.task_id = None;
            self.task(more).await;
        }
        let mut asked = ListTasksRequest {
            context_id: Some(first.context_id.clone()),
            status: None,
            page_size: Some(2),
            page_token: None,
            history_length: None,
            status_timestamp_after: None,
            include_artifacts: None,
            tenant: None,
        };
        let page = self.client.list_tasks(&asked).await.unwrap();
        assert_eq!((page.tasks.len(), page.total_size), (2, 3));
        asked.page_token = Some(page.next_page_token);
        let page = self.client.list_tasks(&asked).await.unwrap();
        assert_eq!(page.tasks.len(), 1);
        assert_eq!(
            (&page.tasks[0].id, page.next_page_token.as_str()),
            (&first.id, "")
        );
        let running = self.started("tck-cancel").await;
        let canceled = self.cancel(&running.id).await.unwrap();
        assert_eq!(canceled.status.state, TaskState::Canceled);
    }

    async fn push_configurations(&self) {
        let task_id = self.started("tck-cancel").await.id;
        let config = push_config("http://127.0.0.1:1/hook".into(), task_id.clone());
        let made = self.client.create_push_config(&config).await.unwrap();
        let id = made.id.expect("an id");
        let named = GetTaskPushNotificationConfigRequest {
            task_id: task_id.clone(),
            id: id.clone(),
            tenant: None,
        };
        let kept = self.client.get_push_config(&named).await.unwrap();
        assert_eq!(kept.url, config.url);
        let all = ListTaskPushNotificationConfigsRequest {
            task_id: task_id.clone(),
            page_size: None,
            page_token: None,
            tenant: None,
        };
        let listed = self.client.list_push_configs(&all).await.unwrap().configs;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].id.as_deref(), Some(id.as_str()));
        let gone = DeleteTaskPushNotificationConfigRequest {
            task_id: task_id.clone(),
            id,
            tenant: None,
        };
        self.client.delete_push_config(&gone).await.unwrap();
        self.client.delete_push_config(&gone).await.unwrap();
        fails(self.client.get_push_config(&named).await, -32001);
        self.cancel(&task_id).await.unwrap();
    }

    async fn push_delivery(&self) {
        let receiver = Receiver::start().await.unwrap();
        let mut asked = request(Part::text("tck-long-running"), None, true);
        let mut config = push_config(receiver.url("hook"), String::new());
        config.authentication = Some(AuthenticationInfo {
            scheme: "Bearer".into(),
            credentials: Some("my-secret".into()),
        });
        asked
            .configuration
            .as_mut()
            .unwrap()
            .task_push_notification_config = Some(config);
        self.task(asked).await;
        let ended = |deliveries: &[tests::acts::webhook::Delivery]| {
            deliveries.iter().any(|one| {
                one.body.pointer("/statusUpdate/status/state")
                    == Some(&json!("TASK_STATE_COMPLETED"))
            })
        };
        for delivery in receiver.wait("hook", ended).await.unwrap() {
            assert_eq!(delivery.header("authorization"), "Bearer my-secret");
            serde_json::from_value::<StreamResponse>(delivery.body).expect("an event");
        }
    }

    async fn errors(&self) {
        let done = self.said("tck-complete-task").await;
        fails(self.look(MISSING, None).await, -32001);
        fails(self.cancel(&done.id).await, -32002);
        let again = request(Part::text("again"), Some(&done), false);
        fails(self.client.send_message(&again).await, -32004);
        let odd = Part {
            media_type: Some("application/x-unsupported-type".into()),
            ..Part::raw(b"x".to_vec())
        };
        fails(
            self.client.send_message(&request(odd, None, false)).await,
            -32005,
        );
        let follow = SubscribeToTaskRequest {
            id: done.id,
            tenant: None,
        };
        fails(
            self.client.subscribe_to_task(&follow).await.map(drop),
            -32004,
        );
    }
}
