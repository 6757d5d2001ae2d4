//! The requests and answers of the README.

use std::sync::Arc;

use serde_json::json;
use shared::testing::{FakeAgent, readme::check_example};
use store::memory::MemoryStore;

use super::{AbortRollback, ResumeGitops};
use crate::{
    domain::{Journal, Outcome},
    fake::World,
    history::History,
};

/// A rollback that waits for its pods to go, or one that has ended and waits for Git.
async fn remembered(outcome: Outcome) -> History {
    let history = History(Arc::new(MemoryStore::default()));
    let application = json!({
        "object": {"api_version": "argoproj.io/v1alpha1", "kind": "Application", "plural": "applications", "namespace": "shop", "name": "web"},
        "uid": "u", "purpose": "gitops", "git": "6fe1",
        "fields": [{"path": "/spec/syncPolicy/automated/enabled", "during": false}],
    });
    let journal: Journal = serde_json::from_value(json!({
        "rollback_id": "task-7", "caller": "monitoring-agent", "outcome": outcome, "started_at": "2026-11-20T09:00:00Z",
        "plan": {
            "namespace": "shop", "workload": {"kind": "Deployment", "name": "web"}, "from_revision": 2, "to_revision": 1,
            "images": {"from": [], "to": []}, "database": null, "needs_approval": false, "reasons": [], "diff": "",
            "steps": ["lock", "pause_gitops", "restore_template"],
        },
        "origin": {"uid": "u", "replicas": 3, "from_name": "web-2", "to_name": "web-1", "template": {}},
        "entries": [
            {"step": "lock", "state": "done", "took_ms": 12},
            {"step": "pause_gitops", "state": "started"},
            {"step": "restore_template", "state": "pending"},
        ],
        "held": [application],
        "gitops": {
            "state": "paused", "since": "2026-11-20T09:00:01Z", "deadline": "2026-11-21T09:00:01Z", "overdue": false,
            "waits_for": "applications/shop/web: it still is at Git revision \"6fe1\"",
        },
    }))
    .unwrap();
    history.keep_holds(&journal).await.unwrap();
    history
}

#[tokio::test]
async fn the_examples_of_the_readme_are_real() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let abort = AbortRollback(remembered(Outcome::Running).await);
    check_example(folder, abort, FakeAgent::default()).await;
    let resume = ResumeGitops {
        history: remembered(Outcome::RolledBack).await,
        guard: World::stateless().guard(),
    };
    check_example(folder, resume, FakeAgent::default()).await;
}
