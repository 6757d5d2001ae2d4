//! The lock, GitOps and the controllers of the same fields on a real control plane, with the rights that are rendered for
//! the agent. Nobody plays Argo CD, Flux, KEDA or Flagger here but the tests; the autoscaler is Kubernetes' own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "helpers of a test stop at what they do not expect"
)]

mod coordinator;

use std::{sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs};
use control_plane::{ControlPlane, simulation::Behaviour};
use coordinator::*;
use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, coordination::v1::Lease,
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use rollback_coordinator::{
    clients::{Kubernetes, KubernetesObjects, RolloutControl},
    domain::{Health, Kind, Outcome, PauseState, Step, Workload, WorkloadId},
    guard::{Guard, Settings, sweep::Sweep},
    history::History,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ExecuteRollbackOutput, Planner, ResumeGitops},
};
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_apps_stays_paused_until_git_holds_the_good_revision() {
    let one = Coordinator::start().await;
    one.apply(&application("argo-web", "argo", "argo-root"))
        .await;
    one.apply(&application("argo-root", "argo", "argo-root"))
        .await;
    let before = (
        one.get("Application", "argo-web").await["spec"].clone(),
        one.get("Application", "argo-root").await["spec"].clone(),
    );
    one.deploy("argo", &json!({"metadata": tracked("argo-web")}))
        .await;
    let output = one.roll_back("argo", peers()).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(output.gitops.unwrap().state, PauseState::Paused);
    let enabled = |live: &Value| live["spec"]["syncPolicy"]["automated"]["enabled"].clone();
    for name in ["argo-web", "argo-root"] {
        let live = one.get("Application", name).await;
        assert_eq!(enabled(&live), false, "{name}");
        let managers = live["metadata"]["managedFields"].to_string();
        assert!(managers.contains("rollback-coordinator"), "{managers}");
    }
    one.sweep().await;
    assert_eq!(
        enabled(&one.get("Application", "argo-web").await),
        false,
        "Git still is bad"
    );
    let mut status = one.get("Application", "argo-web").await["status"].clone();
    status["sync"]["revision"] = "good".into();
    one.patch("Application", "argo-web", &json!({"status": status}))
        .await;
    one.sweep().await;
    assert_eq!(
        enabled(&one.get("Application", "argo-web").await),
        false,
        "it differs"
    );
    status["resources"][0]["status"] = "Synced".into();
    one.patch("Application", "argo-web", &json!({"status": status}))
        .await;
    one.sweep().await;
    let after = (
        one.get("Application", "argo-web").await["spec"].clone(),
        one.get("Application", "argo-root").await["spec"].clone(),
    );
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_is_suspended_with_what_applies_it_and_goes_on_when_somebody_says_so() {
    let one = Coordinator::start().await;
    let labels = |word: &str, name: &str| {
        let (key, namespace) = (
            format!("{word}.toolkit.fluxcd.io/name"),
            format!("{word}.toolkit.fluxcd.io/namespace"),
        );
        json!({key: name, namespace: "shop"})
    };
    one.apply(
        &json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "flux", "labels": labels("kustomize", "flux-apps")},
        "spec": {"interval": "1m"}, "status": {"lastAttemptedRevision": "1.1.0"}}),
    )
    .await;
    one.apply(&json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "flux-apps", "labels": labels("kustomize", "flux-apps")},
        "spec": {"interval": "1m", "suspend": false}, "status": {"lastAppliedRevision": "main@sha1:bad"}}))
        .await;
    one.deploy(
        "flux",
        &json!({"metadata": {"labels": labels("helm", "flux")}}),
    )
    .await;
    let output = one.roll_back("flux", peers()).await.unwrap();
    assert_eq!(output.gitops.unwrap().state, PauseState::Paused);
    for (kind, name) in [("HelmRelease", "flux"), ("Kustomization", "flux-apps")] {
        assert_eq!(one.get(kind, name).await["spec"]["suspend"], true, "{kind}");
    }
    one.sweep().await;
    assert_eq!(
        one.get("HelmRelease", "flux").await["spec"]["suspend"],
        true
    );
    let skill = ResumeGitops {
        history: one.history.clone(),
        guard: one.guard.clone(),
    };
    let input = json!({"rollback_id": "task-1", "dry_run": false, "idempotency_key": "k"});
    let (context, _) = peers().context();
    let said = skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await
        .unwrap();
    assert_eq!(
        said.let_go,
        ["kustomizations/shop/flux-apps", "helmreleases/shop/flux"]
    );
    assert_eq!(
        one.get("HelmRelease", "flux").await["spec"],
        json!({"interval": "1m"})
    );
    let parent = one.get("Kustomization", "flux-apps").await;
    assert_eq!(parent["spec"], json!({"interval": "1m", "suspend": false}));
}

