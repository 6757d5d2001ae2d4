use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use gitlab::testing::RecordingGitlab;
use serde_json::{Value, json};
use shared::{Context, testing::FakeAgent};
use store::memory::MemoryStore;

use super::*;
use crate::{
    archive::Intake,
    domain::{
        Finding, Key, Severity, Trigger,
        dora::{
            fact::{Rollout, RolloutWord},
            hook::read,
        },
    },
    ledger::Ledger,
};

const T0: At = At::from_millis(1_763_832_678_000);
const SHA: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";

fn finding() -> Finding {
    Finding {
        key: Key {
            namespace: "shop".into(),
            name: "web".into(),
        },
        trigger: Trigger::NewRevisionFailing,
        severity: Severity::Sev1,
        attribution: Attribution::Release,
        fingerprint: "shop/web".into(),
        revision: Some(2),
        evidence: vec!["pod web-1: crash_loop".into()],
        began_at: T0,
        change_at: T0.plus(-2_000),
        traceparent: None,
    }
}

type Posted = Arc<Mutex<(Vec<Value>, u16)>>;

async fn alertmanager() -> (reqwest::Url, Posted) {
    let posted: Posted = Arc::new(Mutex::new((Vec::new(), 200)));
    let take = |State(posted): State<Posted>, Json(body): Json<Value>| async move {
        let mut posted = posted.lock().unwrap();
        if posted.1 == 200 {
            posted.0.push(body);
        }
        StatusCode::from_u16(posted.1).unwrap()
    };
    let router = Router::new()
        .route("/api/v2/alerts", post(take))
        .with_state(posted.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, posted)
}

struct World {
    gitlab: RecordingGitlab,
    posted: Posted,
    ledger: Ledger,
    notices: Notices,
    context: Context,
    agent: Arc<FakeAgent>,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    let gitlab = RecordingGitlab::start("glpat-secret").await.unwrap();
    gitlab.commit("30", SHA, Some(7));
    gitlab.project("ops/incidents");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "glpat-secret").unwrap();
    let (url, posted) = alertmanager().await;
    let store: Arc<dyn store::Store> = Arc::new(MemoryStore::default());
    let args = NoticeArgs {
        gitlab_url: Some(gitlab.url()),
        gitlab_token_file: Some(token),
        gitlab_project: Some("ops/incidents".into()),
        alertmanager_url: Some(url),
    };
    let (context, agent) = FakeAgent::default().context();
    World {
        gitlab,
        posted,
        ledger: Ledger(store.clone()),
        notices: Notices::new(&args, store).unwrap(),
        context,
        agent,
        _folder: folder,
    }
}

/// The release as GitLab and the cluster report it.
async fn released(archive: &Archive) {
    let body = json!({"object_kind": "deployment", "status": "running", "status_changed_at": "2025-11-22 17:30:00 UTC",
        "deployment_id": 1, "environment": "production/eu", "environment_slug": "production-eu", "environment_tier": "production",
        "commit_url": format!("http://x/-/commit/{SHA}"), "project": {"id": 30, "path_with_namespace": "shop/web"}});
    let hook = read(body.to_string().as_bytes()).unwrap();
    let intake = Intake::open(archive.clone());
    intake.keep(30, hook.facts).await.unwrap();
    let word = RolloutWord {
        at: 1,
        namespace: "shop".into(),
        deployment: "web".into(),
        app: Some("shop-web".into()),
        env: Some("production-eu".into()),
        sha: None,
        template: "a".into(),
    };
    let mut facts = Facts::default();
    let rollout = Rollout {
        revision: 2,
        word: Some(word),
        ..Rollout::default()
    };
    facts.rollouts.insert("u/2".into(), rollout);
    archive
        .0
        .submit(vec![Archive::of_cluster(facts, 1)])
        .await
        .unwrap();
}

