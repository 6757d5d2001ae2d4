//! Releases: after our rollback Helm sees what it would have done itself.

use std::{collections::BTreeMap, io::Read as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use control_plane::{
    ControlPlane,
    simulation::{Behaviour, Fault},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret, Service},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use rollback_coordinator::{
    domain::helm::{End, Member, ReleasePlan},
    release::Releases,
};
use serde_json::{Value, json};
use shared::SkillError;

use crate::support::{SHOP, agent_objects, context, helm, plane, ready, template, try_helm};

/// Content of the bad revision.
const BAD: &str = "--set image=example/app:2,mode=new,extra=true,legacy=false,env.ADDED=1";

/// Asks for a plan from one revision of a Deployment to revision 1.
async fn plan(
    releases: &Releases,
    client: &Client,
    name: &str,
    from: u32,
) -> Result<Option<ReleasePlan>, SkillError> {
    let (from, to) = (
        template(client, name, from).await,
        template(client, name, 1).await,
    );
    plan_between(releases, name, (&from, &to)).await
}

async fn plan_between(
    releases: &Releases,
    name: &str,
    (from, to): (&Value, &Value),
) -> Result<Option<ReleasePlan>, SkillError> {
    let member = Member {
        release: name,
        namespace: SHOP,
        group: "apps",
        kind: "Deployment",
        name,
        from,
        to,
    };
    releases.plan(&context().0, &member).await
}

/// All steps of a rollback that concern Helm.
async fn go_back(releases: &Releases, plan: &ReleasePlan, replicas: u32) {
    let (context, agent) = context();
    releases.claim(&context, plan, "task-1").await.unwrap();
    releases.claim(&context, plan, "task-1").await.unwrap();
    releases.restore_others(&context, plan).await.unwrap();
    releases
        .restore_workload(&context, plan, replicas)
        .await
        .unwrap();
    releases
        .finish(&context, plan, End::Deployed)
        .await
        .unwrap();
    releases
        .finish(&context, plan, End::Deployed)
        .await
        .unwrap();
    assert!(
        agent
            .trail()
            .iter()
            .any(|record| record.contains("kubernetes.patch"))
    );
}

/// The records of a release by revision: labels, and what is packed in them.
async fn records(client: &Client, release: &str) -> BTreeMap<u32, (Value, Value)> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SHOP);
    let list = ListParams::default().labels(&format!("owner=helm,name={release}"));
    let unpack = |secret: &Secret| {
        assert_eq!(secret.type_.as_deref(), Some("helm.sh/release.v1"));
        let packed = &secret.data.as_ref().unwrap()["release"].0;
        let packed = STANDARD.decode(packed).unwrap();
        let mut json = String::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_string(&mut json)
            .unwrap();
        let body: Value = serde_json::from_str(&json).unwrap();
        let name = format!("sh.helm.release.v1.{release}.v{}", body["version"]);
        assert_eq!(secret.name_any(), name);
        (
            secret.labels()["version"].parse().unwrap(),
            (json!(secret.labels()), body),
        )
    };
    secrets
        .list(&list)
        .await
        .unwrap()
        .iter()
        .map(unpack)
        .collect()
}

fn statuses(records: &BTreeMap<u32, (Value, Value)>) -> Vec<(u32, String)> {
    let word = |(version, (labels, body)): (&u32, &(Value, Value))| {
        assert_eq!(
            labels["status"], body["info"]["status"],
            "label and record agree"
        );
        (
            *version,
            body["info"]["status"].as_str().unwrap().to_owned(),
        )
    };
    records.iter().map(word).collect()
}

