mod cluster;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::step;
use crate::domain::kind::{DEPLOYMENTS, EVENTS, Kind, NAMESPACES, NODES, PODS, REPLICA_SETS};
use crate::domain::object::{annotation, condition, int, list, name, text};
use crate::domain::patch::Patch;
use crate::domain::state::{ChangeKind, Key, Settings, State};
use crate::domain::validation::BEHAVIOR;
use crate::domain::verbs::{self, DeleteOptions, Part, Propagation};
use cluster::*;

#[test]
fn brings_a_deployment_up_and_says_so_step_by_step() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(3, "web:1"));
    let object = cluster.web();
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(
        reason(&object, "Available"),
        pair("False", "MinimumReplicasUnavailable")
    );
    assert_eq!(cluster.all(&PODS).len(), 3);
    cluster.play(Duration::from_millis(399));
    assert_eq!(cluster.web()["status"].get("readyReplicas"), None);
    cluster.play(Duration::from_millis(1));
    let object = cluster.web();
    for field in [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ] {
        assert_eq!(object["status"][field], 3, "{field}");
    }
    assert_eq!(
        reason(&object, "Available"),
        pair("True", "MinimumReplicasAvailable")
    );
    assert_eq!(
        reason(&object, "Progressing"),
        pair("True", "NewReplicaSetAvailable")
    );
    assert_eq!(
        annotation(&object, "deployment.kubernetes.io/revision"),
        "1"
    );
    let set = &cluster.all(&REPLICA_SETS)[0];
    assert_eq!(annotation(set, "team"), "shop");
    let hash = text(set, "/metadata/labels/pod-template-hash").to_owned();
    assert_eq!(name(set), format!("web-{hash}"));
    for pod in cluster.all(&PODS) {
        assert_eq!(text(&pod, "/status/phase"), "Running");
        assert_eq!(text(&pod, "/metadata/labels/pod-template-hash"), hash);
        assert_eq!(text(&pod, "/spec/nodeName"), "n1");
        assert!(name(&pod).starts_with(&format!("web-{hash}-")));
    }
}

#[test]
fn never_goes_beyond_surge_or_below_availability_while_it_rolls() {
    for (replicas, surge, missing) in [(4, 1, 1), (10, 3, 2), (3, 1, 0), (1, 1, 0)] {
        let mut cluster = Cluster::new();
        cluster.create(&DEPLOYMENTS, "shop", web(replicas, "web:1"));
        cluster.settle();
        let start = cluster.state.revision();
        cluster.merge(image("web:2"));
        cluster.settle();
        assert_eq!(cluster.revisions()["2"], replicas);
        let changes: Vec<_> = cluster
            .state
            .changes_after(start)
            .unwrap()
            .cloned()
            .collect();
        let mut sets: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for change in changes {
            if let (true, Some(set)) = (change.key.kind == &REPLICA_SETS, change.after) {
                let count = |field| int(&set, field).unwrap_or(0);
                let numbers = (count("/spec/replicas"), count("/status/availableReplicas"));
                sets.insert(name(&set).to_owned(), numbers);
                let (wanted, available) = sets
                    .values()
                    .fold((0, 0), |sum, set| (sum.0 + set.0, sum.1 + set.1));
                assert!(wanted <= replicas + surge, "{replicas}: {sets:?}");
                if sets.len() == 2 {
                    assert!(available >= replicas - missing, "{replicas}: {sets:?}");
                }
            }
        }
    }
}

#[test]
fn stops_at_a_bad_revision_and_comes_back_to_the_old_one_under_a_new_number() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(4, "web:1"));
    cluster.settle();
    let good = cluster.web()["spec"]["template"].clone();
    let uid_of_good = cluster.all(&REPLICA_SETS)[0]["metadata"]["uid"].clone();
    cluster.merge(behavior("web:2", "never-ready"));
    cluster.play(Duration::from_secs(5));
    assert_eq!(
        cluster.revisions(),
        [("1".to_owned(), 3), ("2".to_owned(), 2)].into()
    );
    let object = cluster.web();
    assert_eq!(object["status"]["availableReplicas"], 3);
    assert_eq!(object["status"]["unavailableReplicas"], 2);
    assert_eq!(
        reason(&object, "Progressing"),
        pair("True", "ReplicaSetUpdated")
    );
    cluster.patch(&Patch::Json(
        json!([{"op": "replace", "path": "/spec/template", "value": good}]),
    ));
    cluster.play(Duration::from_secs(2));
    assert_eq!(
        cluster.revisions(),
        [("2".to_owned(), 0), ("3".to_owned(), 4)].into()
    );
    let object = cluster.web();
    assert_eq!(object["status"]["readyReplicas"], 4);
    assert_eq!(
        reason(&object, "Progressing"),
        pair("True", "NewReplicaSetAvailable")
    );
    let sets = cluster.all(&REPLICA_SETS);
    let back = sets
        .iter()
        .find(|set| set["spec"]["replicas"] == 4)
        .unwrap();
    assert_eq!(back["metadata"]["uid"], uid_of_good);
    assert_eq!(
        annotation(back, "deployment.kubernetes.io/revision-history"),
        "1"
    );
}

