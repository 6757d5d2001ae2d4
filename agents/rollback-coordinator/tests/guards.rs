//! The lock, GitOps and the controllers of the same fields on a real control plane, with the rights that are rendered for
//! the agent. Nobody plays Argo CD, Flux, KEDA or Flagger here but the tests; the autoscaler is Kubernetes' own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs};
use control_plane::{ControlPlane, simulation::Behaviour};
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

/// Longest wait for anything: 2 minutes, for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at the cluster.
const LOOK: Duration = Duration::from_millis(50);

/// Kinds of other controllers, as far as rollbacks know them.
const KINDS: [(&str, &str, &str, &str); 7] = [
    ("argoproj.io", "v1alpha1", "Application", "applications"),
    (
        "argoproj.io",
        "v1alpha1",
        "ApplicationSet",
        "applicationsets",
    ),
    (
        "kustomize.toolkit.fluxcd.io",
        "v1",
        "Kustomization",
        "kustomizations",
    ),
    (
        "helm.toolkit.fluxcd.io",
        "v2",
        "HelmRelease",
        "helmreleases",
    ),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    (
        "autoscaling.k8s.io",
        "v1",
        "VerticalPodAutoscaler",
        "verticalpodautoscalers",
    ),
    ("flagger.app", "v1beta1", "Canary", "canaries"),
];

/// A definition that keeps whatever is written.
fn definition((group, version, kind, plural): (&str, &str, &str, &str)) -> String {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            // Asked for in groups that belong to Kubernetes.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}]},
    })
    .to_string()
}

/// One coordinator with a memory of its own, on the control plane that all tests of this process share.
struct Coordinator {
    plane: &'static ControlPlane,
    client: Client,
    control: Arc<dyn RolloutControl>,
    history: History,
    guard: Guard,
}

async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_init(|| async {
            let plane = ControlPlane::start().await.unwrap();
            plane.namespace("shop").await.unwrap();
            for kind in KINDS {
                plane.apply(&definition(kind)).await.unwrap();
            }
            // A definition is served a moment after it is there.
            let client = plane.client().await.unwrap();
            for kind in KINDS {
                let api = objects(&client, kind.2);
                let served = async {
                    while api.get_opt("nobody").await.is_err() {
                        sleep(LOOK).await;
                    }
                };
                timeout(PATIENCE, served).await.unwrap();
            }
            plane
        })
        .await
}

fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let found = KINDS.iter().find(|one| one.2 == kind).unwrap();
    let names = GroupVersionKind::gvk(found.0, found.1, found.2);
    let resource = ApiResource::from_gvk_with_plural(&names, found.3);
    Api::namespaced_with(client.clone(), "shop", &resource)
}

impl Coordinator {
    async fn start() -> Self {
        let plane = plane().await;
        let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
        let source = format!("kubeconfig:{}", kubeconfig.display());
        let args = ClusterArgs {
            cluster: source.parse().unwrap(),
        };
        let cluster = Cluster::connect(&args).unwrap();
        let port = Arc::new(KubernetesObjects(cluster.clone()));
        Self {
            plane,
            client: plane.client().await.unwrap(),
            control: Arc::new(Kubernetes(cluster)),
            history: History(Arc::new(MemoryStore::default())),
            guard: Guard::new(port, vec!["shop".into()], Settings::default()),
        }
    }

    async fn apply(&self, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["namespace"] = "shop".into();
        self.plane.apply(&object.to_string()).await.unwrap();
    }

    async fn workload(&self, name: &str) -> Workload {
        self.control.workload(&id(name)).await.unwrap().unwrap()
    }

