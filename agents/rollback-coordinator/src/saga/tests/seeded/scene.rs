//! One rollback against the embedded cluster, with all that surrounds it, for a process that may die.

use super::*;

/// Longest wait for anything of one run.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at the cluster.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// Calls of a process that does not die.
pub(super) const FOR_EVER: i64 = i64::MAX;
/// A sequence of numbers from a seed (`SplitMix64`).
pub(super) struct Seed(pub(super) u64);

impl Seed {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// Leases and workloads of the embedded cluster, and Argo CD's objects, which it does not know.
#[derive(Debug)]
struct Mixed {
    cluster: KubernetesObjects,
    others: Arc<MemoryObjects>,
}

impl Mixed {
    fn port(&self, object: &ObjectRef) -> &dyn Objects {
        match object.api_version.as_str() {
            "apps/v1" | "coordination.k8s.io/v1" => &self.cluster,
            _ => &*self.others,
        }
    }
}

#[async_trait::async_trait]
impl Objects for Mixed {
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError> {
        self.port(like).list(like).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError> {
        self.port(object).get(object).await
    }

    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError> {
        self.port(lease).create_lease(lease, body).await
    }

    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError> {
        self.port(object).merge(object, version, patch).await
    }
}

/// One run: a workload of its own, brought by an Application of its own.
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) id: WorkloadId,
    control: Arc<dyn RolloutControl>,
    pub(super) objects: Arc<dyn Objects>,
    memory: Arc<MemoryObjects>,
    pub(super) store: Arc<dyn Store>,
    pub(super) stateful: bool,
    pub(super) good: Value,
    pub(super) bad: Value,
    pub(super) reverted: Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
    pub(super) git_is_good: AtomicBool,
    pub(super) undone: AtomicU64,
}

