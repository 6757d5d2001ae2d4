//! Deliveries over real sockets, with short pauses, from stores in memory.

#[path = "../../tests/webhook/mod.rs"]
mod webhook;

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use a2a::types::{PushAuthentication, Task, TaskState};
use prometheus_client::encoding::text::encode;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolving},
};
use store::{Commit, Entry, memory::MemoryStore};
use tokio::task::JoinHandle;
use webhook::{Answer, Webhook};

use super::*;
use crate::tasks::Live;

const OWNER: &str = "spiffe://mesh.local/external/operator";

/// A store that several processes use, as PostgreSQL would be.
#[derive(Debug, Default)]
struct Shared(MemoryStore);

#[async_trait::async_trait]
impl Store for Shared {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        self.0.submit(batch)
    }

    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(collection, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        self.0.scan(scan).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn count(&self, of: &'static str, scope: Option<&str>) -> Result<u64, StoreError> {
        self.0.count(of, scope).await
    }
}

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
        let created = self.tasks.create(&mut record, &[], None).await.unwrap();
        let crate::tasks::Created::New(pending) = created else {
            panic!("{created:?}");
        };
        pending.0.await.unwrap();
        self.tasks.track(record)
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

#[tokio::test]
async fn delivers_every_event_in_order_with_the_headers() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process
        .configure("t", with_secrets(hook(&webhook, "c")))
        .await;
    process.progress("t", 0..5);
    webhook.gets(1).await;
    process.settle(&live, TaskState::Completed).await;
    let row = process.is_done("t", "c").await;
    assert_eq!((row.sent, row.failures), (7, 0));
    assert_eq!(webhook.numbers(), (2..=7).collect::<Vec<_>>());
    let received = webhook.received();
    assert_eq!(received[5].state(), Some("TASK_STATE_COMPLETED"));
    assert_eq!(received[0].body["statusUpdate"]["taskId"], "t");
    let agent = format!("agent-mesh/{}", env!("CARGO_PKG_VERSION"));
    for (name, expected) in [
        ("content-type", "application/a2a+json"),
        ("a2a-version", "1.0"),
        ("authorization", "Bearer credentials-77aa"),
        ("x-a2a-notification-token", "token-5d1c"),
        ("user-agent", &agent),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ] {
        assert!(
            received
                .iter()
                .all(|one| one.header(name) == Some(expected)),
            "{name}"
        );
    }
    let mut text = String::new();
    encode(&mut text, &process.metrics).unwrap();
    assert!(
        text.contains("agent_push_deliveries_total{outcome=\"ok\"} 6"),
        "{text}"
    );
    process.ends().await;
}

#[tokio::test]
async fn without_secrets_no_header_says_so() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::Completed).await;
    let received = webhook.gets(1).await;
    for name in ["authorization", "x-a2a-notification-token"] {
        assert_eq!(received[0].header(name), None);
    }
}

