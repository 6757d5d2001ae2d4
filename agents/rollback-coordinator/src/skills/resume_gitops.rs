//! `resume_gitops`: somebody says that Git holds the good revision, or that a person has looked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use crate::{
    domain::{Journal, Pause},
    guard::{Guard, settle},
    history::History,
};

/// Lets everything go that a rollback holds.
#[derive(Debug, Clone)]
pub struct ResumeGitops {
    /// The agent's memory.
    pub history: History,
    /// What surrounds a rollback.
    pub guard: Guard,
}

/// Which rollback.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Id of the rollback (its task).
    rollback_id: String,
    /// Say what would be let go (the default).
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names this request; required when `dry_run` is false.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "the runtime reads it; it stands here for the schema"
    )]
    idempotency_key: Option<String>,
}

fn yes() -> bool {
    true
}

/// What goes on now.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The rollback.
    pub rollback_id: String,
    /// Objects that are (or would be) as their owners want them, `applications/argocd/shop`.
    pub let_go: Vec<String>,
    /// The pause of GitOps.
    pub gitops: Option<Pause>,
}

impl Skill for ResumeGitops {
    const ID: &'static str = "resume_gitops";
    const NAME: &'static str = "Resume GitOps after a rollback";
    const DESCRIPTION: &'static str = "Lets Argo CD, Flux and other controllers go on that a rollback still holds, on the word of the caller that Git holds the good revision; without it they go on by themselves once Git does.";
    const TAGS: &'static [&'static str] = &["rollback", "gitops"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let unknown =
            || SkillError::rejected("rollback_id", "the id of a rollback", "an unknown id");
        let journal = self.history.journal(&input.rollback_id).await?;
        let mut journal = journal.ok_or_else(unknown)?;
        context.check_target(&journal.plan.namespace)?;
        if journal.is_open() {
            let expected = "a rollback that has ended; abort_rollback ends one";
            return Err(SkillError::rejected(
                "rollback_id",
                expected,
                "one that runs",
            ));
        }
        let let_go = names(&journal);
        if !input.dry_run {
            let result = settle::let_all_go(context, &self.guard, &mut journal).await;
            self.history.keep_holds(&journal).await?;
            result?;
        }
        Ok(Output {
            rollback_id: journal.rollback_id,
            let_go,
            gitops: journal.gitops,
        })
    }
}

fn names(journal: &Journal) -> Vec<String> {
    let held = journal.held.iter().map(|hold| hold.object.to_string());
    let frozen = journal.frozen.iter();
    held.chain(frozen.map(|one| format!("projects/{}/freeze_periods", one.environment.project)))
        .collect()
}