#[tokio::test]
async fn an_incident_is_told_once_and_edited_until_it_is_over() {
    let world = world().await;
    let World {
        gitlab,
        posted,
        ledger,
        notices,
        context,
        agent,
        ..
    } = &world;
    released(&notices.archive).await;
    let mut incident = ledger.open(finding(), T0.plus(500)).await.unwrap().unwrap();
    assert!(notices.send(context).await.unwrap());
    incident.resolve("the workload is healthy", T0.plus(6_000));
    ledger.keep(&incident).await.unwrap();
    for _ in 0..3 {
        assert!(notices.send(context).await.unwrap());
    }
    let issues = gitlab.issues("30");
    assert_eq!((issues.len(), &issues[0]["state"]), (1, &json!("closed")));
    assert_eq!(
        issues[0]["labels"],
        json!(["monitoring-agent", "sev1", "cause::release"])
    );
    let description = issues[0]["description"].as_str().unwrap();
    assert!(description.starts_with(&format!("<!-- monitoring-agent:{} -->\n", incident.id)));
    assert!(
        description.contains(&format!("root cause: {SHA}"))
            && description.contains("`production/eu`")
    );
    let notes = gitlab.notes("30", 7);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["body"], issues[0]["description"]);
    let alerts = posted.lock().unwrap().0.clone();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0][0]["labels"], alerts[1][0]["labels"]);
    assert_eq!(
        alerts[1][0]["endsAt"],
        serde_json::to_value(T0.plus(6_000)).unwrap()
    );
    // Every change was announced in the audit trail before it was made.
    let trail = agent.trail();
    for line in [
        "intent alertmanager.post_alerts",
        "intent gitlab.put_incident projects/30/issues",
        "outcome gitlab.put_incident projects/30/issues ok",
        "intent gitlab.put_note projects/30/merge_requests/7/notes",
    ] {
        assert_eq!(
            trail.iter().filter(|one| one.starts_with(line)).count(),
            2,
            "{line}: {trail:?}"
        );
    }
    // The issue that comes back as a webhook is known as the agent's own.
    let body = json!({"object_kind": "work_item", "project": {"id": 30}, "object_attributes": {"iid": 1, "type": "Incident",
        "created_at": "2025-11-22T17:31:18Z", "updated_at": "2025-11-22T17:31:18Z", "description": description}});
    let hook = read(body.to_string().as_bytes()).unwrap();
    let said = hook.facts.issues[&1].word.clone().unwrap();
    assert_eq!(said.of_agent.as_ref(), Some(&incident.id));
    assert_eq!(said.blames.map(|sha| sha.to_string()).as_deref(), Some(SHA));
}

#[tokio::test]
async fn what_is_not_taken_waits_and_the_last_word_is_told() {
    let world = world().await;
    let World {
        gitlab,
        posted,
        ledger,
        notices,
        context,
        ..
    } = &world;
    posted.lock().unwrap().1 = 503;
    let mut incident = ledger.open(finding(), T0).await.unwrap().unwrap();
    assert!(!notices.send(context).await.unwrap());
    // GitLab did not wait for Alertmanager; without an annotation the incident goes to the project of the flag.
    assert_eq!(gitlab.issues("ops/incidents").len(), 1);
    assert!(gitlab.notes("30", 7).is_empty());
    incident.resolve("over", T0.plus(1));
    ledger.keep(&incident).await.unwrap();
    posted.lock().unwrap().1 = 200;
    assert!(notices.send(context).await.unwrap());
    assert_eq!(gitlab.issues("ops/incidents")[0]["state"], "closed");
    assert_eq!(posted.lock().unwrap().0.len(), 1);
    // What is refused for good does not come back.
    posted.lock().unwrap().1 = 400;
    ledger.keep(&incident).await.unwrap();
    assert!(notices.send(context).await.unwrap());
    posted.lock().unwrap().1 = 200;
    assert!(notices.send(context).await.unwrap());
    assert_eq!(posted.lock().unwrap().0.len(), 1);
}

#[tokio::test]
async fn an_incident_counts_as_a_failure_from_the_moment_it_is_kept() {
    let world = world().await;
    let mut incident = world.ledger.open(finding(), T0).await.unwrap().unwrap();
    let trouble = || async {
        let reader = world.notices.archive.read().await.unwrap();
        let facts = reader.facts(crate::archive::CLUSTER).await.unwrap();
        facts.troubles[&incident.id].clone()
    };
    let open = trouble().await;
    assert_eq!(
        (open.began, open.word.unwrap().resolved),
        (First(Some(T0.millis())), None)
    );
    incident.resolve("over", T0.plus(9));
    world.ledger.keep(&incident).await.unwrap();
    let reader = world.notices.archive.read().await.unwrap();
    let over = reader
        .facts(crate::archive::CLUSTER)
        .await
        .unwrap()
        .troubles[&incident.id]
        .clone();
    assert_eq!(over.word.unwrap().resolved, Some(T0.plus(9).millis()));
}
