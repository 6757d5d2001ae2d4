//! The skills over a fake inventory and a memory store.

use std::sync::Arc;

use monitoring_agent::{
    clients::{Inventory, Observed, Wanted},
    domain::{
        At, Attribution, Change, Container, ContainerState, Current, Finding, Key, Pod, Revision,
        Severity, Thresholds, Trigger, Verdict, Workload,
        dora::{Definition, Interval, Question, Report, measure},
        slo::{Budget, Counts},
    },
    ledger::Ledger,
    skills::{CheckHealth, GetIncident, ListIncidents, check_health, list_incidents},
};
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};
use store::memory::MemoryStore;

const T0: At = At::from_millis(1_793_000_000_000);

#[derive(Debug, Clone, Default)]
struct Fixed(Observed);

#[async_trait::async_trait]
impl Inventory for Fixed {
    async fn observe(&self, _: &str, wanted: &Wanted) -> Result<Observed, SkillError> {
        let mut observed = self.0.clone();
        observed
            .workloads
            .retain(|w| wanted.is(w.key.kind, &w.key.name));
        Ok(observed)
    }
}

fn key(name: &str) -> Key {
    Key::deployment("shop", name)
}

/// Workloads of one pod each; a name that begins with `bad` crashes.
fn observed(names: &[&str]) -> Fixed {
    let mut observed = Observed::default();
    for name in names {
        let bad = name.starts_with("bad");
        let good = u32::from(!bad);
        observed.workloads.push(Workload {
            key: key(name),
            uid: format!("d-{name}"),
            generation: 1,
            observed_generation: 1,
            desired: 1,
            total: 1,
            updated: 1,
            ready: good,
            available: good,
            current: Current::Number(4),
            ..Workload::default()
        });
        observed.revisions.push(Revision {
            uid: format!("s-{name}"),
            namespace: "shop".into(),
            name: format!("{name}-4"),
            owner: format!("d-{name}"),
            number: 4,
            created: T0,
            replica_set: true,
            ..Revision::default()
        });
        let crash = ContainerState::Waiting("CrashLoopBackOff".into());
        observed.pods.push(Pod {
            uid: format!("p-{name}"),
            namespace: "shop".into(),
            name: format!("{name}-4-x"),
            owner: format!("s-{name}"),
            node: Some("n1".into()),
            created: T0,
            ready: !bad,
            containers: vec![Container {
                name: "web".into(),
                ready: !bad,
                started: true,
                restarts: 2,
                state: if bad {
                    crash
                } else {
                    ContainerState::Running(T0)
                },
                ..Container::default()
            }],
            ..Pod::default()
        });
    }
    Fixed(observed)
}

async fn check(names: &[&str], input: Value) -> Result<check_health::Output, SkillError> {
    let skill = CheckHealth {
        inventory: Arc::new(observed(names)),
        thresholds: Thresholds::default(),
    };
    let (context, _) = FakeAgent::default().namespace("shop").context();
    skill
        .run(
            &context,
            serde_json::from_value(input).expect("an input of the skill"),
        )
        .await
}

#[tokio::test]
async fn the_worst_workload_decides_and_the_evidence_names_its_pods() {
    let output = check(&["api", "bad-web"], json!({"namespace": "shop"}))
        .await
        .unwrap();
    assert_eq!(output.verdict, Verdict::Failing);
    let [api, web] = &output.workloads[..] else {
        panic!("two workloads")
    };
    assert_eq!((api.verdict, api.bad_pods.len()), (Verdict::Healthy, 0));
    assert_eq!((web.verdict, web.revision), (Verdict::Failing, Some(4)));
    let shown = serde_json::to_value(&web.bad_pods).unwrap();
    let expected = json!([{"name": "bad-web-4-x", "reason": "crash_loop", "current_revision": true, "restarts": 2, "node": "n1"}]);
    assert_eq!(shown, expected);
    let one = json!({"namespace": "shop", "workload": {"kind": "Deployment", "name": "api"}});
    let output = check(&["api", "bad-web"], one).await.unwrap();
    assert_eq!(
        (output.verdict, output.workloads.len()),
        (Verdict::Healthy, 1)
    );
    let output = check(&[], json!({"namespace": "shop"})).await.unwrap();
    assert_eq!(output.verdict, Verdict::Healthy, "nothing is nothing wrong");
}

#[tokio::test]
async fn refuses_other_namespaces_unknown_names_and_what_is_no_name() {
    let denied = check(&[], json!({"namespace": "kube-system"}))
        .await
        .unwrap_err();
    assert!(matches!(denied, SkillError::Denied(_)));
    for (input, field) in [
        (json!({"namespace": "../shop"}), "namespace"),
        (json!({"namespace": ""}), "namespace"),
        (
            json!({"namespace": "shop", "workload": {"kind": "Deployment", "name": "A/b"}}),
            "workload.name",
        ),
        (
            json!({"namespace": "shop", "workload": {"kind": "Deployment", "name": "web"}}),
            "workload.name",
        ),
    ] {
        let error = check(&["api"], input).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field: f, .. } if f == field),
            "{error}"
        );
    }
    for wrong in [
        json!({}),
        json!({"namespace": "shop", "workload": {"kind": "Pod", "name": "x"}}),
        json!({"namespace": "shop", "extra": 1}),
    ] {
        assert!(serde_json::from_value::<check_health::Input>(wrong).is_err());
    }
}

