use super::*;
use crate::domain::kind::{DEPLOYMENTS, PODS};
use serde_json::json;

fn object(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": name}})
}

fn put(state: &mut State, value: Value) -> Arc<Value> {
    state.put(&Key::of(&PODS, &value), value).unwrap()
}

#[test]
fn gives_every_change_its_own_revision_and_an_equal_object_none() {
    let mut state = State::new(Settings::default());
    let first = put(&mut state, object("a", "x"));
    assert_eq!(text(&first, "/metadata/resourceVersion"), "2");
    let again = put(&mut state, object("a", "x"));
    assert_eq!(
        (text(&again, "/metadata/resourceVersion"), state.revision()),
        ("2", 2)
    );
    let gone = state.remove(&Key::new(&PODS, "a", "x")).unwrap();
    assert_eq!(text(&gone, "/metadata/resourceVersion"), "3");
    let kinds: Vec<_> = state.changes_after(1).unwrap().map(|c| c.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Deleted]);
}

#[test]
fn lists_by_namespace_in_order() {
    let mut state = State::new(Settings::default());
    for (namespace, name) in [("b", "y"), ("a", "z"), ("a", "x"), ("ab", "w")] {
        put(&mut state, object(namespace, name));
    }
    let names = |namespace| -> Vec<_> {
        let found = state.list(&PODS, namespace);
        found.map(|(key, _)| key.name.clone()).collect()
    };
    assert_eq!(names(None), ["x", "z", "w", "y"]);
    assert_eq!(names(Some("a")), ["x", "z"]);
    assert_eq!(state.list(&DEPLOYMENTS, None).count(), 0);
}

#[test]
fn forgets_old_changes_and_says_so() {
    let mut state = State::new(Settings {
        history: 3,
        ..Settings::default()
    });
    for n in 0..5 {
        put(&mut state, object("a", &format!("p{n}")));
    }
    assert_eq!(state.changes_after(3).unwrap().count(), 3);
    for revision in [2, 7] {
        let refused = state.changes_after(revision).err().unwrap();
        assert_eq!((refused.code, refused.reason), (410, "Expired"));
    }
}

#[test]
fn finds_dependents_by_owner_until_they_let_go() {
    let mut state = State::new(Settings::default());
    let mut owned = object("a", "x");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r1"}]);
    put(&mut state, owned);
    assert_eq!(state.owned("r1", &PODS).len(), 1);
    put(&mut state, object("a", "x"));
    assert!(state.owned_keys("r1").is_empty());
}

#[test]
fn refuses_an_object_larger_than_etcd_would_take() {
    let mut state = State::new(Settings::default());
    let mut large = object("a", "x");
    large["data"] = "x".repeat(MAX_OBJECT_BYTES).into();
    let refused = state.put(&Key::of(&PODS, &large), large).unwrap_err();
    assert_eq!(refused.code, 413);
}
