//! A small world for tests: one workload, its database, and the peers.

pub(crate) mod fuse;
pub(crate) mod objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use shared::{AwaitsApproval, SkillError, testing::FakeAgent};
use store::Store;

use self::objects::MemoryObjects;
use crate::{
    clients::{Pipelines, RolloutControl, Waited},
    domain::{Change, Health, Kind, Member, Revision, Rollout, Workload, WorkloadId},
    guard::{Guard, Settings},
    history::History,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, Planner},
    traffic::Gradual,
};

/// A workload that plays its controller, and the effects that it saw in order.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) web: Mutex<Workload>,
    pub(crate) log: Mutex<Vec<String>>,
    /// Effects that fail, by their word.
    pub(crate) broken: Mutex<Vec<&'static str>>,
    /// Waits that never end, by their word.
    pub(crate) hanging: Mutex<Vec<&'static str>>,
    /// Pods that have to go before a wait ends.
    pub(crate) blocking: Mutex<Vec<Member>>,
    /// Answers of db-migrator before somebody approves there.
    pub(crate) unapproved: AtomicUsize,
    /// Writes that somebody else gets in the way of.
    pub(crate) conflicts: AtomicUsize,
    /// Keys under which the database was rolled back.
    pub(crate) reverted: Mutex<BTreeSet<String>>,
    /// What db-migrator answers to `assess_rollback`.
    pub(crate) assessment: Value,
    /// What speaks against reverting by now, as db-migrator says it.
    pub(crate) evidence: Mutex<Vec<String>>,
    /// Leases, and objects of other controllers.
    pub(crate) objects: MemoryObjects,
    /// A GitLab, where there is one.
    pub(crate) pipelines: Mutex<Option<Pipelines>>,
    /// What else happens when health is asked for, and while something is waited for.
    pub(crate) meanwhile: Mutex<BTreeMap<&'static str, Hook>>,
}

/// Something that happens meanwhile.
pub(crate) struct Hook(Box<dyn Fn(&World) + Send + Sync>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// Deployment `web` of `shop`.
pub(crate) fn web_id() -> WorkloadId {
    WorkloadId {
        namespace: "shop".into(),
        kind: Kind::Deployment,
        name: "web".into(),
    }
}

pub(crate) fn revision(number: u64, health: Health, schema: Option<&str>) -> Revision {
    let annotations =
        schema.map(|schema| json!({"ossa.io/database": "shop", "ossa.io/schema-version": schema}));
    Revision {
        number,
        name: format!("web-{number}"),
        replicas: 0,
        ready: 0,
        health,
        template: json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"image": format!("web:{number}")}]}}),
        created: None,
    }
}

impl World {
    /// `web` with these revisions, the last of them in force with three pods.
    pub(crate) fn of(mut revisions: Vec<Revision>, assessment: Value) -> Arc<Self> {
        let current = revisions.last_mut().unwrap();
        current.replicas = 3;
        let web = Workload {
            id: web_id(),
            resource_version: "1".into(),
            uid: "u".into(),
            replicas: 3,
            paused: false,
            rollout: Rollout::default(),
            template: current.template.clone(),
            annotations: json!({}),
            revisions,
        };
        Arc::new(Self {
            web: Mutex::new(web),
            log: Mutex::default(),
            broken: Mutex::default(),
            hanging: Mutex::default(),
            blocking: Mutex::default(),
            unapproved: AtomicUsize::new(0),
            conflicts: AtomicUsize::new(0),
            reverted: Mutex::default(),
            assessment,
            evidence: Mutex::default(),
            objects: MemoryObjects::default(),
            pipelines: Mutex::default(),
            meanwhile: Mutex::default(),
        })
    }

    /// A good revision 1 and a bad revision 2 without a database.
    pub(crate) fn stateless() -> Arc<Self> {
        Self::of(
            vec![
                revision(1, Health::Healthy, None),
                revision(2, Health::NeverHealthy, None),
            ],
            Value::Null,
        )
    }

