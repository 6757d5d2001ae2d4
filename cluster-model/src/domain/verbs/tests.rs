use serde_json::{Value, json};
use time::OffsetDateTime;

use super::*;
use crate::domain::kind::{DEPLOYMENTS, NAMESPACES, PODS};
use crate::domain::state::Settings;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn state() -> State {
    let mut state = State::new(Settings::default());
    let shop = json!({"metadata": {"name": "shop"}});
    create(&mut state, &NAMESPACES, "", (shop, false), NOW).unwrap();
    state
}

fn web() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

fn with_web() -> (State, Key) {
    let mut state = state();
    create(&mut state, &DEPLOYMENTS, "shop", (web(), false), NOW).unwrap();
    (state, Key::new(&DEPLOYMENTS, "shop", "web"))
}

fn patched(state: &mut State, key: &Key, change: &Patch) -> Result<Arc<Value>, Refusal> {
    patch(state, key, Part::Main, (change, false), NOW).map(|(object, _)| object)
}

fn merge(change: Value) -> Patch {
    Patch::Merge(change)
}

#[test]
fn refuses_a_second_object_of_the_name_and_a_missing_namespace() {
    let (mut state, _) = with_web();
    let again = create(&mut state, &DEPLOYMENTS, "shop", (web(), false), NOW).unwrap_err();
    assert_eq!((again.code, again.reason), (409, "AlreadyExists"));
    let nowhere = create(&mut state, &DEPLOYMENTS, "x", (web(), false), NOW).unwrap_err();
    assert_eq!(nowhere.message, "namespaces \"x\" not found");
    let mut elsewhere = web();
    elsewhere["metadata"]["namespace"] = "y".into();
    let refused = create(&mut state, &DEPLOYMENTS, "shop", (elsewhere, false), NOW);
    assert_eq!(refused.unwrap_err().code, 400);
}

#[test]
fn refuses_a_stale_version_by_every_verb() {
    let (mut state, key) = with_web();
    let old = (**state.get(&key).unwrap()).clone();
    let version = old["metadata"]["resourceVersion"].clone();
    patched(&mut state, &key, &merge(json!({"spec": {"replicas": 2}}))).unwrap();
    let put = replace(&mut state, &key, Part::Main, (old, false)).unwrap_err();
    let merged = merge(json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": 3}}));
    let merged = patched(&mut state, &key, &merged).unwrap_err();
    let json = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]);
    let json = patched(&mut state, &key, &Patch::Json(json)).unwrap_err();
    for refusal in [put, merged, json] {
        assert_eq!((refusal.code, refusal.reason), (409, "Conflict"));
    }
}

#[test]
fn counts_generations_of_the_spec_and_keeps_status_apart() {
    let (mut state, key) = with_web();
    let change = merge(json!({"metadata": {"labels": {"a": "b"}}, "status": {"replicas": 9}}));
    let labeled = patched(&mut state, &key, &change).unwrap();
    assert_eq!(labeled["metadata"]["generation"], 1);
    assert_eq!(labeled.get("status"), None);
    let scaled = patched(&mut state, &key, &merge(json!({"spec": {"replicas": 2}}))).unwrap();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let change = merge(json!({"spec": {"replicas": 7}, "status": {"replicas": 9}}));
    let (status, _) = patch(&mut state, &key, Part::Status, (&change, false), NOW).unwrap();
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(2), &json!(9))
    );
}

#[test]
fn keeps_nothing_of_a_dry_run() {
    let (mut state, key) = with_web();
    let before = (state.revision(), state.get(&key).cloned());
    let change = merge(json!({"spec": {"replicas": 9}}));
    let (answer, _) = patch(&mut state, &key, Part::Main, (&change, true), NOW).unwrap();
    assert_eq!(answer["spec"]["replicas"], 9);
    let mut other = web();
    other["metadata"]["name"] = "other".into();
    create(&mut state, &DEPLOYMENTS, "shop", (other, true), NOW).unwrap();
    let options = DeleteOptions {
        dry_run: true,
        ..DeleteOptions::default()
    };
    delete(&mut state, &key, &options, NOW).unwrap();
    assert_eq!((state.revision(), state.get(&key).cloned()), before);
    let wrong = merge(json!({"spec": {"replicas": -1}}));
    let refused = patch(&mut state, &key, Part::Main, (&wrong, true), NOW);
    assert_eq!(refused.unwrap_err().code, 422);
}