fn web(stateful: bool) -> Value {
    let mut template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    if stateful {
        template["metadata"]["annotations"] =
            json!({"ossa.io/database": "shop", "ossa.io/schema-version": "3"});
    }
    let tracking = json!({"argocd.argoproj.io/tracking-id": "web:apps/Deployment:x/web"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": tracking},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}})
}

impl Run {
    /// `web` with a good revision that was learned and a bad one on its way.
    pub(super) async fn prepare(cluster: &Cluster, seed: u64, stateful: bool) -> Self {
        let namespace = format!("run-{seed}");
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let options = Options::default();
        cluster
            .create::<Namespace>(None, &body, &options)
            .await
            .unwrap();
        cluster
            .create::<Deployment>(Some(&namespace), &web(stateful), &options)
            .await
            .unwrap();
        let control: Arc<dyn RolloutControl> = Arc::new(Kubernetes(cluster.clone()));
        let id = WorkloadId {
            namespace,
            kind: Kind::Deployment,
            name: "web".into(),
        };
        let healthy = |web: &Workload| web.current().is_some_and(|one| one.ready == 2);
        let first = until(&*control, &id, healthy).await;
        let store = memory();
        History(store.clone()).learn(&first).await.unwrap();
        let mut annotations = json!({"cluster-model.ossa.dev/behavior": "crash-loop"});
        if stateful {
            annotations["ossa.io/schema-version"] = "4".into();
        }
        let bad = json!({"spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
        cluster
            .patch::<Deployment>(Some(&id.namespace), "web", &Patch::Strategic(bad), &options)
            .await
            .unwrap();
        let out = |web: &Workload| {
            web.current()
                .is_some_and(|one| one.number == 2 && one.replicas > 0)
        };
        let second = until(&*control, &id, out).await;
        let memory = Arc::new(MemoryObjects::default());
        memory.put(
            &application(&id.namespace),
            json!({"spec": {"syncPolicy": {"automated": {"selfHeal": true}}}, "status": {"sync": {"revision": "bad"}}}),
        );
        let objects = Arc::new(Mixed {
            cluster: KubernetesObjects(cluster.clone()),
            others: memory.clone(),
        });
        Self {
            seed,
            id,
            control,
            objects,
            memory,
            store,
            stateful,
            good: first.template,
            bad: second.template,
            reverted: Arc::default(),
            git_is_good: AtomicBool::new(false),
            undone: AtomicU64::new(0),
        }
    }

    pub(super) fn peers(&self) -> FakeAgent {
        let reverted = self.reverted.clone();
        FakeAgent::default()
            .namespace(&self.id.namespace)
            .peer("monitoring-agent", "check_health", |_| Ok(json!({"verdict": "healthy"})))
            .peer("db-migrator", "assess_rollback", |_| {
                Ok(json!({"answer": "reversible", "rows_at_risk": 0, "additive_only": false, "plan_digest": "d", "reverts": [{"version": "4"}]}))
            })
            .peer("db-migrator", "rollback_migration", move |input| {
                reverted.lock().unwrap().insert(input.to_string());
                Ok(json!({}))
            })
    }

    pub(super) fn guard(&self, fuse: &Arc<Fuse>) -> Guard {
        let objects = Arc::new(Mortal(self.objects.clone(), fuse.clone()));
        Guard::new(
            objects,
            vec![self.id.namespace.clone()],
            Settings::default(),
        )
    }

    /// Runs the task once, until it ends or its process dies.
    pub(super) async fn once(
        &self,
        fuse: &Arc<Fuse>,
    ) -> Option<Result<ExecuteRollbackOutput, SkillError>> {
        let control: Arc<dyn RolloutControl> = Arc::new(Mortal(self.control.clone(), fuse.clone()));
        let history = History(Arc::new(Mortal(self.store.clone(), fuse.clone())));
        let guard = self.guard(fuse);
        let skill = ExecuteRollback {
            planner: Planner {
                control: control.clone(),
                history: history.clone(),
                guard: guard.clone(),
                gradual: crate::traffic::Gradual::default(),
            },
            saga: Saga {
                control,
                history,
                guard,
            },
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let input = json!({"namespace": self.id.namespace, "deployment": "web", "dry_run": false, "idempotency_key": "k"});
        let (context, _) = self.peers().context();
        let run = skill.run(&context, serde_json::from_value(input).unwrap());
        fuse.until_death(run).await
    }

    /// Looks after what is held once, until it is done or the process dies.
    pub(super) async fn sweep(&self, fuse: &Arc<Fuse>) -> bool {
        let sweep = Sweep {
            control: Arc::new(Mortal(self.control.clone(), fuse.clone())),
            history: History(Arc::new(Mortal(self.store.clone(), fuse.clone()))),
            guard: self.guard(fuse),
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let (context, _) = self.peers().context();
        fuse.until_death(sweep.run(&context)).await.is_some()
    }

    pub(super) async fn workload(&self) -> Workload {
        self.control.workload(&self.id).await.unwrap().unwrap()
    }

    pub(super) fn application(&self) -> Value {
        self.memory.at(&application(&self.id.namespace)).unwrap()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.application()
            .pointer("/spec/syncPolicy/automated/enabled")
            == Some(&json!(false))
    }

    /// Argo CD: compares all the time, and heals while nobody paused it.
    pub(super) async fn argo(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let git = self.git_is_good.load(Ordering::SeqCst);
            let (wanted, revision) = if git {
                (&self.good, "good")
            } else {
                (&self.bad, "bad")
            };
            let live = self.workload().await;
            // Looked at last, like a sync that begins: what was read before is written only if nobody wrote since.
            let paused = self.is_paused();
            if live.template != *wanted && !paused {
                if live.template == self.good {
                    self.undone.fetch_add(1, Ordering::SeqCst);
                }
                let restore = Change::Restore {
                    template: wanted.clone(),
                    replicas: None,
                };
                drop(self.control.change(&live, &restore).await);
                continue;
            }
            let status = if live.template == *wanted {
                "Synced"
            } else {
                "OutOfSync"
            };
            let object = application(&self.id.namespace);
            let status = json!({"status": {"sync": {"revision": revision}, "resources": [
                {"kind": "Deployment", "namespace": self.id.namespace, "name": "web", "status": status}]}});
            self.memory.edit(&object, &status);
        }
    }

    /// Another mesh finds the lock silent, takes it and stamps the workload.
    pub(super) async fn take_over(&self) -> Grip {
        let lease = lease_of(&self.id);
        let live = self.objects.get(&lease).await.unwrap().unwrap();
        let silent = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
        let version = text(&live, "/metadata/resourceVersion").unwrap();
        self.objects
            .merge(&lease, version, &silent)
            .await
            .unwrap()
            .unwrap();
        let fuse = Fuse::new(FOR_EVER, false);
        let theirs = self.guard(&fuse).for_one_run();
        let (context, _) = self.peers().context();
        theirs.grip(&context, &self.id, "theirs").await.unwrap();
        theirs.stamp(&context, &self.id).await.unwrap();
        let holder = ("theirs", Settings::default().lock);
        Grip::take(&context, self.objects.clone(), lease, holder)
            .await
            .unwrap()
    }

    pub(super) async fn journal(&self) -> Option<Journal> {
        History(self.store.clone()).journal("task-1").await.unwrap()
    }
}

fn application(namespace: &str) -> ObjectRef {
    Manager::Application.object(namespace, "web")
}

async fn until(
    control: &dyn RolloutControl,
    id: &WorkloadId,
    holds: impl Fn(&Workload) -> bool,
) -> Workload {
    let looking = async {
        loop {
            match control.workload(id).await.unwrap() {
                Some(workload) if holds(&workload) => return workload,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("the cluster gets there")
}