    /// The same with a schema that has to move, and this answer of db-migrator.
    pub(crate) fn stateful(answer: &str) -> Arc<Self> {
        let revisions = vec![
            revision(1, Health::Healthy, Some("3")),
            revision(2, Health::NeverHealthy, Some("4")),
        ];
        Self::of(
            revisions,
            json!({"answer": answer, "rows_at_risk": 7, "additive_only": false, "plan_digest": "d"}),
        )
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn web(&self) -> Workload {
        self.web.lock().unwrap().clone()
    }

    /// Does something whenever health is asked for.
    pub(crate) fn on_health(&self, happens: impl Fn(&World) + Send + Sync + 'static) {
        let hook = Hook(Box::new(happens));
        self.meanwhile.lock().unwrap().insert("health", hook);
    }

    /// Does something whenever something is waited for.
    pub(crate) fn on_wait(&self, happens: impl Fn(&World) + Send + Sync + 'static) {
        let hook = Hook(Box::new(happens));
        self.meanwhile.lock().unwrap().insert("wait", hook);
    }

    /// Somebody else applies a template.
    pub(crate) fn apply(&self, template: Value) {
        let mut web = self.web.lock().unwrap();
        web.resource_version.push('j');
        let replicas = None;
        play(&mut web, &Change::Restore { template, replicas });
    }

    fn happen(&self, what: &str) {
        if let Some(Hook(happens)) = self.meanwhile.lock().unwrap().get(what) {
            happens(self);
        }
    }

    pub(crate) fn break_at(&self, word: &'static str) {
        self.broken.lock().unwrap().push(word);
    }

    /// Notes an effect, or fails it.
    #[expect(clippy::unwrap_in_result, reason = "a poisoned lock ends the test")]
    fn effect(&self, word: &str) -> Result<(), SkillError> {
        if self.broken.lock().unwrap().contains(&word) {
            return Err(SkillError::unavailable(
                "kubernetes",
                format!("{word} is broken"),
            ));
        }
        self.log.lock().unwrap().push(word.to_owned());
        Ok(())
    }

    /// Notes a wait that ends, or never ends.
    async fn wait(&self, word: &'static str) -> Result<Waited, SkillError> {
        self.happen("wait");
        if self.hanging.lock().unwrap().contains(&word) {
            std::future::pending::<()>().await;
        }
        if let Some(pod) = self.blocking.lock().unwrap().first() {
            return Ok(Waited::Blocked(pod.clone()));
        }
        self.effect(word).map(|()| Waited::Done)
    }

    /// The agent's peers in this world.
    pub(crate) fn peers(self: &Arc<Self>) -> FakeAgent {
        let (assess, revert, health) = (self.clone(), self.clone(), self.clone());
        let withdraw = self.clone();
        FakeAgent::default()
            .namespace("shop")
            .namespace("argocd")
            .peer("db-migrator", "assess_rollback", move |_| {
                let mut answer = assess.assessment.clone();
                let evidence = assess.evidence.lock().unwrap().clone();
                if !evidence.is_empty() {
                    answer["answer"] = json!("point_of_no_return");
                    answer["evidence"] = json!(evidence);
                }
                Ok(answer)
            })
            .peer("db-migrator", "CancelTask", move |task| {
                withdraw
                    .log
                    .lock()
                    .unwrap()
                    .push(format!("withdraw {}", task["id"]));
                Ok(json!({}))
            })
            .peer("db-migrator", "rollback_migration", move |input| {
                let running: u32 = revert
                    .web()
                    .revisions
                    .iter()
                    .map(|revision| revision.replicas)
                    .sum();
                assert_eq!(running, 0, "nobody uses the schema while it moves");
                if revert.broken.lock().unwrap().contains(&"deny_revert") {
                    return Err(SkillError::Denied("db-migrator: no".into()));
                }
                if revert.unapproved.load(Ordering::SeqCst) > 0 {
                    revert.unapproved.fetch_sub(1, Ordering::SeqCst);
                    let waits = AwaitsApproval {
                        agent: "db-migrator".into(),
                        task_id: "m-1".into(),
                        message: "a person has to look".into(),
                    };
                    return Err(SkillError::failed_with("not yet", waits));
                }
                if revert.broken.lock().unwrap().contains(&"refuse_revert") {
                    return Err(SkillError::failed("db-migrator: it is drifted"));
                }
                if revert.effect("revert").is_err() {
                    let half = "4 a is half way".to_owned();
                    revert.evidence.lock().unwrap().push(half);
                    return Err(SkillError::failed("db-migrator: it failed half way"));
                }
                revert.reverted.lock().unwrap().insert(input.to_string());
                Ok(json!({}))
            })
            .peer("monitoring-agent", "check_health", move |_| {
                health.happen("health");
                let asked = health.effect("check_health");
                asked.map_err(|_| SkillError::failed("check_health is broken"))?;
                let failing = health.hanging.lock().unwrap().contains(&"check_health");
                Ok(json!({"verdict": if failing { "failing" } else { "healthy" }, "workloads": []}))
            })
    }

    pub(crate) fn planner(self: &Arc<Self>, store: &Arc<dyn Store>) -> Planner {
        Planner {
            control: self.clone(),
            history: History(store.clone()),
            guard: self.guard(),
            gradual: Gradual::default(),
        }
    }

    pub(crate) fn guard(self: &Arc<Self>) -> Guard {
        let namespaces = vec!["shop".to_owned(), "argocd".to_owned()];
        let pipelines = self.pipelines.lock().unwrap().clone();
        Guard::new(self.clone(), namespaces, Settings::default()).with_pipelines(pipelines)
    }

    pub(crate) fn execute(self: &Arc<Self>, store: &Arc<dyn Store>) -> ExecuteRollback {
        let saga = Saga {
            control: self.clone(),
            history: History(store.clone()),
            guard: self.guard(),
        };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        ExecuteRollback {
            planner: self.planner(store),
            saga,
            metrics,
        }
    }
}

#[async_trait::async_trait]
impl RolloutControl for World {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, SkillError> {
        Ok(Some(self.web()).filter(|web| web.id == *id))
    }