#[tokio::test]
async fn an_event_is_repeated_until_it_is_acknowledged() {
    let process = Process::alone();
    let elsewhere = Webhook::start([]).await;
    let redirect = Answer::With(307, "location", elsewhere.url.clone());
    let busy = Answer::With(503, "retry-after", "0".into());
    let script = [Answer::Status(500), redirect, Answer::Never, busy];
    let webhook = Webhook::start(script).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::Completed).await;
    let row = process.is_done("t", "c").await;
    assert_eq!(webhook.numbers(), [2, 2, 2, 2, 2]);
    assert_eq!((row.sent, row.last_error), (2, None));
    assert!(
        elsewhere.received().is_empty(),
        "redirects are not followed"
    );
    assert_eq!(
        (process.outcomes("error"), process.outcomes("timeout")),
        (3, 1)
    );
    assert_eq!(process.outcomes("ok"), 1);
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_given_up_and_others_are_not() {
    let process = Process::alone();
    let (gone, slow, fine) = (
        Webhook::start([Answer::Status(410)]).await,
        Webhook::start(vec![Answer::Never; 1_000]).await,
        Webhook::start([]).await,
    );
    let live = process.task("t").await;
    for (webhook, id) in [(&gone, "gone"), (&slow, "slow"), (&fine, "fine")] {
        process.configure("t", hook(webhook, id)).await;
    }
    process.progress("t", 0..3);
    fine.gets(1).await;
    process.settle(&live, TaskState::Failed).await;
    let received = fine.gets(4).await;
    assert_eq!(received[3].state(), Some("TASK_STATE_FAILED"));
    for _ in 0..3_000 {
        if process.row("t", "gone").await.unwrap().done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let row = process.row("t", "gone").await.unwrap();
    assert_eq!((row.done, row.sent, row.failures), (true, 1, 1));
    assert_eq!(row.last_error.as_deref(), Some("the webhook answered 410"));
    assert_eq!((gone.numbers(), process.outcomes("given_up")), (vec![2], 1));
    let slow = slow.numbers();
    assert!(
        !slow.is_empty() && slow.iter().all(|number| *number == 2),
        "{slow:?}"
    );
}

#[tokio::test]
async fn a_restart_goes_on_after_the_last_acknowledged_event() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let key = SigningKey::generate();
    let webhook = Webhook::start([Answer::Status(200), Answer::Status(200), Answer::Never]).await;
    let first = Process::start(&store, &key);
    let live = first.task("t").await;
    first.configure("t", hook(&webhook, "c")).await;
    first.progress("t", 0..4);
    first.settle(&live, TaskState::Completed).await;
    webhook.gets(3).await;
    // A crash: nothing of the process is left but its store.
    first.running.abort();
    drop((live, first));
    let second = Process::start(&store, &key);
    let row = second.is_done("t", "c").await;
    assert_eq!(row.sent, 6);
    assert_eq!(webhook.numbers(), [2, 3, 4, 4, 5, 6]);
    second.ends().await;
}

#[tokio::test]
async fn who_is_too_far_behind_gets_the_task() {
    let process = Process::alone();
    let webhook = Webhook::start([Answer::Status(500)]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    // More than the log keeps, in one write.
    process.tasks.amend("t", |record| {
        for step in 0..200 {
            record.advance("on", serde_json::json!(step));
        }
    });
    webhook.gets(2).await;
    process.settle(&live, TaskState::Completed).await;
    process.is_done("t", "c").await;
    assert_eq!(webhook.numbers(), [201, 201, 202]);
    assert_eq!(webhook.received()[1].body["task"]["id"], "t");
    assert_eq!(webhook.received()[2].state(), Some("TASK_STATE_COMPLETED"));
}

#[tokio::test]
async fn a_task_that_waits_is_followed_when_it_moves_on() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::AuthRequired).await;
    webhook.gets(1).await;
    // Nothing runs; somebody changes the task in the store, as a cancellation does.
    let mut record = process.tasks.stored("t").await.unwrap().unwrap();
    record.enter(TaskState::Canceled, None);
    process.tasks.replace(&mut record).await.unwrap();
    process.push.wake();
    process.is_done("t", "c").await;
    let states: Vec<_> = webhook
        .received()
        .iter()
        .map(|one| one.state().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["TASK_STATE_AUTH_REQUIRED", "TASK_STATE_CANCELED"]);
}

