//! Restarts, and several processes on one store.

use store::{Commit, Entry};

use super::*;

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
    first.crashes();
    let second = Process::start(&store, &key);
    let row = second.is_done("t", "c").await;
    assert_eq!(row.sent, 6);
    assert_eq!(webhook.numbers(), [2, 3, 4, 4, 5, 6]);
    second.ends().await;
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