    async fn change(&self, workload: &Workload, change: &Change) -> Result<(), SkillError> {
        {
            let mut web = self.web.lock().unwrap();
            if self.conflicts.load(Ordering::SeqCst) > 0 {
                self.conflicts.fetch_sub(1, Ordering::SeqCst);
                web.resource_version.push('x');
            }
            if web.resource_version != workload.resource_version {
                return Err(SkillError::failed("somebody wrote in between"));
            }
        }
        self.effect(change.word())?;
        let mut web = self.web.lock().unwrap();
        web.resource_version.push('w');
        play(&mut web, change);
        Ok(())
    }

    async fn await_gone(&self, _: &Workload) -> Result<Waited, SkillError> {
        let pods: u32 = self.web().revisions.iter().map(|one| one.replicas).sum();
        assert_eq!(pods, 0, "would wait for ever");
        self.wait("await_gone").await
    }

    async fn await_ready(&self, _: &Workload, _: &str) -> Result<Waited, SkillError> {
        self.wait("await_ready").await
    }

    async fn remove(&self, _: &str, pod: &Member) -> Result<(), SkillError> {
        self.effect(&format!("remove {}", pod.name))?;
        self.blocking.lock().unwrap().retain(|other| other != pod);
        Ok(())
    }
}

/// What the controller makes of a change.
fn play(web: &mut Workload, change: &Change) {
    match change {
        Change::Pause => web.paused = true,
        Change::Stop => web.replicas = 0,
        Change::Resume { replicas } => (web.paused, web.replicas) = (false, *replicas),
        Change::Restore { template, replicas } => {
            web.template = template.clone();
            (web.paused, web.replicas) = (false, replicas.unwrap_or(web.replicas));
        }
    }
    let next = web
        .revisions
        .iter()
        .map(|revision| revision.number)
        .max()
        .unwrap_or(0)
        + 1;
    let newest = web.current().unwrap().number;
    for revision in &mut web.revisions {
        let wanted = revision.template == web.template;
        if wanted && revision.number != newest {
            revision.number = next;
        }
        revision.replicas = if wanted { web.replicas } else { 0 };
        revision.ready = revision.replicas;
    }
    web.revisions.sort_by_key(|revision| revision.number);
}
