//! A coordinator on the real plane, with exactly its rendered rights.

use super::*;

/// Longest wait for anything: 2 minutes, for a machine that does much else.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at the cluster.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Kinds of other controllers, as far as rollbacks know them.
pub(super) const KINDS: [(&str, &str, &str, &str); 7] = [
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
pub(super) fn definition((group, version, kind, plural): (&str, &str, &str, &str)) -> String {
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
pub(super) struct Coordinator {
    pub(super) plane: &'static ControlPlane,
    pub(super) client: Client,
    pub(super) control: Arc<dyn RolloutControl>,
    pub(super) history: History,
    pub(super) guard: Guard,
}

pub(super) async fn plane() -> &'static ControlPlane {
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

pub(super) fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let found = KINDS.iter().find(|one| one.2 == kind).unwrap();
    let names = GroupVersionKind::gvk(found.0, found.1, found.2);
    let resource = ApiResource::from_gvk_with_plural(&names, found.3);
    Api::namespaced_with(client.clone(), "shop", &resource)
}

impl Coordinator {
    pub(super) async fn start() -> Self {
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

    pub(super) async fn apply(&self, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["namespace"] = "shop".into();
        self.plane.apply(&object.to_string()).await.unwrap();
    }

    pub(super) async fn workload(&self, name: &str) -> Workload {
        self.control.workload(&id(name)).await.unwrap().unwrap()
    }

    /// Applies a version of a Deployment; version 2 crashes.
    pub(super) async fn release(&self, name: &str, version: u32, more: &Value) {
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
    pub(super) async fn deploy(&self, name: &str, more: &Value) {
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

    pub(super) async fn until(&self, name: &str, holds: impl Fn(&Workload) -> bool) {
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

    pub(super) async fn roll_back(
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

    pub(super) async fn sweep(&self) {
        let sweep = Sweep {
            control: self.control.clone(),
            history: self.history.clone(),
            guard: self.guard.clone(),
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let (context, _) = peers().context();
        sweep.run(&context).await.unwrap();
    }

    pub(super) async fn get(&self, kind: &str, name: &str) -> Value {
        let object = objects(&self.client, kind).get(name).await.unwrap();
        serde_json::to_value(object).unwrap()
    }

    pub(super) async fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        objects(&self.client, kind)
            .patch(name, &params, &patch)
            .await
            .unwrap();
    }
}

pub(super) fn id(name: &str) -> WorkloadId {
    WorkloadId {
        namespace: "shop".into(),
        kind: Kind::Deployment,
        name: name.into(),
    }
}

pub(super) fn peers() -> FakeAgent {
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

pub(super) fn tracked(application: &str) -> Value {
    json!({"annotations": {"argocd.argoproj.io/tracking-id": format!("shop_{application}:apps/Deployment:shop/x")}})
}

pub(super) fn application(name: &str, web: &str, parent: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "annotations": tracked(parent)["annotations"]},
        "spec": {"project": "default", "syncPolicy": {"automated": {"selfHeal": true, "prune": true}}},
        "status": {"sync": {"revision": "bad", "status": "OutOfSync"}, "resources": [
            {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": web, "status": "OutOfSync"}]}})
}
