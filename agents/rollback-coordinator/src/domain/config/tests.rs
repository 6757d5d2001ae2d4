use super::*;

fn reference(kind: ConfigKind, name: &str) -> Reference {
    Reference {
        kind,
        name: name.into(),
        optional: false,
        in_environment: true,
    }
}

#[test]
fn finds_every_place_that_names_configuration() {
    let template = json!({"spec": {
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "init", "envFrom": [{"secretRef": {"name": "init", "optional": true}}]}],
        "containers": [
            {"name": "a", "envFrom": [{"configMapRef": {"name": "env"}}, {"prefix": "X"}], "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "both", "key": "k", "optional": true}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ]},
        ],
        "volumes": [
            {"name": "a", "configMap": {"name": "both"}},
            {"name": "b", "secret": {"secretName": "mounted", "optional": true}},
            {"name": "c", "projected": {"sources": [
                {"configMap": {"name": "projected"}}, {"secret": {"name": "projected"}}, {"serviceAccountToken": {}},
            ]}},
            {"name": "d", "emptyDir": {}},
        ],
    }});
    let said: Vec<_> = references(&template)
        .into_iter()
        .map(|one| (one.to_string(), one.optional, one.in_environment))
        .collect();
    let said: Vec<_> = said
        .iter()
        .map(|(name, a, b)| (name.as_str(), *a, *b))
        .collect();
    assert_eq!(
        said,
        [
            ("ConfigMap both", false, true),
            ("ConfigMap env", false, true),
            ("ConfigMap projected", false, false),
            ("Secret init", true, true),
            ("Secret key", false, true),
            ("Secret mounted", true, false),
            ("Secret projected", false, false),
        ]
    );
}

fn map(data: &Value) -> Value {
    json!({"metadata": {"name": "settings", "labels": {"a": "b"}, "resourceVersion": "7"}, "data": data})
}

fn owner() -> Owner {
    Owner {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "web".into(),
        uid: "u".into(),
    }
}

#[test]
fn a_copy_holds_the_content_and_belongs_to_the_workload() {
    let (settings, original) = (
        reference(ConfigKind::ConfigMap, "settings"),
        map(&json!({"a": "1"})),
    );
    let copy = copy(&settings, &original, "0123456789abcdef0123456789", &owner());
    assert_eq!(content(&copy), content(&original));
    assert_eq!(
        copy["metadata"]["name"],
        "settings-kept-0123456789abcdef0123"
    );
    assert!(owner().owns(&copy) && is_immutable(&copy));
    let long = reference(ConfigKind::Secret, &"x".repeat(253));
    assert!(copy_name(&long, &"f".repeat(64)).len() <= 253);
}

#[test]
fn a_content_comes_back_whatever_became_of_it() {
    let settings = reference(ConfigKind::Secret, "settings");
    let mut original = map(&json!({"a": "1", "b": "2"}));
    original["type"] = "kubernetes.io/tls".into();
    let copy = copy(&settings, &original, "hash", &owner());
    assert_eq!(restore(&settings, &copy, Some(&original)), Restore::Nothing);
    let changed = map(&json!({"a": "9", "new": "1"}));
    let patch = json!({"data": {"a": "1", "b": "2", "new": null}});
    assert_eq!(
        restore(&settings, &copy, Some(&changed)),
        Restore::Patch(patch)
    );
    let made = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "settings"}, "data": {"a": "1", "b": "2"},
    });
    assert_eq!(
        restore(&settings, &copy, None),
        Restore::Create(made.clone())
    );
    let mut fixed = changed;
    fixed["immutable"] = true.into();
    let mut again = made;
    again["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(
        restore(&settings, &copy, Some(&fixed)),
        Restore::Replace(again)
    );
}

#[test]
fn a_change_names_keys_and_never_values() {
    let kept = Kept {
        reference: reference(ConfigKind::Secret, "settings"),
        hash: Some("good".into()),
    };
    let before = json!({"data": {"added": "s3cret", "same": "s3cret", "other": "s3cret"}});
    let after =
        json!({"data": {"same": "s3cret", "other": "s3cret-2"}, "binaryData": {"gone": "s3cret"}});
    let change = ConfigChange::between(&kept, (&before, &after), Some("bad".into())).unwrap();
    assert_eq!(
        (change.added.as_slice(), change.removed.as_slice()),
        (
            ["added".to_owned()].as_slice(),
            ["gone".to_owned()].as_slice()
        )
    );
    assert_eq!(change.changed, ["other"]);
    let shown = format!("{} {}", json!(change), change.reason());
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(ConfigChange::between(&kept, (&before, &after), Some("good".into())).is_none());
    let absent = Kept { hash: None, ..kept };
    assert!(ConfigChange::between(&absent, (&before, &after), None).is_none());
}

#[test]
fn what_was_changed_long_before_the_release_is_no_part_of_it() {
    let released = time::macros::datetime!(2026-01-01 12:00 UTC);
    let changed = |stamp: &str| json!({"metadata": {"managedFields": [{"time": "2025-01-01T00:00:00Z"}, {"time": stamp}]}});
    assert!(is_older(&changed("2026-01-01T11:44:59Z"), released));
    assert!(!is_older(&changed("2026-01-01T11:50:00Z"), released));
    assert!(!is_older(&changed("2026-01-01T12:10:00Z"), released));
    assert!(!is_older(&json!({}), released), "nobody knows");
}

#[test]
fn counts_the_bytes_of_a_content() {
    assert_eq!(
        size(&json!({"data": {"ab": "cde"}, "binaryData": {"f": "g"}})),
        7
    );
}
