//! The pipeline's part: calls as `gitlab-runner` or `operator` in one trace, approvals, steps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use shared::approvals::Decision;
use tokio::time::Instant;

use super::{Step, rollout::Rollouts, screen::Screen};
use crate::{
    approve::decide,
    client::{Answer, Caller, Target},
    ground::{APPROVER, Ground},
    up::Mesh,
};

/// Everything the acts need.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where the story is told.
    pub(super) screen: Screen,
    /// The one trace.
    pub(super) trace_id: String,
    /// What happened so far.
    pub(super) steps: Vec<Step>,
    /// The embedded cluster.
    pub(super) rollouts: Rollouts,
    /// The shop's database.
    pub(super) database: PathBuf,
    /// Folder of the example.
    pub(super) example: PathBuf,
    targets: BTreeMap<String, Target>,
    operator: Caller,
    approver_key: PathBuf,
    as_told: bool,
}

/// What a step is about, and how it has to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cue<'a> {
    /// Told on the screen.
    pub(super) name: &'a str,
    /// The agent.
    pub(super) agent: &'a str,
    /// Its skill.
    pub(super) skill: &'a str,
    /// The outcome that the story needs.
    pub(super) expect: &'a str,
}

impl<'a> Cue<'a> {
    /// A step that an agent takes with one of its skills.
    pub(super) const fn new(
        name: &'a str,
        (agent, skill): (&'a str, &'a str),
        expect: &'a str,
    ) -> Self {
        Self {
            name,
            agent,
            skill,
            expect,
        }
    }

    /// A step of the pipeline.
    pub(super) const fn pipeline(name: &'a str, expect: &'a str) -> Self {
        Self::new(name, ("", ""), expect)
    }
}

impl Stage {
    /// A stage on a running mesh.
    pub(super) async fn new(
        ground: &Ground,
        mesh: &Mesh,
        screen: Screen,
        (example, database): (&Path, &Path),
    ) -> anyhow::Result<Self> {
        let spiffe = &ground.fleet.mesh;
        let mut targets = BTreeMap::new();
        for agent in spiffe.agents.keys() {
            let id = spiffe.spiffe_id(agent).unwrap_or_default().parse()?;
            targets.insert(
                agent.clone(),
                Target {
                    url: ground.url(agent),
                    id,
                },
            );
        }
        let kubeconfig = mesh
            .kubeconfig
            .as_deref()
            .context("the demo has a cluster of its own")?;
        Ok(Self {
            screen,
            trace_id: uuid::Uuid::new_v4().simple().to_string(),
            steps: Vec::new(),
            rollouts: Rollouts::connect(kubeconfig).await?,
            database: database.to_path_buf(),
            example: example.to_path_buf(),
            targets,
            operator: Caller::load(&ground.root, &spiffe.trust_domain, "operator")?,
            approver_key: ground
                .root
                .join("approvers")
                .join(format!("{APPROVER}.pem")),
            as_told: true,
        })
    }

    /// Whether every step ended as the story needs it.
    pub(super) fn as_told(&self) -> bool {
        self.as_told
    }

    /// `traceparent` of a new span in the one trace.
    pub(super) fn traceparent(&self) -> String {
        let span: String = uuid::Uuid::new_v4()
            .simple()
            .to_string()
            .chars()
            .take(16)
            .collect();
        format!("00-{}-{span}-01", self.trace_id)
    }

    /// Calls a skill without telling a step.
    pub(super) async fn ask(
        &self,
        agent: &str,
        skill: &str,
        input: &Value,
    ) -> anyhow::Result<Answer> {
        let target = self
            .targets
            .get(agent)
            .with_context(|| format!("no agent {agent}"))?;
        self.operator
            .call(target, skill, input, Some(&self.traceparent()))
            .await
    }