/// The autoscaler is on, and needs no hold: it leaves a workload alone that is scaled to zero.
#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_leaves_what_is_scaled_to_zero_alone() {
    let one = Coordinator::start().await;
    one.apply(&json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "scaled"},
        "spec": {"minReplicas": 2, "maxReplicas": 4, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}))
        .await;
    let more = json!({"schema": true, "autoscaled": true});
    // It was created with one pod: that there are two proves that the autoscaler writes.
    one.deploy("scaled", &more).await;
    let (client, handle) = (one.client.clone(), tokio::runtime::Handle::current());
    let disabled = move || {
        let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), "shop");
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
        let seen = async {
            loop {
                let scaler = scalers.get("scaled").await.unwrap();
                let status = scaler.status.unwrap_or_default();
                let mut conditions = status.conditions.into_iter().flatten();
                if conditions.any(|one| one.reason.as_deref() == Some("ScalingDisabled")) {
                    break;
                }
                sleep(LOOK).await;
            }
            let scaled = deployments.get("scaled").await.unwrap();
            scaled.spec.replicas
        };
        tokio::task::block_in_place(|| handle.block_on(timeout(PATIENCE / 4, seen)))
    };
    let seen = Arc::new(std::sync::Mutex::new(None));
    let saw = seen.clone();
    let peers = peers().peer("db-migrator", "rollback_migration", move |_| {
        // The autoscaler has looked at it since, and let it be.
        *saw.lock().unwrap() = Some(disabled().map_err(|late| late.to_string()));
        Ok(json!({}))
    });
    let output = one.roll_back("scaled", peers).await.unwrap();
    assert_eq!(
        output.outcome,
        Some(Outcome::RolledBack),
        "{:?}",
        output.steps
    );
    assert_eq!(seen.lock().unwrap().take(), Some(Ok(Some(0))));
    assert!(one.workload("scaled").await.replicas >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_flagger_and_the_vertical_autoscaler_are_kept_still_meanwhile() {
    let one = Coordinator::start().await;
    let target = json!({"kind": "Deployment", "name": "frozen"});
    one.apply(&json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "frozen"}, "spec": {"scaleTargetRef": {"name": "frozen"}}})).await;
    one.apply(&json!({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": "frozen"}, "spec": {"targetRef": target}})).await;
    one.apply(&json!({"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": {"name": "frozen"},
        "spec": {"targetRef": target, "updatePolicy": {"updateMode": "Recreate"}}}))
        .await;
    one.deploy("frozen", &json!({"schema": true})).await;
    let fields = [
        (
            "ScaledObject",
            "/metadata/annotations/autoscaling.keda.sh~1paused",
            json!("true"),
        ),
        ("Canary", "/spec/suspend", json!(true)),
        (
            "VerticalPodAutoscaler",
            "/spec/updatePolicy/updateMode",
            json!("Off"),
        ),
    ];
    let (client, handle) = (one.client.clone(), tokio::runtime::Handle::current());
    let (wanted, seen) = (fields.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let saw = seen.clone();
    let peers = peers().peer("db-migrator", "rollback_migration", move |_| {
        for (kind, path, _) in &wanted {
            let get = async { objects(&client, kind).get("frozen").await };
            let live = tokio::task::block_in_place(|| handle.block_on(get)).unwrap();
            let live = serde_json::to_value(live).unwrap();
            saw.lock().unwrap().push(live.pointer(path).cloned());
        }
        Ok(json!({}))
    });
    let output = one.roll_back("frozen", peers).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert!(output.plan.steps.contains(&Step::Freeze));
    let during: Vec<_> = fields
        .iter()
        .map(|(.., value)| Some(value.clone()))
        .collect();
    assert_eq!(*seen.lock().unwrap(), during);
    let (keda, canary, vertical) = (
        one.get("ScaledObject", "frozen").await,
        one.get("Canary", "frozen").await,
        one.get("VerticalPodAutoscaler", "frozen").await,
    );
    assert_eq!(keda.pointer(fields[0].1), None);
    assert_eq!(canary["spec"], json!({"targetRef": target}));
    assert_eq!(vertical["spec"]["updatePolicy"]["updateMode"], "Recreate");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_meshes_never_work_on_one_workload() {
    let (one, two) = (Coordinator::start().await, Coordinator::start().await);
    one.deploy("locked", &json!({})).await;
    let first = one.workload("locked").await;
    let good = first.revisions.iter().map(|revision| {
        let mut revision = revision.clone();
        revision.health = if revision.number == 1 {
            Health::Healthy
        } else {
            Health::NeverHealthy
        };
        revision
    });
    let known = Workload {
        revisions: good.collect(),
        ..first
    };
    two.history.learn(&known).await.unwrap();
    let handle = tokio::runtime::Handle::current();
    let (second, answer) = (Arc::new(two), Arc::new(std::sync::Mutex::new(None)));
    let (other, heard) = (second.clone(), answer.clone());
    let peers_of_one = peers().peer("monitoring-agent", "check_health", move |_| {
        // In the middle of the first rollback the other mesh tries its own. The task ids of both tests are the same,
        // as they may be of two meshes; the holders are told apart by them, so this one gets another.
        let attempt = async {
            let (context, _) = peers().context();
            let lease = rollback_coordinator::guard::lease_of(&id("locked"));
            let holder = ("another-mesh", Duration::from_secs(30));
            rollback_coordinator::guard::Grip::take(
                &context,
                other.guard.objects.clone(),
                lease,
                holder,
            )
            .await
        };
        let taken = tokio::task::block_in_place(|| handle.block_on(attempt));
        *heard.lock().unwrap() = Some(
            taken
                .map(|grip| grip.token())
                .map_err(|error| error.to_string()),
        );
        Ok(json!({"verdict": "healthy"}))
    });
    let output = one.roll_back("locked", peers_of_one).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    let refused = answer.lock().unwrap().take().unwrap().unwrap_err();
    assert_eq!(
        refused,
        "rollback task-1 holds leases/shop/rollback-deployment-locked"
    );
    let leases: Api<Lease> = Api::namespaced(one.client.clone(), "shop");
    let spec = leases
        .get("rollback-deployment-locked")
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(
        (spec.holder_identity.as_deref(), spec.lease_transitions),
        (Some(""), Some(1))
    );
    let annotations = one.workload("locked").await.annotations;
    assert_eq!(annotations["ossa.io/rollback-fence"], "1");
    assert!(
        annotations["ossa.io/quarantined"]
            .as_str()
            .unwrap()
            .contains("example/locked:2")
    );
    // Free again: the next holder has a higher token.
    let (context, _) = peers().context();
    let lease = rollback_coordinator::guard::lease_of(&id("locked"));
    let holder = ("another-mesh", Duration::from_secs(30));
    let objects = second.guard.objects.clone();
    let next = rollback_coordinator::guard::Grip::take(&context, objects, lease, holder)
        .await
        .unwrap();
    assert_eq!(next.token(), 2);
    next.release(&context).await.unwrap();
}