#[test]
fn reports_a_rollout_that_makes_no_progress_in_time() {
    let mut cluster = Cluster::new();
    let mut object = web(2, "web:1");
    object["spec"]["progressDeadlineSeconds"] = 30.into();
    object["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: "image-pull"});
    cluster.create(&DEPLOYMENTS, "shop", object);
    cluster.play(Duration::from_secs(29));
    assert_eq!(reason(&cluster.web(), "Progressing").1, "ReplicaSetUpdated");
    cluster.play(Duration::from_secs(2));
    let object = cluster.web();
    assert_eq!(
        reason(&object, "Progressing"),
        pair("False", "ProgressDeadlineExceeded")
    );
    cluster.merge(behavior("web:1", ""));
    cluster.play(Duration::from_secs(5));
    assert_eq!(
        reason(&cluster.web(), "Progressing"),
        pair("True", "NewReplicaSetAvailable")
    );
}

#[test]
fn holds_a_paused_rollout_and_still_scales_it() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(2, "web:1"));
    cluster.settle();
    cluster.merge(json!({"spec": {"paused": true}}));
    cluster.merge(image("web:2"));
    cluster.settle();
    assert_eq!(cluster.revisions(), [("1".to_owned(), 2)].into());
    assert_eq!(
        reason(&cluster.web(), "Progressing"),
        pair("Unknown", "DeploymentPaused")
    );
    cluster.merge(json!({"spec": {"replicas": 5}}));
    cluster.settle();
    assert_eq!(cluster.revisions(), [("1".to_owned(), 5)].into());
    cluster.merge(json!({"spec": {"paused": false}}));
    cluster.settle();
    assert_eq!(cluster.revisions()["2"], 5);
}

#[test]
fn recreates_without_two_revisions_at_once() {
    let mut cluster = Cluster::new();
    let mut object = web(2, "web:1");
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create(&DEPLOYMENTS, "shop", object);
    cluster.settle();
    let start = cluster.state.revision();
    cluster.merge(image("web:2"));
    cluster.settle();
    assert_eq!(
        cluster.revisions(),
        [("1".to_owned(), 0), ("2".to_owned(), 2)].into()
    );
    let changes = cluster.state.changes_after(start).unwrap();
    let pods = changes.filter(|change| change.key.kind == &PODS);
    let order: Vec<_> = pods
        .filter(|change| change.kind != ChangeKind::Modified)
        .map(|change| change.kind)
        .collect();
    assert_eq!(order[..2], [ChangeKind::Deleted, ChangeKind::Deleted]);
    assert_eq!(order[2..], [ChangeKind::Added, ChangeKind::Added]);
}

#[test]
fn keeps_as_many_old_revisions_as_the_limit_says() {
    let mut cluster = Cluster::new();
    let mut object = web(1, "web:1");
    object["spec"]["revisionHistoryLimit"] = 2.into();
    cluster.create(&DEPLOYMENTS, "shop", object);
    for version in 2..=5 {
        cluster.settle();
        cluster.merge(image(&format!("web:{version}")));
    }
    cluster.settle();
    let numbers: Vec<_> = cluster.revisions().into_keys().collect();
    assert_eq!(numbers, ["3", "4", "5"]);
}

