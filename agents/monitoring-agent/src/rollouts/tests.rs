use serde_json::{Value, json};

use super::*;

const SHA: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";

fn deployment(revision: u64, image: &str, reason: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 3, "annotations": {
            "deployment.kubernetes.io/revision": revision.to_string(),
            "app.gitlab.com/app": "shop-web", "app.gitlab.com/env": "production"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]}}},
        "status": {"observedGeneration": 3, "conditions": [{"type": "Progressing", "status": "True", "reason": reason,
            "lastUpdateTime": "2026-11-22T17:31:18Z", "lastTransitionTime": "2026-11-22T17:00:00Z"}]}})
}

fn read(body: Value) -> Option<Rollout> {
    let deployment: Deployment = serde_json::from_value(body).unwrap();
    rollout(&deployment).map(|facts| facts.rollouts.into_values().next().unwrap())
}

#[test]
fn a_rollout_is_complete_when_its_controller_says_so() {
    let image = format!("registry:5000/web:{SHA}@sha256:00");
    let done = read(deployment(4, &image, "NewReplicaSetAvailable")).unwrap();
    assert_eq!((done.revision, done.failed), (4, First(None)));
    assert_eq!(done.completed, First(Some(1_795_368_678_000)));
    let word = done.word.unwrap();
    assert_eq!(
        (word.app.as_deref(), word.env.as_deref()),
        (Some("shop-web"), Some("production"))
    );
    assert_eq!(word.sha, SHA.parse().ok());
    let failed = read(deployment(4, "web:1.0", "ProgressDeadlineExceeded")).unwrap();
    assert_eq!(
        (failed.completed, failed.failed),
        (First(None), First(Some(1_795_368_678_000)))
    );
    assert_eq!(failed.word.unwrap().sha, None);
    let open = read(deployment(4, "registry:5000/web", "ReplicaSetUpdated")).unwrap();
    assert_eq!((open.completed, open.failed), (First(None), First(None)));
}

#[test]
fn revision_and_status_of_the_change_before_say_nothing_of_this_one() {
    let mut stale = deployment(4, "web:1.0", "NewReplicaSetAvailable");
    stale["metadata"]["generation"] = json!(4);
    assert_eq!(read(stale), None);
    let mut new = deployment(4, "web:1.0", "NewReplicaSetAvailable");
    new["metadata"]["annotations"] = Value::Null;
    assert_eq!(read(new), None);
}

#[test]
fn a_restart_is_the_same_template_and_another_image_is_not() {
    let template = |body: Value| read(body).unwrap().word.unwrap().template;
    let first = template(deployment(1, "web:1.0", "NewReplicaSetAvailable"));
    let mut restarted = deployment(2, "web:1.0", "NewReplicaSetAvailable");
    restarted["spec"]["template"]["metadata"]["annotations"] =
        json!({RESTARTED: "2026-11-22T17:31:18Z"});
    assert_eq!(template(restarted), first);
    assert_ne!(
        template(deployment(3, "web:1.1", "NewReplicaSetAvailable")),
        first
    );
}

#[tokio::test]
async fn only_news_is_stored() {
    let archive = Archive(std::sync::Arc::new(store::memory::MemoryStore::default()));
    let mut known = HashMap::new();
    let read = |body: Value| serde_json::from_value::<Deployment>(body).unwrap();
    for reason in [
        "ReplicaSetUpdated",
        "ReplicaSetUpdated",
        "NewReplicaSetAvailable",
        "NewReplicaSetAvailable",
    ] {
        let deployment = read(deployment(1, "web:1.0", reason));
        store(&archive, &[deployment], &mut known).await.unwrap();
    }
    assert_eq!(archive.segments().await.unwrap(), 2);
    let facts = archive
        .read()
        .await
        .unwrap()
        .facts(crate::archive::CLUSTER)
        .await
        .unwrap();
    assert_eq!(
        facts.rollouts["u1/1"].completed,
        First(Some(1_795_368_678_000))
    );
}