#[tokio::test]
async fn a_configuration_comes_with_its_task_or_not_at_all() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let write = async |record: &Record| {
        let checked = process.push.check(hook(&webhook, "")).unwrap();
        process.push.write(checked, record).await.unwrap()
    };
    let mut record = Record {
        task: Task {
            id: "t".into(),
            ..Task::default()
        },
        owner: OWNER.into(),
        ..Record::default()
    };
    record.begin(TaskState::Working);
    let with = write(&record).await;
    process
        .tasks
        .create(&mut record, &[], Some(with))
        .await
        .unwrap();
    // The next message with the same webhook is no second configuration, and loses nothing.
    record.enter(TaskState::InputRequired, None);
    record.enter(TaskState::Working, None);
    let with = write(&record).await;
    process
        .tasks
        .create(&mut record, &[], Some(with))
        .await
        .unwrap();
    process.push.wake();
    webhook.gets(2).await;
    let rows = process.push.rows("t").await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].sent >= 1 && webhook.numbers().starts_with(&[2]));
    // A task that never comes has no worker for long.
    let lost = Record {
        task: Task {
            id: "lost".into(),
            ..Task::default()
        },
        ..Record::default()
    };
    write(&lost).await;
    assert_eq!(process.push.0.crew.count(), 2);
    for _ in 0..3_000 {
        if process.push.0.crew.count() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(process.push.0.crew.count(), 1);
}

#[tokio::test]
async fn replicas_deliver_each_event_once() {
    let store: Arc<dyn Store> = Arc::new(Shared::default());
    let key = SigningKey::generate();
    let replicas = [Process::start(&store, &key), Process::start(&store, &key)];
    let mut lives = Vec::new();
    let mut webhooks = Vec::new();
    for number in 0..12 {
        let (id, webhook) = (format!("t{number}"), Webhook::start([]).await);
        let live = replicas[0].task(&id).await;
        replicas[0].configure(&id, hook(&webhook, "c")).await;
        // The other one looks at the same time.
        replicas[1].push.hire(&key_of(&id, "c"), false);
        webhooks.push(webhook);
        lives.push((id, live));
    }
    for (id, live) in &lives {
        replicas[0].progress(id, 0..4);
        replicas[0].settle(live, TaskState::Completed).await;
        replicas[1].push.wake();
    }
    for ((id, _), webhook) in lives.iter().zip(&webhooks) {
        replicas[0].is_done(id, "c").await;
        assert_eq!(webhook.numbers(), [2, 3, 4, 5, 6]);
    }
}

#[tokio::test]
async fn a_lease_keeps_others_away_until_it_ends() {
    let store: Arc<dyn Store> = Arc::new(Shared::default());
    let process = Process::start(&store, &SigningKey::generate());
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    let mut row = process.row("t", "c").await.unwrap();
    let until = time::OffsetDateTime::now_utc() + Duration::from_millis(700);
    row.lease = Some(row::Lease {
        holder: "a replica that crashed".into(),
        until,
    });
    store.submit(vec![row.update()]).await.unwrap();
    process.settle(&live, TaskState::Completed).await;
    webhook.gets(1).await;
    assert!(time::OffsetDateTime::now_utc() >= until);
    assert_eq!(process.is_done("t", "c").await.sent, 2);
}

#[tokio::test]
async fn a_row_of_another_key_is_reported_and_blocks_nobody() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let webhook = Webhook::start([]).await;
    let first = Process::start(&store, &SigningKey::generate());
    let live = first.task("t").await;
    first.configure("t", hook(&webhook, "old")).await;
    first.running.abort();
    let second = Process::start(&store, &SigningKey::generate());
    first.settle(&live, TaskState::Completed).await;
    let live = second.task("u").await;
    second.configure("u", hook(&webhook, "new")).await;
    second.settle(&live, TaskState::Completed).await;
    let received = webhook.gets(1).await;
    assert_eq!(received[0].body["statusUpdate"]["taskId"], "u");
    for _ in 0..3_000 {
        if second.outcomes("unreadable") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(second.outcomes("unreadable") > 0);
    let fault = second.push.get("t", "old").await.unwrap_err();
    assert_eq!(fault.kind, Kind::Internal);
    assert!(
        second
            .push
            .list("t", 10, None)
            .await
            .unwrap()
            .configs
            .is_empty()
    );
    second.push.delete("t", "old").await.unwrap();
    assert!(second.row("t", "old").await.is_none());
}