#[test]
fn lets_containers_crash_wait_and_count() {
    let mut cluster = Cluster::new();
    let mut object = web(1, "web:1");
    object["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: "oom"});
    cluster.create(&DEPLOYMENTS, "shop", object);
    cluster.play(Duration::from_secs(1));
    let status =
        |cluster: &Cluster| cluster.all(&PODS)[0]["status"]["containerStatuses"][0].clone();
    let container = status(&cluster);
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(container["lastState"]["terminated"]["reason"], "OOMKilled");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(container["restartCount"], 1);
    cluster.play(Duration::from_secs(10));
    assert_eq!(status(&cluster)["restartCount"], 2);
    cluster.play(Duration::from_secs(21));
    assert_eq!(status(&cluster)["restartCount"], 3);
    assert!(cluster.reasons("Warning").contains(&"BackOff".to_owned()));
}

#[test]
fn tells_about_failing_probes_and_images_in_events() {
    for (behavior, reason) in [("never-ready", "Unhealthy"), ("image-pull", "Failed")] {
        let mut cluster = Cluster::new();
        let mut object = web(1, "web:1");
        object["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: behavior});
        cluster.create(&DEPLOYMENTS, "shop", object);
        cluster.play(Duration::from_secs(25));
        assert!(
            cluster.reasons("Warning").contains(&reason.to_owned()),
            "{behavior}"
        );
        let events = cluster.all(&EVENTS);
        let told = events
            .iter()
            .find(|event| text(event, "/reason") == reason)
            .unwrap();
        assert_eq!(text(told, "/involvedObject/kind"), "Pod");
        assert!(
            behavior != "never-ready" || int(told, "/count").unwrap() >= 3,
            "{told}"
        );
    }
}

#[test]
fn makes_a_ready_pod_unready_after_a_while() {
    let mut cluster = Cluster::new();
    let mut object = web(1, "web:1");
    object["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: "unready-after:2s"});
    cluster.create(&DEPLOYMENTS, "shop", object);
    cluster.play(Duration::from_secs(2));
    assert_eq!(cluster.web()["status"]["readyReplicas"], 1);
    cluster.play(Duration::from_secs(1));
    assert_eq!(cluster.web()["status"].get("readyReplicas"), None);
    assert_eq!(reason(&cluster.web(), "Available").0, "False");
}

#[test]
fn waits_for_min_ready_seconds_before_it_calls_a_pod_available() {
    let mut cluster = Cluster::new();
    let mut object = web(1, "web:1");
    object["spec"]["minReadySeconds"] = 5.into();
    cluster.create(&DEPLOYMENTS, "shop", object);
    cluster.play(Duration::from_secs(3));
    assert_eq!(cluster.web()["status"]["readyReplicas"], 1);
    assert_eq!(cluster.web()["status"].get("availableReplicas"), None);
    cluster.play(Duration::from_secs(3));
    assert_eq!(cluster.web()["status"]["availableReplicas"], 1);
}

#[test]
fn replaces_a_deleted_pod_and_takes_everything_with_the_deployment() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let mut cluster = Cluster::new();
        cluster.create(&DEPLOYMENTS, "shop", web(2, "web:1"));
        cluster.settle();
        let pod = Key::of(&PODS, &cluster.all(&PODS)[0]);
        verbs::delete(
            &mut cluster.state,
            &pod,
            &DeleteOptions::default(),
            cluster.now,
        )
        .unwrap();
        cluster.settle();
        assert!(cluster.state.get(&pod).is_none());
        assert_eq!(cluster.all(&PODS).len(), 2);
        let key = Key::new(&DEPLOYMENTS, "shop", "web");
        let options = DeleteOptions {
            propagation,
            ..DeleteOptions::default()
        };
        verbs::delete(&mut cluster.state, &key, &options, cluster.now).unwrap();
        cluster.settle();
        for kind in [&DEPLOYMENTS, &REPLICA_SETS, &PODS] {
            assert!(
                cluster.all(kind).is_empty(),
                "{propagation:?} {}",
                kind.kind
            );
        }
    }
}

#[test]
fn leaves_orphans_when_asked() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(2, "web:1"));
    cluster.settle();
    let key = Key::new(&DEPLOYMENTS, "shop", "web");
    let options = DeleteOptions {
        propagation: Propagation::Orphan,
        ..DeleteOptions::default()
    };
    verbs::delete(&mut cluster.state, &key, &options, cluster.now).unwrap();
    cluster.settle();
    let sets = cluster.all(&REPLICA_SETS);
    assert_eq!((sets.len(), cluster.all(&PODS).len()), (1, 2));
    assert!(list(&sets[0], "/metadata/ownerReferences").is_empty());
}

#[test]
fn empties_a_namespace_before_it_goes() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(2, "web:1"));
    cluster.settle();
    let key = Key::new(&NAMESPACES, "", "shop");
    verbs::delete(
        &mut cluster.state,
        &key,
        &DeleteOptions::default(),
        cluster.now,
    )
    .unwrap();
    let refused = verbs::create(
        &mut cluster.state,
        &DEPLOYMENTS,
        "shop",
        (web(1, "web:1"), false),
        cluster.now,
    );
    assert_eq!(refused.unwrap_err().code, 403);
    cluster.settle();
    assert!(cluster.state.get(&key).is_none());
    assert!(cluster.state.keys_in("shop").is_empty());
}

#[test]
fn plays_the_same_history_for_the_same_seed() {
    let history = || {
        let mut cluster = Cluster::new();
        cluster.create(&DEPLOYMENTS, "shop", web(3, "web:1"));
        cluster.settle();
        cluster.merge(behavior("web:2", "crash-loop"));
        cluster.play(Duration::from_secs(30));
        let all = cluster.state.changes_after(0).unwrap();
        all.map(|change| (change.key.clone(), change.after.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(history(), history());
}

#[test]
fn remembers_a_bounded_number_of_events() {
    let mut cluster = Cluster::new();
    cluster.create(&DEPLOYMENTS, "shop", web(400, "web:1"));
    cluster.settle();
    assert_eq!(cluster.web()["status"]["readyReplicas"], 400);
    assert!(cluster.all(&EVENTS).len() <= 1_000);
}