#[test]
fn deletes_only_under_its_preconditions() {
    let (mut state, key) = with_web();
    let wrong = DeleteOptions {
        uid: "other".to_owned(),
        ..DeleteOptions::default()
    };
    assert_eq!(delete(&mut state, &key, &wrong, NOW).unwrap_err().code, 409);
    let old_version = DeleteOptions {
        resource_version: "1".to_owned(),
        ..DeleteOptions::default()
    };
    assert_eq!(
        delete(&mut state, &key, &old_version, NOW)
            .unwrap_err()
            .code,
        409
    );
    assert!(matches!(
        delete(&mut state, &key, &DeleteOptions::default(), NOW),
        Ok(Deleted::Gone(_))
    ));
    assert_eq!(
        delete(&mut state, &key, &DeleteOptions::default(), NOW)
            .unwrap_err()
            .code,
        404
    );
}

#[test]
fn waits_for_finalizers() {
    let (mut state, key) = with_web();
    let hold = merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    patched(&mut state, &key, &hold).unwrap();
    let deleted = delete(&mut state, &key, &DeleteOptions::default(), NOW).unwrap();
    assert!(matches!(deleted, Deleted::Going(_)));
    assert!(is_deleting(state.get(&key).unwrap()));
    patched(
        &mut state,
        &key,
        &merge(json!({"metadata": {"finalizers": null}})),
    )
    .unwrap();
    assert!(state.get(&key).is_none());
}

#[test]
fn applies_create_and_take_back_fields() {
    let mut state = state();
    let key = Key::new(&DEPLOYMENTS, "shop", "web");
    let apply = |object: Value| Patch::Apply {
        object,
        manager: "ci".to_owned(),
    };
    let mut intent = web();
    intent["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    let (_, created) = patch(
        &mut state,
        &key,
        Part::Main,
        (&apply(intent.clone()), false),
        NOW,
    )
    .unwrap();
    assert!(created);
    patched(
        &mut state,
        &key,
        &merge(json!({"metadata": {"labels": {"c": "3"}}})),
    )
    .unwrap();
    intent["metadata"]["labels"] = json!({"a": "1"});
    let (applied, created) =
        patch(&mut state, &key, Part::Main, (&apply(intent), false), NOW).unwrap();
    assert!(!created);
    assert_eq!(applied["metadata"]["labels"], json!({"a": "1", "c": "3"}));
}

#[test]
fn scales_through_the_subresource() {
    let (mut state, key) = with_web();
    let mut scale = read_scale(&state, &key).unwrap();
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = 4.into();
    let answer = write_scale(&mut state, &key, (&scale, false)).unwrap();
    assert_eq!(answer["spec"]["replicas"], 4);
    assert_eq!(state.get(&key).unwrap()["spec"]["replicas"], 4);
    assert_eq!(
        write_scale(&mut state, &key, (&scale, false))
            .unwrap_err()
            .code,
        409
    );
}

#[test]
fn generates_names_and_leaves_wrong_ones_out() {
    let mut state = state();
    let pod = |metadata: Value| json!({"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
    let named = pod(json!({"generateName": "job-"}));
    let named = create(&mut state, &PODS, "shop", (named, false), NOW).unwrap();
    assert!(name(&named).starts_with("job-") && name(&named).len() == 9);
    for metadata in [json!({}), json!({"name": "A"}), json!({"name": "a_b"})] {
        let refused = create(&mut state, &PODS, "shop", (pod(metadata), false), NOW);
        assert_eq!(refused.unwrap_err().code, 422);
    }
}
