//! Deliveries over real sockets, with short pauses, from stores in memory.

mod delivery;
mod processes;
mod secrets;
#[path = "../../tests/webhook/mod.rs"]
mod webhook;

use a2a::types::{PushAuthentication, Task, TaskState};
use store::memory::MemoryStore;
use tokio::task::JoinHandle;
use webhook::{Answer, Webhook};

use super::*;
use crate::tasks::Live;

const OWNER: &str = "spiffe://mesh.local/external/operator";

fn quick() -> Timing {
    Timing {
        patience: Duration::from_millis(400),
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(80),
        lease: Duration::from_secs(2),
        ..Timing::default()
    }
}

/// One process of an agent.
struct Process {
    push: Push,
    tasks: Tasks,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    metrics: Registry,
}

impl Process {
    fn start(store: &Arc<dyn Store>, key: &SigningKey) -> Self {
        let tasks = Tasks::new(store.clone());
        let mut metrics = Registry::default();
        let policy = Policy {
            loopback: true,
            allow: Vec::new(),
        };
        let setup = Setup {
            store: store.clone(),
            tasks: tasks.clone(),
            key,
            policy,
            outcomes: Outcomes::register(&mut metrics),
        };
        let push = Push::with(setup, quick(), Arc::new(screen::System)).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(push.clone().run(stop.clone()));
        Self {
            push,
            tasks,
            stop,
            running,
            metrics,
        }
    }

    fn alone() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        Self::start(&store, &SigningKey::generate())
    }

    /// A task that runs here.
    async fn task(&self, id: &str) -> Arc<Live> {
        let mut record = Record {
            task: Task {
                id: id.into(),
                context_id: "context".into(),
                ..Task::default()
            },
            owner: OWNER.into(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            ..Record::default()
        };
        record.begin(TaskState::Working);
        let created = self.tasks.create(&mut record, None).await.unwrap();
        assert!(matches!(created, crate::tasks::Created::New));
        let stored = record.clone().into();
        let live = self.tasks.track(record, Some(stored));
        let (store, run) = (self.push.0.store.clone(), live.clone());
        tokio::spawn(async move { run.accompany(&*store, run.cancel.cancelled()).await });
        live
    }

    fn progress(&self, id: &str, steps: std::ops::Range<u64>) {
        for step in steps {
            self.tasks.amend(id, |record| {
                record.advance("on", serde_json::json!(step));
            });
        }
    }

    /// Ends the run of a task in a state.
    async fn settle(&self, live: &Arc<Live>, state: TaskState) {
        live.cancel.cancel();
        let mut record = live.close().unwrap();
        record.enter(state, None);
        self.tasks.replace(&mut record).await.unwrap();
        self.tasks.release(live, Arc::new(record));
        self.push.wake();
    }

    async fn configure(&self, task: &str, config: PushConfig) -> PushConfig {
        let checked = self.push.check(config).unwrap();
        let record = self.tasks.get(task).await.unwrap().unwrap();
        self.push.create(checked, &record).await.unwrap()
    }

    async fn row(&self, task: &str, id: &str) -> Option<Row> {
        let key = key_of(task, id);
        let entry = self.push.0.store.get(CONFIGS, &key).await.unwrap();
        entry.map(|entry| Row::read(&entry).unwrap())
    }

    /// Waits until nothing will be delivered any more.
    async fn is_done(&self, task: &str, id: &str) -> Row {
        for _ in 0..3_000 {
            match self.row(task, id).await {
                Some(row) if row.done && self.push.0.crew.count() == 0 => return row,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("{:?}", self.row(task, id).await);
    }

    fn outcomes(&self, outcome: &'static str) -> u64 {
        let label = OutcomeLabel { outcome };
        self.push.0.outcomes.0.get_or_create(&label).get()
    }

    /// Leaves nothing but its store.
    fn crashes(&self) {
        self.running.abort();
        self.push.0.abort.cancel();
    }

    async fn ends(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn hook(webhook: &Webhook, id: &str) -> PushConfig {
    PushConfig {
        id: id.into(),
        url: webhook.url.clone(),
        ..PushConfig::default()
    }
}

fn with_secrets(config: PushConfig) -> PushConfig {
    PushConfig {
        token: Some("token-5d1c".into()),
        authentication: Some(PushAuthentication {
            scheme: "Bearer".into(),
            credentials: Some("credentials-77aa".into()),
        }),
        ..config
    }
}
