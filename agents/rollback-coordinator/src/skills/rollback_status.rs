//! `rollback_status`: how far a rollback is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use crate::{domain::Journal, history::History};

/// Most journals in one answer.
const MOST: usize = 50;

/// Shows the journal of a rollback, or the newest ones.
#[derive(Debug, Clone)]
pub struct RollbackStatus(pub History);

/// Which rollback.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Id of the rollback (its task); the newest 50 when absent.
    #[serde(default)]
    rollback_id: Option<String>,
}

/// Journals, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The journals.
    pub rollbacks: Vec<Journal>,
}

impl Skill for RollbackStatus {
    const ID: &'static str = "rollback_status";
    const NAME: &'static str = "Status of a rollback";
    const DESCRIPTION: &'static str = "Shows the journal of a rollback: its plan, each step with its state and duration, and how it ended.";
    const TAGS: &'static [&'static str] = &["rollback"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, _: &Context, input: Input) -> Result<Output, SkillError> {
        let Some(id) = input.rollback_id else {
            return Ok(Output {
                rollbacks: self.0.journals(MOST).await?,
            });
        };
        let journal = self.0.journal(&id).await?;
        journal
            .map(|journal| Output {
                rollbacks: vec![journal],
            })
            .ok_or_else(|| {
                SkillError::rejected("rollback_id", "the id of a rollback", "an unknown id")
            })
    }
}