    /// Applies a version of a Deployment; version 2 crashes.
    async fn release(&self, name: &str, version: u32, more: &Value) {
        let behaviour = if version == 2 {
            Behaviour::failing(control_plane::simulation::Fault::CrashLoop)
        } else {
            Behaviour::healthy()
        };
        let mut annotations = behaviour.annotations();
        annotations.insert("version".into(), version.to_string());
        if more.get("schema").is_some() {
            annotations.insert("ossa.io/database".into(), name.into());
            let schema = (version + 2).to_string();
            annotations.insert("ossa.io/schema-version".into(), schema);
        }
        let container = json!({"name": "app", "image": format!("example/{name}:{version}"),
            "resources": {"requests": {"cpu": "10m"}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}});
        let template = json!({"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": {"containers": [container]}});
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template}});
        if more.get("autoscaled").is_none() {
            object["spec"]["replicas"] = 2.into();
        }
        if let Some(metadata) = more.get("metadata") {
            object["metadata"]["annotations"] = metadata["annotations"].clone();
            object["metadata"]["labels"] = metadata["labels"].clone();
        }
        self.apply(&object).await;
    }

    /// Version 1, remembered as healthy, and version 2 on its way.
    async fn deploy(&self, name: &str, more: &Value) {
        self.release(name, 1, more).await;
        self.until(name, |web| {
            web.replicas >= 2 && web.current().is_some_and(|one| one.ready >= web.replicas)
        })
        .await;
        self.history
            .learn(&self.workload(name).await)
            .await
            .unwrap();
        self.release(name, 2, more).await;
        let bad = |web: &Workload| {
            web.current()
                .is_some_and(|one| one.number == 2 && one.replicas > 0)
        };
        self.until(name, bad).await;
    }

    async fn until(&self, name: &str, holds: impl Fn(&Workload) -> bool) {
        let looking = async {
            loop {
                let found = self.control.workload(&id(name)).await.unwrap();
                if found.is_some_and(|web| holds(&web)) {
                    return;
                }
                sleep(LOOK).await;
            }
        };
        let late = timeout(PATIENCE, looking).await.is_err();
        assert!(
            !late,
            "{name} never got there: {:#?}",
            self.workload(name).await
        );
    }

    async fn roll_back(
        &self,
        name: &str,
        peers: FakeAgent,
    ) -> Result<ExecuteRollbackOutput, SkillError> {
        let planner = Planner {
            control: self.control.clone(),
            history: self.history.clone(),
            guard: self.guard.clone(),
            gradual: rollback_coordinator::traffic::Gradual::default(),
        };
        let saga = Saga {
            control: self.control.clone(),
            history: self.history.clone(),
            guard: self.guard.clone(),
        };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let input = json!({"namespace": "shop", "deployment": name, "dry_run": false, "idempotency_key": "k"});
        let (context, _) = peers.context();
        let skill = ExecuteRollback {
            planner,
            saga,
            metrics,
        };
        let wanted = serde_json::from_value(input).unwrap();
        timeout(PATIENCE, skill.run(&context, wanted))
            .await
            .unwrap()
    }

    async fn sweep(&self) {
        let sweep = Sweep {
            control: self.control.clone(),
            history: self.history.clone(),
            guard: self.guard.clone(),
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let (context, _) = peers().context();
        sweep.run(&context).await.unwrap();
    }

    async fn get(&self, kind: &str, name: &str) -> Value {
        let object = objects(&self.client, kind).get(name).await.unwrap();
        serde_json::to_value(object).unwrap()
    }

    async fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        objects(&self.client, kind)
            .patch(name, &params, &patch)
            .await
            .unwrap();
    }
}

fn id(name: &str) -> WorkloadId {
    WorkloadId {
        namespace: "shop".into(),
        kind: Kind::Deployment,
        name: name.into(),
    }
}

fn peers() -> FakeAgent {
    FakeAgent::default()
        .namespace("shop")
        .peer("monitoring-agent", "check_health", |_| {
            Ok(json!({"verdict": "healthy"}))
        })
        .peer("db-migrator", "assess_rollback", |_| {
            Ok(json!({"answer": "reversible", "rows_at_risk": 0, "additive_only": false, "plan_digest": "d",
                "reverts": [{"version": "4"}]}))
        })
        .peer("db-migrator", "rollback_migration", |_| Ok(json!({})))
}

fn tracked(application: &str) -> Value {
    json!({"annotations": {"argocd.argoproj.io/tracking-id": format!("shop_{application}:apps/Deployment:shop/x")}})
}

fn application(name: &str, web: &str, parent: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "annotations": tracked(parent)["annotations"]},
        "spec": {"project": "default", "syncPolicy": {"automated": {"selfHeal": true, "prune": true}}},
        "status": {"sync": {"revision": "bad", "status": "OutOfSync"}, "resources": [
            {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": web, "status": "OutOfSync"}]}})
}

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