    /// Calls a skill and tells it; `judge` turns the artifact into (outcome, detail).
    pub(super) async fn call(
        &mut self,
        cue: Cue<'_>,
        input: Value,
        judge: impl Fn(&Value) -> (String, String),
    ) -> anyhow::Result<Value> {
        let began = Instant::now();
        let answer = self.ask(cue.agent, cue.skill, &input).await?;
        let task_id = answer.task_id.clone();
        let (value, outcome, detail) = match answer.result {
            Ok(value) => {
                let (outcome, detail) = judge(&value);
                (value, outcome, detail)
            }
            Err(error) => {
                let detail = error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                (Value::Null, "error".into(), detail)
            }
        };
        self.tell(cue, outcome, detail, (began, task_id));
        Ok(value)
    }

    /// Tells a step.
    pub(super) fn tell(
        &mut self,
        cue: Cue<'_>,
        outcome: String,
        detail: String,
        (began, task_id): (Instant, Option<String>),
    ) {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let as_told = outcome == cue.expect;
        self.as_told &= as_told;
        let step = Step {
            name: cue.name.into(),
            agent: some(cue.agent),
            skill: some(cue.skill),
            outcome,
            detail,
            duration_ms: began.elapsed().as_millis(),
            task_id,
        };
        self.screen.step(&step, as_told);
        self.steps.push(step);
    }

    /// Applies a migration: the agent asks for an approval, a person signs, the task goes on.
    pub(super) async fn migrate(&mut self, release: &str) -> anyhow::Result<()> {
        let input = json!({
            "database": "shop", "source": {"path": format!("releases/{release}/migrations")}, "release": release,
            "dry_run": false, "idempotency_key": format!("release-{release}"),
        });
        let began = Instant::now();
        let answer = self.ask("db-migrator", "apply_migration", &input).await?;
        let (reason, digest, task) = (
            answer.reason().map(str::to_owned),
            answer.metadata("plan_digest").map(str::to_owned),
            answer.task_id.clone(),
        );
        let cue = Cue::new(
            "asks for an approval outside dev",
            ("db-migrator", "apply_migration"),
            "waits",
        );
        let outcome = if reason.as_deref() == Some("TASK_AUTH_REQUIRED") {
            "waits"
        } else {
            "error"
        };
        let detail = answer
            .result
            .as_ref()
            .err()
            .and_then(|error| error.get("message")?.as_str())
            .unwrap_or_default()
            .to_owned();
        self.tell(cue, outcome.into(), detail, (began, task.clone()));
        let (Some(digest), Some(task)) = (digest, task) else {
            bail!("apply_migration did not ask for an approval")
        };
        self.approve(&task, &digest).await?;
        self.follow(release, &task).await
    }

    async fn approve(&mut self, task: &str, digest: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let target = self.targets.get("db-migrator").context("no db-migrator")?;
        decide(
            &self.operator,
            target,
            &self.approver_key,
            (task, digest, Decision::Approve),
        )
        .await?;
        let cue = Cue::new(
            "the plan is signed by an approver",
            ("db-migrator", "decide_approval"),
            "approved",
        );
        self.tell(
            cue,
            "approved".into(),
            format!("plan {}", digest.get(..16).unwrap_or(digest)),
            (began, Some(task.to_owned())),
        );
        Ok(())
    }

    /// Waits for an approved task.
    async fn follow(&mut self, release: &str, task: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let state = self
                .ask("db-migrator", "GetTask", &json!({"id": task}))
                .await?
                .ok()?;
            match state.pointer("/status/state").and_then(Value::as_str) {
                Some("TASK_STATE_COMPLETED") => break,
                Some("TASK_STATE_SUBMITTED" | "TASK_STATE_WORKING") => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                other => bail!(
                    "the migration of {release} ended in {}: {state}",
                    other.unwrap_or_default()
                ),
            }
        }
        let cue = Cue::new(
            "migrated, with its way back proven",
            ("db-migrator", "apply_migration"),
            "applied",
        );
        self.tell(
            cue,
            "applied".into(),
            String::new(),
            (began, Some(task.to_owned())),
        );
        Ok(())
    }
}