#[tokio::test]
async fn what_was_deleted_gets_nothing_more() {
    let process = Process::alone();
    let webhook = Webhook::start([Answer::Never]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.progress("t", 0..3);
    webhook.gets(1).await;
    for _ in 0..2 {
        process.push.delete("t", "c").await.unwrap();
    }
    let other = Webhook::start([]).await;
    process.configure("t", hook(&other, "other")).await;
    process.settle(&live, TaskState::Completed).await;
    process.is_done("t", "other").await;
    assert_eq!(webhook.numbers(), [2]);
    assert!(process.row("t", "c").await.is_none());
}

/// Log lines of this thread.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_neither_stored_nor_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let process = Process::alone();
    let live = process.task("t").await;
    // Nobody listens there.
    let mut refused = Webhook::start([]).await;
    refused.closes().await;
    let failing = Webhook::start(vec![Answer::Status(500); 1_000]).await;
    for (webhook, id) in [(&refused, "refused"), (&failing, "failing")] {
        let config = with_secrets(hook(webhook, id));
        let url = format!("{}?key=in-the-url-31f", config.url);
        process.configure("t", PushConfig { url, ..config }).await;
    }
    process.settle(&live, TaskState::Completed).await;
    failing.gets(3).await;
    let everything = Scan {
        collection: CONFIGS,
        limit: 100,
        ..Scan::default()
    };
    let stored = process.push.0.store.scan(everything).await.unwrap();
    assert_eq!(stored.len(), 2);
    let stored: Vec<u8> = stored.into_iter().flat_map(|entry| entry.body).collect();
    let logged = lines.0.lock().unwrap().clone();
    let (stored, logged) = (
        String::from_utf8(stored).unwrap(),
        String::from_utf8(logged).unwrap(),
    );
    assert!(
        stored.contains("cannot reach the webhook") || stored.contains("answered 500"),
        "{stored}"
    );
    assert!(
        logged.contains("cannot deliver a push notification"),
        "{logged}"
    );
    for secret in ["token-5d1c", "credentials-77aa", "in-the-url-31f"] {
        assert!(!stored.contains(secret), "{stored}");
        assert!(!logged.contains(secret), "{logged}");
    }
}

/// Resolves to one address after the other, and stays with the last.
struct Rebinding(Mutex<Vec<SocketAddr>>);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let mut left = self.0.lock().unwrap();
        let next = if left.len() > 1 {
            left.remove(0)
        } else {
            left[0]
        };
        Box::pin(async move { Ok(Box::new(std::iter::once(next)) as Addrs) })
    }
}

#[tokio::test]
async fn a_name_that_moves_to_a_private_address_is_not_followed() {
    // The one network counts as public here, the rest of loopback does not.
    let close = || Answer::With(200, "connection", "close".into());
    let public = Webhook::start_on("127.0.0.2:0".parse().unwrap(), [close()]).await;
    let port = Url::parse(&public.url).unwrap().port().unwrap();
    let private = Webhook::start_on(SocketAddr::from(([127, 0, 0, 1], port)), []).await;
    let policy = Policy {
        loopback: false,
        allow: vec!["127.0.0.2/32".parse().unwrap()],
    };
    let addresses = ["127.0.0.2:0", "127.0.0.1:0"].map(|text| text.parse().unwrap());
    let names = Arc::new(Rebinding(Mutex::new(addresses.to_vec())));
    let poster = Poster::new(policy, names, Duration::from_secs(10));
    let post = async |url: String| {
        let config = PushConfig {
            url,
            ..PushConfig::default()
        };
        let letter = post::Letter {
            config: &config,
            number: 2,
            body: "{}".into(),
            traceparent: None,
        };
        poster.post(letter).await
    };
    let url = format!("http://webhook.example:{port}/");
    post(url.clone()).await.unwrap();
    for url in [url, format!("http://127.0.0.1:{port}/")] {
        let error = post(url).await.unwrap_err();
        assert!(
            matches!(error, post::PostError::Blocked(address) if address.is_loopback()),
            "{error:?}"
        );
        assert_eq!(error.outcome(), "blocked");
    }
    assert_eq!((public.received().len(), private.received().len()), (1, 0));
}
