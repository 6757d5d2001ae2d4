//! Webhooks as GitLab and Alertmanager send them, from the request to the numbers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::large_futures,
    reason = "tests fail loudly"
)]

#[path = "dora/events.rs"]
mod events;

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use events::{BEGAN, EACH, FAILS_EVERY, INCIDENT_EVERY, Organisation, scattered};
use monitoring_agent::{
    archive::{Archive, Intake},
    domain::{
        alert::AlertState,
        dora::{
            Definition, Facts, Interval, Project, Question, Report,
            hook::{Hook, read},
            measure,
        },
    },
    metrics::Counts,
    skills::MeasureDora,
    webhooks::{AlertLog, LARGEST_BODY, Secrets, Webhooks},
};
use serde_json::{Value, json};
use shared::testing::{FakeAgent, readme::check_example};
use store::{Store, memory::MemoryStore, sqlite::SqliteStore, testing::TemporaryPostgres};
use tokio::task::JoinSet;
use tower::ServiceExt;

const SHOP: Organisation = Organisation {
    projects: 3,
    pace: 60,
};

struct Listener {
    router: Router,
    archive: Archive,
    alerts: AlertLog,
    registry: prometheus_client::registry::Registry,
}

fn listener(store: &Arc<dyn Store>) -> Listener {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gitlab-token"), "gitlab-secret").unwrap();
    std::fs::write(folder.path().join("alertmanager-token"), "alert-secret").unwrap();
    let secrets = Secrets::read(folder.path()).unwrap();
    let archive = Archive(store.clone());
    let alerts = AlertLog(store.clone());
    let mut registry = prometheus_client::registry::Registry::default();
    let counts = Counts::register(&mut registry);
    let intake = Intake::open(archive.clone());
    let router = Webhooks::new(secrets, intake, Arc::new(alerts.clone()), counts).router();
    Listener {
        router,
        archive,
        alerts,
        registry,
    }
}

impl Listener {
    async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> StatusCode {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let text = to_bytes(answer.into_body(), 1_000).await.unwrap();
        assert!(!text.is_empty() && !String::from_utf8_lossy(&text).contains("secret"));
        status
    }

    async fn gitlab(&self, body: String) -> StatusCode {
        self.post(
            "/webhooks/gitlab",
            &[("x-gitlab-token", "gitlab-secret")],
            body,
        )
        .await
    }

