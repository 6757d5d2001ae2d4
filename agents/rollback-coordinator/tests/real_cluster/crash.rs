//! The agent is killed at every write of its journal, in the rollback of a Helm release, and goes on.

use std::sync::Arc;

use control_plane::ControlPlane;
use rollback_coordinator::{
    domain::{Kind, Outcome},
    history::History,
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::testing::FakeAgent;
use store::{Store, Write, testing::FaultyStore};

use crate::{
    agent::{Agent, image},
    support::{helm, ready},
};

fn peers() -> FakeAgent {
    let answer = |_: &Value| Ok(json!({"verdict": "healthy"}));
    FakeAgent::default()
        .namespace("shop")
        .peer("monitoring-agent", "check_health", answer)
}

/// Versions and statuses of a release, as Helm tells them.
async fn history(plane: &ControlPlane, release: &str) -> Vec<(u64, String)> {
    let printed = helm(plane, &format!("history {release} -o json")).await;
    let all: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let word = |one: &Value| {
        (
            one["revision"].as_u64().unwrap(),
            one["status"].as_str().unwrap().to_owned(),
        )
    };
    all.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_back_whenever_the_agent_is_killed() {
    let agent = Agent::start().await;
    let plane = agent.plane;
    helm(plane, "install crash CHART").await;
    ready(&agent.client, "crash").await;
    agent.learned("crash", 0).await;
    let (mut writes, mut revision) = (0, 1);
    loop {
        // Each bad version is another one, since a bad one is never rolled out twice.
        let bad = format!(
            "upgrade crash CHART --set image=example/bad:{writes},mode=bad{writes},extra=true,legacy=false"
        );
        helm(plane, &bad).await;
        ready(&agent.client, "crash").await;
        let store = Arc::new(FaultyStore::dying(agent.store.clone(), writes, false));
        let wanted = || (Kind::Deployment, "immediate");
        let dying = History(store.clone());
        let killed = tokio::select! {
            biased;
            _ended = agent.run_with(dying, ("crash", wanted()), Gradual::default(), peers()) => false,
            () = store.died.notified() => true,
        };
        if killed {
            let (result, _) = agent
                .run("crash", wanted(), Gradual::default(), peers())
                .await;
            let output =
                result.unwrap_or_else(|problem| panic!("killed at write {writes}: {problem}"));
            assert_eq!(output.outcome, Some(Outcome::RolledBack));
        }
        revision += 2;
        let all = history(plane, "crash").await;
        let last = all.last().unwrap().clone();
        assert_eq!(
            last,
            (revision, "deployed".to_owned()),
            "killed at write {writes}: once, and whole: {all:?}"
        );
        let deployed = all
            .iter()
            .filter(|(_, status)| status == "deployed")
            .count();
        assert_eq!(deployed, 1, "killed at write {writes}: {all:?}");
        assert_eq!(image(&agent, "crash").await, "example/app:1");
        // The next rollback is another task.
        let forgotten = ["rollback_journals", "rollback_gates"].map(|collection| Write::Delete {
            collection,
            key: "task-1".into(),
        });
        agent.store.submit(forgotten.into()).await.unwrap();
        if !killed {
            break;
        }
        writes += 1;
    }
    // The lock, a write before each of the eight steps, and the end.
    assert_eq!(writes, 10);
}
