use serde_json::json;

use super::*;
use crate::domain::helm::record::tests::record;

fn manifest(image: &str, config: Option<&str>) -> String {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": template(image)},
    });
    let config = config.map(|value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": value}})
    });
    let documents = [config, Some(deployment)].into_iter().flatten();
    documents
        .map(|one| one.to_string())
        .collect::<Vec<_>>()
        .join("\n---\n")
}

fn template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": image}]}})
}

fn planned(
    history: &[Record],
    from: &str,
    to: &str,
) -> Result<Option<ReleasePlan>, ReleaseRefusal> {
    let (from, to) = (template(from), template(to));
    let member = Member {
        release: "web",
        namespace: "shop",
        group: "apps",
        kind: "Deployment",
        name: "web",
        from: &from,
        to: &to,
    };
    plan(history, &member)
}

fn without_hooks(version: u64, status: &str, manifest: &str) -> Record {
    let mut body =
        serde_json::from_slice::<Value>(&serde_json::to_vec(&json!({})).unwrap()).unwrap();
    body["name"] = "web".into();
    body["version"] = version.into();
    body["manifest"] = manifest.into();
    body["apply_method"] = "ssa".into();
    body["info"] = json!({"status": status});
    let packed =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body.to_string());
    Record::read(&std::collections::BTreeMap::new(), packed.as_bytes()).unwrap()
}

#[test]
fn finds_the_newest_revision_with_the_target_template() {
    let history = [
        without_hooks(1, "superseded", &manifest("web:1", Some("old"))),
        without_hooks(2, "superseded", &manifest("web:1", Some("new"))),
        without_hooks(3, "failed", &manifest("web:1", None)),
        without_hooks(4, "deployed", &manifest("web:2", Some("bad"))),
    ];
    let plan = planned(&history, "web:2", "web:1").unwrap().unwrap();
    assert_eq!(
        (plan.from_revision, plan.to_revision, plan.new_revision),
        (4, 2, 5)
    );
    let objects: Vec<_> = plan
        .objects
        .iter()
        .map(|one| (one.action, one.fields.clone()))
        .collect();
    assert_eq!(objects, [(Action::Change, vec!["data.mode".to_owned()])]);
    assert!(plan.interrupted.is_none());
}

#[test]
fn ends_an_interrupted_upgrade() {
    let history = [
        without_hooks(1, "deployed", &manifest("web:1", None)),
        without_hooks(2, "pending-upgrade", &manifest("web:2", Some("x"))),
    ];
    let plan = planned(&history, "web:2", "web:1").unwrap().unwrap();
    assert_eq!(plan.interrupted.as_deref(), Some("pending-upgrade"));
    assert_eq!(plan.objects[0].action, Action::Remove);
    let new = Record::rollback(&history[1], &history[0], "now");
    let all = [history[0].clone(), history[1].clone(), new];
    let words = |end| -> Vec<(u64, String)> {
        let written = ended(&all, &plan, end);
        written
            .iter()
            .map(|one| (one.version, one.status_word().to_owned()))
            .collect()
    };
    assert_eq!(
        words(End::Deployed),
        [
            (1, "superseded".into()),
            (2, "failed".into()),
            (3, "deployed".into())
        ]
    );
    assert_eq!(
        words(End::Failed("no pod")),
        [(2, "failed".into()), (3, "failed".into())]
    );
    let after: Vec<Record> = ended(&all, &plan, End::Deployed);
    assert!(
        ended(&after, &plan, End::Deployed).is_empty(),
        "again writes nothing"
    );
}

#[test]
fn refuses_what_helm_could_not_be_told() {
    let history = [
        without_hooks(1, "superseded", &manifest("web:1", None)),
        without_hooks(2, "deployed", &manifest("web:2", None)),
    ];
    assert!(matches!(
        planned(&history, "web:2", "web:hand"),
        Err(ReleaseRefusal::UnknownTemplate(_))
    ));
    assert!(matches!(
        planned(&[], "web:2", "web:1"),
        Err(ReleaseRefusal::NoRecords(_))
    ));
    assert!(matches!(
        planned(&history, "web:hand", "web:2"),
        Err(ReleaseRefusal::LastAlready { revision: 2, .. })
    ));
    assert!(
        planned(&history, "web:hand", "web:other")
            .unwrap()
            .is_none(),
        "nothing of it is Helm's"
    );
    let hooks = [
        record(1, "superseded", &manifest("web:1", None)),
        history[1].clone(),
    ];
    assert!(matches!(
        planned(&hooks, "web:2", "web:1"),
        Err(ReleaseRefusal::Hooks { .. })
    ));
    let gone = [
        history[0].clone(),
        without_hooks(2, "uninstalling", &manifest("web:2", None)),
    ];
    assert!(matches!(
        planned(&gone, "web:2", "web:1"),
        Err(ReleaseRefusal::Uninstalled(_))
    ));
    let other = manifest("web:2", Some("x")).replace(
        "\"name\":\"settings\"",
        "\"name\":\"settings\",\"namespace\":\"kube-system\"",
    );
    let other = [history[0].clone(), without_hooks(2, "deployed", &other)];
    assert!(matches!(
        planned(&other, "web:2", "web:1"),
        Err(ReleaseRefusal::OtherNamespace { .. })
    ));
}