    fn counted(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// What the events say when they are read one after the other, without any store.
fn expected(events: u64) -> Vec<Project> {
    let mut facts = vec![Facts::default(); usize::try_from(SHOP.projects).unwrap()];
    for event in 0..events {
        let Hook {
            project,
            facts: said,
            ..
        } = read(SHOP.body(event).as_bytes()).unwrap();
        let known = &mut facts[usize::try_from(project.unwrap()).unwrap() - 1];
        known.absorb(said);
        known.path = None;
    }
    let name = |index: usize| format!("shop/service-{}", index + 1);
    let named = facts.into_iter().enumerate();
    named
        .map(|(index, facts)| Project {
            name: name(index),
            facts,
        })
        .collect()
}

async fn stored(archive: &Archive) -> Vec<Project> {
    let mut projects = Vec::new();
    let reader = archive.read().await.unwrap();
    for (id, name) in reader.projects().await.unwrap() {
        let facts = reader.facts(id).await.unwrap();
        projects.push(Project { name, facts });
    }
    projects
}

async fn facts(archive: &Archive, project: u64) -> Facts {
    archive.read().await.unwrap().facts(project).await.unwrap()
}

fn reports(projects: &[Project], days: i64) -> Vec<Report> {
    let from = BEGAN.unix_timestamp() * 1_000;
    let question = |definition| Question {
        from,
        to: from + days * 86_400_000,
        tier: "production".into(),
        definition,
        interval: Interval::Weekly,
    };
    Definition::ALL
        .map(|definition| measure(projects, &question(definition)))
        .into()
}

/// Sends events in no order, every fiftieth twice, many at once.
async fn send_all(listener: &Listener, events: u64) {
    let mut sending = JoinSet::new();
    for at in 0..events + events / 50 {
        let body = SHOP.body(scattered(at % events, events));
        let request = Request::post("/webhooks/gitlab")
            .header("x-gitlab-token", "gitlab-secret")
            .body(Body::from(body))
            .unwrap();
        sending.spawn(listener.router.clone().oneshot(request));
        if sending.len() >= 200 {
            let answer = sending.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    while let Some(answer) = sending.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
}

async fn any_order_gives_the_same_numbers(store: Arc<dyn Store>) {
    let changes = 120_u64;
    let events = changes * SHOP.projects * EACH;
    let listener = listener(&store);
    send_all(&listener, events).await;
    let expected = expected(events);
    let days = i64::try_from(changes * SHOP.pace / 60 / 24 + 1).unwrap();
    let right = reports(&expected, days);
    let archive = &listener.archive;
    assert_eq!(stored(archive).await, expected);
    let (mut folds, mut folded) = (0, 0);
    loop {
        let done = archive.fold().await.unwrap();
        if done.segments == 0 {
            break;
        }
        folds += 1;
        folded += u64::try_from(done.events).unwrap();
    }
    assert_eq!(folded, events + events / 50, "in {folds} folds");
    assert_eq!(stored(archive).await, expected);
    assert!(archive.prune(i64::MAX).await.unwrap() > 0);
    assert_eq!(archive.segments().await.unwrap(), 0);
    assert_eq!(reports(&stored(archive).await, days), right);

    // The same numbers, counted by hand.
    let failed = (0..changes)
        .filter(|number| number % FAILS_EVERY == 7)
        .count() as u64;
    let incidents = (0..changes)
        .filter(|number| number % INCIDENT_EVERY == 3)
        .count() as u64;
    let strict = &right[2];
    assert_eq!(
        strict.deployment_frequency.numerator,
        SHOP.projects * (changes - failed)
    );
    assert_eq!(
        strict.change_failure_rate.numerator,
        SHOP.projects * incidents
    );
    assert_eq!(strict.lead_time_for_changes.value, Some(480.0));
    // What could not be deployed is brought by the next deployment, an hour later.
    assert_eq!(
        strict.lead_time_for_changes.denominator,
        SHOP.projects * changes
    );
    // Deployed after 8 minutes, closed 60 + 20 minutes after the push.
    assert_eq!(strict.time_to_restore.value, Some(72.0 * 60.0));
    assert_eq!(right[0].time_to_restore.value, Some(65.0 * 60.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_gives_the_same_numbers_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    any_order_gives_the_same_numbers(Arc::new(SqliteStore::open(&path).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_gives_the_same_numbers_in_postgres() {
    let server = TemporaryPostgres::start().unwrap();
    let store = store::open(&server.url("postgres")).await.unwrap();
    any_order_gives_the_same_numbers(store).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_process_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = |path: &Path| -> Arc<dyn Store> { Arc::new(SqliteStore::open(path).unwrap()) };
    let copy = folder.path().join("copy.db");
    let first = listener(&open(&path));
    assert_eq!(first.gitlab(SHOP.body(7)).await, StatusCode::OK);
    // What is on disk at this moment, without closing anything.
    for (from, to) in [("store.db", "copy.db"), ("store.db-wal", "copy.db-wal")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let facts = facts(&Archive(open(&copy)), 1).await;
    assert_eq!(facts.deployments.len(), 1);
}

#[tokio::test]
async fn strangers_and_unreadable_bodies_are_turned_away_and_unknown_kinds_are_not() {
    let listener = listener(&(Arc::new(MemoryStore::default()) as Arc<dyn Store>));
    let path = "/webhooks/gitlab";
    let token = ("x-gitlab-token", "gitlab-secret");
    assert_eq!(
        listener.post(path, &[], SHOP.body(7)).await,
        StatusCode::UNAUTHORIZED
    );
    let wrong = [("x-gitlab-token", "alert-secret")];
    assert_eq!(
        listener.post(path, &wrong, SHOP.body(7)).await,
        StatusCode::UNAUTHORIZED
    );
    let signed = [token, ("webhook-signature", "v1,AAAA")];
    assert_eq!(
        listener.post(path, &signed, SHOP.body(7)).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(listener.gitlab("no".into()).await, StatusCode::BAD_REQUEST);
    assert_eq!(
        listener
            .gitlab(format!("{}1{}", "[".repeat(99), "]".repeat(99)))
            .await,
        StatusCode::BAD_REQUEST
    );
    let large = "x".repeat(LARGEST_BODY + 1);
    assert_eq!(listener.gitlab(large).await, StatusCode::PAYLOAD_TOO_LARGE);
    let wiki = json!({"object_kind": "wiki_page", "project": {"id": 1}});
    assert_eq!(listener.gitlab(wiki.to_string()).await, StatusCode::OK);
    let incomplete = json!({"object_kind": "deployment", "project": {"id": 1}});
    assert_eq!(
        listener.gitlab(incomplete.to_string()).await,
        StatusCode::OK
    );
    assert!(stored(&listener.archive).await.is_empty());
    let counted = listener.counted();
    for (kind, outcome, count) in [
        ("unknown", "refused", 3),
        ("unknown", "unreadable", 3),
        ("other", "nothing_to_keep", 1),
        ("deployment", "incomplete", 1),
    ] {
        let line = format!("webhook_events_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}");
        assert!(counted.contains(&line), "{line} in {counted}");
    }
}

#[tokio::test]
async fn a_repeated_delivery_is_known_by_its_key_and_not_by_the_uuid_that_a_chain_shares() {
    let listener = listener(&(Arc::new(MemoryStore::default()) as Arc<dyn Store>));
    let send = |key: &'static str, event: u64| {
        let headers = [
            ("x-gitlab-token", "gitlab-secret"),
            ("idempotency-key", key),
            ("x-gitlab-event-uuid", "the-same"),
        ];
        let listener = &listener;
        async move {
            listener
                .post("/webhooks/gitlab", &headers, SHOP.body(event))
                .await
        }
    };
    for (key, event) in [("a", 6), ("b", 7), ("b", 7), ("a", 6)] {
        assert_eq!(send(key, event).await, StatusCode::OK);
    }
    let facts = facts(&listener.archive, 1).await;
    assert_eq!(facts.deployments[&2].seen.len(), 2);
    let counted = listener.counted();
    assert!(
        counted.contains("{kind=\"deployment\",outcome=\"kept\"} 2"),
        "{counted}"
    );
    assert!(
        counted.contains("{kind=\"deployment\",outcome=\"repeated\"} 2"),
        "{counted}"
    );
}

#[tokio::test]
async fn readme_shows_a_real_answer() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let listener = listener(&store);
    send_all(&listener, 40 * SHOP.projects * EACH).await;
    let skill = MeasureDora(listener.archive.clone());
    check_example(env!("CARGO_MANIFEST_DIR"), skill, FakeAgent::default()).await;
}

fn alert(status: &str, ends: &str) -> Value {
    json!({"version": "4", "groupKey": "{}", "status": status, "receiver": "mesh", "alerts": [{
        "status": status, "labels": {"alertname": "High", "severity": "page"}, "annotations": {"summary": "too high"},
        "startsAt": "2026-11-22T17:31:18Z", "endsAt": ends, "fingerprint": "00ab"}]})
}

#[tokio::test]
async fn alerts_are_kept_once_and_do_not_come_back_when_they_are_over() {
    let listener = listener(&(Arc::new(MemoryStore::default()) as Arc<dyn Store>));
    let send = |body: Value, token: &'static str| {
        let listener = &listener;
        let headers = [("authorization", token)];
        async move {
            listener
                .post("/webhooks/alertmanager", &headers, body.to_string())
                .await
        }
    };
    let firing = alert("firing", "0001-01-01T00:00:00Z");
    let resolved = alert("resolved", "2026-11-22T18:00:00Z");
    assert_eq!(
        send(firing.clone(), "Bearer gitlab-secret").await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        send(firing.clone(), "alert-secret").await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        send(firing.clone(), "Bearer alert-secret").await,
        StatusCode::OK
    );
    assert_eq!(
        listener
            .alerts
            .list(Some(AlertState::Firing), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    for body in [&resolved, &firing] {
        assert_eq!(
            send(body.clone(), "Bearer alert-secret").await,
            StatusCode::OK
        );
    }
    let kept = listener.alerts.list(None, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].state, kept[0].ends_at.is_some()),
        (AlertState::Resolved, true)
    );
    let none = json!({"version": "3", "alerts": []});
    assert_eq!(
        send(none, "Bearer alert-secret").await,
        StatusCode::BAD_REQUEST
    );
}