/// A record without what two of them never share: times and the name of the release.
fn comparable((labels, body): &(Value, Value), release: &str) -> (Value, Value) {
    let (mut labels, mut body) = (labels.clone(), body.clone());
    for stamp in ["createdAt", "modifiedAt"] {
        if let Some(seconds) = labels.get_mut(stamp) {
            assert!(seconds.as_str().unwrap().parse::<u64>().is_ok());
            *seconds = "a time".into();
        }
    }
    for stamp in ["first_deployed", "last_deployed"] {
        let time = &mut body["info"][stamp];
        let parsed = time::OffsetDateTime::parse(
            time.as_str().unwrap(),
            &time::format_description::well_known::Rfc3339,
        );
        assert!(parsed.is_ok(), "{time}");
        *time = "a time".into();
    }
    let text = |value: &Value| value.to_string().replace(release, "RELEASE");
    let parse = |value: &Value| serde_json::from_str(&text(value)).unwrap();
    (parse(&labels), parse(&body))
}

/// What the release brought in, without what two of them never share.
async fn state(client: &Client, release: &str) -> Value {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), SHOP);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SHOP);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SHOP);
    let services: Api<Service> = Api::namespaced(client.clone(), SHOP);
    let mut settings = maps.get(&format!("{release}-settings")).await.unwrap();
    let mut web = deployments.get(release).await.unwrap();
    let service = services.get(release).await.unwrap();
    let shown = json!({
        "settings": settings.data, "settings marks": settings.metadata.annotations,
        "settings owners": owners(settings.managed_fields_mut()),
        "legacy": maps.get_opt(&format!("{release}-legacy")).await.unwrap().map(|one| one.data),
        "extra": secrets.get_opt(&format!("{release}-extra")).await.unwrap().is_some(),
        "spec": web.spec, "labels": web.labels().clone(), "owners": owners(web.managed_fields_mut()),
        "ports": service.spec.unwrap().ports,
    });
    serde_json::from_str(&shown.to_string().replace(release, "RELEASE")).unwrap()
}

fn owners(fields: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry]) -> Value {
    let mut owners: Vec<Value> = fields
        .iter()
        .filter(|entry| entry.subresource.is_none() && entry.manager.as_deref() == Some("helm"))
        .map(|entry| json!([entry.manager, entry.operation, entry.fields_v1]))
        .collect();
    owners.sort_by_key(Value::to_string);
    owners.into()
}

/// Our rollback of one release and Helm's own of its twin: records, objects and field owners are the same.
async fn compare_with_helm((ours, twin): (&str, &str), method: &str) {
    let (plane, client) = plane().await;
    for release in [ours, twin] {
        helm(
            plane,
            &format!("install {release} CHART {method} --labels team=shop"),
        )
        .await;
        ready(&client, release).await;
        helm(plane, &format!("upgrade {release} CHART {BAD}")).await;
        ready(&client, release).await;
    }
    let before = helm(plane, &format!("get manifest {ours} --revision 1")).await;

    let releases = Releases(agent_objects(plane).await);
    let planned = plan(&releases, &client, ours, 2).await.unwrap().unwrap();
    assert_eq!(
        (
            planned.from_revision,
            planned.to_revision,
            planned.new_revision
        ),
        (2, 1, 3)
    );
    let shown = serde_json::to_string(&planned).unwrap();
    assert!(
        shown.contains("data.mode") && !shown.contains("\"new\""),
        "names, no values: {shown}"
    );
    go_back(&releases, &planned, 2).await;
    helm(plane, &format!("rollback {twin} 1")).await;

    let (web, other) = (ready(&client, ours).await, ready(&client, twin).await);
    assert_eq!(web.spec.replicas, other.spec.replicas);
    let (own, helms) = (records(&client, ours).await, records(&client, twin).await);
    assert_eq!(statuses(&own), statuses(&helms));
    for version in 1..=3 {
        let (labels, mut body) = comparable(&own[&version], ours);
        // Helm writes this field from 4.3 on; the pinned one does not know it and ignores it.
        let back = body["info"]
            .as_object_mut()
            .unwrap()
            .remove("rollback_revision");
        assert_eq!(back, (version == 3).then(|| json!(1)));
        assert_eq!(
            (labels, body),
            comparable(&helms[&version], twin),
            "revision {version}"
        );
    }
    assert_eq!(state(&client, ours).await, state(&client, twin).await);
    assert_eq!(helm(plane, &format!("get manifest {ours}")).await, before);
    no_surprise(plane, &client, ours).await;
}

