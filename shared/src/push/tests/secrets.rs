//! Secrets, keys and addresses.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolving},
};

use super::*;

#[tokio::test]
async fn a_row_of_another_key_is_reported_and_blocks_nobody() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let webhook = Webhook::start([]).await;
    let first = Process::start(&store, &SigningKey::generate());
    let live = first.task("t").await;
    first.configure("t", hook(&webhook, "old")).await;
    first.crashes();
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
    let private = Webhook::start([]).await;
    let port = Url::parse(&private.url).unwrap().port().unwrap();
    let public = Webhook::start_on(SocketAddr::from(([127, 0, 0, 2], port)), [close()]).await;
    let policy = Policy {
        loopback: false,
        allow: vec!["127.0.0.2/32".parse().unwrap()],
    };
    let addresses = ["127.0.0.2:0", "127.0.0.1:0"].map(|text| text.parse().unwrap());
    let names = Arc::new(Rebinding(Mutex::new(addresses.to_vec())));
    let requests = Poster::new(policy, names, Duration::from_secs(10));
    let ask = async |url: String| {
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
        requests.post(letter).await
    };
    let url = format!("http://webhook.example:{port}/");
    ask(url.clone()).await.unwrap();
    for url in [url, format!("http://127.0.0.1:{port}/")] {
        let error = ask(url).await.unwrap_err();
        assert!(
            matches!(error, post::PostError::Blocked(address) if address.is_loopback()),
            "{error:?}"
        );
        assert_eq!(error.outcome(), "blocked");
    }
    assert_eq!((public.received().len(), private.received().len()), (1, 0));
}