fn finding(name: &str) -> Finding {
    Finding {
        key: key(name),
        fingerprint: format!("shop/{name}/d/s"),
        trigger: Trigger::NewRevisionFailing,
        severity: Severity::Sev1,
        attribution: Attribution::Release,
        subject: None,
        because: "only pods of the new revision are bad".into(),
        revision: Some(2),
        change_at: T0,
        change: Change::default(),
        began_at: T0.plus(200),
        evidence: vec!["pod web-2-x is bad".into()],
        traceparent: None,
    }
}

async fn listed(ledger: &Ledger, input: Value) -> Result<Vec<String>, SkillError> {
    let (context, _) = FakeAgent::default().namespace("shop").context();
    let input: list_incidents::Input =
        serde_json::from_value(input).expect("an input of the skill");
    let output = ListIncidents(ledger.clone()).run(&context, input).await?;
    Ok(output
        .incidents
        .into_iter()
        .map(|incident| incident.workload.name)
        .collect())
}

#[tokio::test]
async fn incidents_are_listed_newest_first_and_filtered() {
    let ledger = Ledger::new(Arc::new(MemoryStore::default()));
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let now = T0.plus(i64::try_from(at).unwrap());
        let mut incident = ledger.open(finding(name), now).await.unwrap().unwrap();
        if name == "b" {
            incident.resolve("over", now);
            ledger.keep(&incident).await.unwrap();
        }
    }
    assert_eq!(listed(&ledger, json!({})).await.unwrap(), ["c", "b", "a"]);
    assert_eq!(
        listed(&ledger, json!({"state": "open"})).await.unwrap(),
        ["c", "a"]
    );
    assert_eq!(
        listed(&ledger, json!({"state": "resolved"})).await.unwrap(),
        ["b"]
    );
    assert_eq!(
        listed(&ledger, json!({"limit": 1, "namespace": "shop"}))
            .await
            .unwrap(),
        ["c"]
    );
    let error = listed(&ledger, json!({"limit": 501})).await.unwrap_err();
    assert_eq!(error.to_string(), "limit: expected 1 to 500, got 501");
    let other = listed(&ledger, json!({"namespace": "kube-system"}))
        .await
        .unwrap_err();
    assert!(matches!(other, SkillError::Denied(_)));
}

#[tokio::test]
async fn the_same_cause_gets_the_next_episode_and_ids_that_do_not_change() {
    let ledger = Ledger::new(Arc::new(MemoryStore::default()));
    let first = ledger.open(finding("web"), T0).await.unwrap().unwrap();
    let second = ledger
        .open(finding("web"), T0.plus(1))
        .await
        .unwrap()
        .unwrap();
    let other = ledger.open(finding("api"), T0).await.unwrap().unwrap();
    assert_eq!((first.episode, second.episode, other.episode), (1, 2, 1));
    let stem = |id: &str| id.rsplit_once('-').unwrap().0.to_owned();
    assert_eq!(stem(&first.id), stem(&second.id));
    assert_ne!(stem(&first.id), stem(&other.id));
    let again = Ledger::new(Arc::new(MemoryStore::default()));
    assert_eq!(
        again.open(finding("web"), T0).await.unwrap().unwrap().id,
        first.id
    );
}

#[tokio::test]
async fn an_incident_is_shown_whole_and_only_to_its_namespace() {
    let ledger = Ledger::new(Arc::new(MemoryStore::default()));
    let incident = ledger
        .open(finding("web"), T0.plus(1_700))
        .await
        .unwrap()
        .unwrap();
    let show = |id: &str, namespace: &str| {
        let (context, _) = FakeAgent::default().namespace(namespace).context();
        let input = serde_json::from_value(json!({"id": id})).unwrap();
        let ledger = ledger.clone();
        async move { GetIncident(ledger).run(&context, input).await }
    };
    assert_eq!(show(&incident.id, "shop").await.unwrap(), incident);
    assert!(matches!(
        show(&incident.id, "other").await,
        Err(SkillError::Denied(_))
    ));
    assert!(matches!(
        show("inc-0-1", "shop").await,
        Err(SkillError::Rejected { .. })
    ));
    let long = "x".repeat(100_000);
    assert!(matches!(
        show(&long, "shop").await,
        Err(SkillError::Rejected { .. })
    ));
}

#[test]
fn the_manifest_declares_the_metrics_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let fleet = manifest::load_dir(&folder).unwrap();
    let declared = &fleet
        .manifest("monitoring-agent")
        .unwrap()
        .observability
        .custom_metrics;
    let mut names: Vec<&str> = declared.iter().map(|metric| metric.name.as_str()).collect();
    names.sort_unstable();
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = monitoring_agent::Metrics::register(&mut registry);
    let finding = finding("web");
    metrics.opened(&monitoring_agent::domain::Incident::open(
        finding,
        "i".into(),
        1,
        T0,
    ));
    metrics.violated("web-availability");
    metrics.webhooks.add("push", "kept");
    metrics.dora.set(&full_report());
    let budget = Budget {
        requests: Counts::default(),
        left: 1.0,
        bad_left: 0.0,
    };
    metrics.measured("web-availability", &budget);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("incidents_detected_total{severity=\"SEV1\",namespace=\"shop\"} 1"),
        "{text}"
    );
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut registered: Vec<String> = types
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect();
    registered.sort_unstable();
    assert_eq!(registered, names);
}

/// A report in which every metric has a number.
fn full_report() -> Report {
    let question = Question {
        from: 0,
        to: 1,
        tier: "production".into(),
        definition: Definition::Strict,
        interval: Interval::All,
    };
    let mut report = measure(&[], &question);
    for metric in [
        &mut report.deployment_frequency,
        &mut report.lead_time_for_changes,
        &mut report.change_failure_rate,
        &mut report.time_to_restore,
        &mut report.rework_rate,
    ] {
        metric.value = Some(1.0);
    }
    report
}