/// Helm goes on with a release as if it had rolled it back itself.
async fn no_surprise(plane: &ControlPlane, client: &Client, release: &str) {
    let history = helm(plane, &format!("history {release} -o json")).await;
    let history: Value = serde_json::from_str(&history).unwrap();
    let last = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["status"], &last["description"]),
        (&json!("deployed"), &json!("Rollback to 1"))
    );
    let status = helm(plane, &format!("status {release}")).await;
    assert!(
        status.contains("STATUS: deployed") && status.contains("runs in mode old"),
        "{status}"
    );
    let revision = last["revision"].as_u64().unwrap();

    helm(
        plane,
        &format!("upgrade {release} CHART --set image=example/app:3,replicas=3,extra=true"),
    )
    .await;
    let web = ready(client, release).await.spec;
    let image = |spec: &k8s_openapi::api::apps::v1::DeploymentSpec| {
        spec.template.spec.as_ref().unwrap().containers[0]
            .image
            .clone()
            .unwrap()
    };
    assert_eq!(
        (web.replicas, image(&web)),
        (Some(3), "example/app:3".into())
    );
    helm(plane, &format!("rollback {release} {revision}")).await;
    let web = ready(client, release).await.spec;
    assert_eq!(
        (web.replicas, image(&web)),
        (Some(2), "example/app:1".into())
    );
    let records = records(client, release).await;
    let deployed = statuses(&records)
        .into_iter()
        .filter(|(_, status)| status == "deployed");
    assert_eq!(deployed.count(), 1);
}

#[tokio::test]
async fn a_release_goes_back_as_helm_takes_it_back() {
    compare_with_helm(("ours-ssa", "twin-ssa"), "--server-side=true").await;
}

#[tokio::test]
async fn a_release_that_is_merged_by_the_client_goes_back_too() {
    compare_with_helm(("ours-csa", "twin-csa"), "--server-side=false").await;
}

/// Helm is killed in the middle of an upgrade: nothing that it says afterwards is a dead end.
#[tokio::test]
async fn a_killed_upgrade_is_healed() {
    let (plane, client) = plane().await;
    let release = "killed";
    helm(plane, &format!("install {release} CHART")).await;
    ready(&client, release).await;
    let crash = json!(Behaviour::failing(Fault::CrashLoop).annotations()).to_string();
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_cluster/chart");
    let crash = format!("annotations={crash}");
    let arguments = [
        "upgrade",
        release,
        chart,
        "-n",
        SHOP,
        "--set-json",
        &crash,
        "--wait",
        "--timeout",
        "100s",
    ];
    let mut running = plane.helm().command(&arguments).spawn().unwrap();
    while records(&client, release).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    template(&client, release, 2).await;
    running.kill().await.unwrap();
    let (succeeded, printed) = try_helm(plane, &format!("upgrade {release} CHART")).await;
    assert!(
        !succeeded && printed.contains("another operation"),
        "{printed}"
    );

    let releases = Releases(agent_objects(plane).await);
    let planned = plan(&releases, &client, release, 2).await.unwrap().unwrap();
    assert_eq!(planned.interrupted.as_deref(), Some("pending-upgrade"));
    go_back(&releases, &planned, 2).await;
    ready(&client, release).await;
    let expected = [(1, "superseded"), (2, "failed"), (3, "deployed")];
    assert_eq!(
        statuses(&records(&client, release).await),
        expected.map(|(n, word)| (n, word.to_owned()))
    );
    no_surprise(plane, &client, release).await;
}

/// The steps before wrote the workload under the agent's own name: Helm may change those fields afterwards.
#[tokio::test]
async fn helm_gets_the_fields_back_that_the_rollback_wrote() {
    let (plane, client) = plane().await;
    let release = "fields";
    helm(plane, &format!("install {release} CHART")).await;
    ready(&client, release).await;
    helm(plane, &format!("upgrade {release} CHART {BAD}")).await;
    ready(&client, release).await;
    let (bad, good) = (
        template(&client, release, 2).await,
        template(&client, release, 1).await,
    );
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SHOP);
    let params = PatchParams {
        field_manager: Some("rollback-coordinator".into()),
        ..PatchParams::default()
    };
    for patch in [
        json!({"spec": {"replicas": 0}}),
        json!({"spec": {"replicas": 2, "template": good}}),
    ] {
        deployments
            .patch(release, &params, &Patch::Merge(patch))
            .await
            .unwrap();
    }
    let (succeeded, printed) =
        try_helm(plane, &format!("upgrade {release} CHART --set replicas=5")).await;
    assert!(
        !succeeded && printed.contains("conflict"),
        "this is what is to be avoided: {printed}"
    );

    let releases = Releases(agent_objects(plane).await);
    let planned = plan_between(&releases, release, (&bad, &good))
        .await
        .unwrap()
        .unwrap();
    go_back(&releases, &planned, 2).await;
    ready(&client, release).await;
    no_surprise(plane, &client, release).await;
}

#[tokio::test]
async fn a_claim_keeps_helm_out_and_is_taken_back_without_a_trace() {
    let (plane, client) = plane().await;
    let release = "claimed";
    helm(plane, &format!("install {release} CHART")).await;
    ready(&client, release).await;
    helm(plane, &format!("upgrade {release} CHART {BAD}")).await;
    ready(&client, release).await;
    let (before, was) = (
        records(&client, release).await,
        state(&client, release).await,
    );
    let releases = Releases(agent_objects(plane).await);
    let planned = plan(&releases, &client, release, 2).await.unwrap().unwrap();

    let (context, _) = context();
    releases.claim(&context, &planned, "task-1").await.unwrap();
    let (succeeded, printed) = try_helm(plane, &format!("upgrade {release} CHART")).await;
    assert!(
        !succeeded && printed.contains("another operation"),
        "{printed}"
    );
    let other = releases
        .claim(&context, &planned, "task-2")
        .await
        .unwrap_err();
    assert!(other.to_string().contains("in between"), "{other}");
    releases.restore_others(&context, &planned).await.unwrap();
    assert_ne!(state(&client, release).await, was);
    releases.undo_others(&context, &planned).await.unwrap();
    releases
        .unclaim(&context, &planned, "task-2")
        .await
        .unwrap();
    releases
        .unclaim(&context, &planned, "task-1")
        .await
        .unwrap();
    assert_eq!(records(&client, release).await, before);
    assert_eq!(state(&client, release).await, was);

    releases.claim(&context, &planned, "task-1").await.unwrap();
    releases
        .finish(&context, &planned, End::Failed("no pod was ready"))
        .await
        .unwrap();
    let failed = records(&client, release).await;
    assert_eq!(
        failed[&3].1["info"]["description"],
        "Rollback \"claimed\" failed: no pod was ready"
    );
    helm(plane, &format!("rollback {release} 1")).await;
}

#[tokio::test]
async fn rollback_hooks_are_refused() {
    let (plane, client) = plane().await;
    let release = "hooks";
    helm(plane, &format!("install {release} CHART --set hook=true")).await;
    ready(&client, release).await;
    helm(plane, &format!("upgrade {release} CHART {BAD}")).await;
    ready(&client, release).await;
    let releases = Releases(agent_objects(plane).await);
    let refused = plan(&releases, &client, release, 2).await.unwrap_err();
    assert!(refused.to_string().contains("hooks-hook"), "{refused}");
}
