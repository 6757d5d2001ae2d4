//! `assess_rollback`: whether the database may go back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::parts::{Workbench, goal};
use crate::{domain::Assessment, engine};

/// Answers from the ledger whether a rollback is safe.
#[derive(Debug, Clone)]
pub struct AssessRollback(pub Workbench);

/// Where to go back to: exactly one of `to_version`, `release` and `revision`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssessRollbackInput {
    /// Name of a configured database; either this or `service`.
    pub database: Option<String>,
    /// The service whose database it is.
    pub service: Option<String>,
    /// The version that would be in force afterwards; `0` for none.
    pub to_version: Option<String>,
    /// The release to go back to, as named when it was applied.
    pub release: Option<String>,
    /// The same as `release`, in the words of whoever rolls out.
    pub revision: Option<String>,
}

/// The answer with its evidence.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AssessRollbackOutput {
    /// The database's name.
    pub database: String,
    /// What a rollback would do and cost.
    #[serde(flatten)]
    pub assessment: Assessment,
}

impl Skill for AssessRollback {
    const ID: &'static str = "assess_rollback";
    const NAME: &'static str = "Assess a rollback";
    const DESCRIPTION: &'static str = "Says from the ledger whether the database may go back to a version or release: safe without the database, reversible, \
        or past the point of no return; with locks, rows at risk and evidence. Changes nothing.";
    const TAGS: &'static [&'static str] = &["database", "rollback", "assessment"];

    type Input = AssessRollbackInput;
    type Output = AssessRollbackOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let database = match (&input.database, &input.service) {
            (Some(name), None) => self.0.database(name)?,
            (None, Some(service)) => self.0.of_service(service)?.clone(),
            _ => {
                let expected = "either database or service";
                return Err(SkillError::rejected(
                    "database",
                    expected,
                    "both or neither",
                ));
            }
        };
        let release = match (&input.release, &input.revision) {
            (Some(_), Some(_)) => {
                let expected = "either release or revision";
                return Err(SkillError::rejected("revision", expected, "both"));
            }
            (release, revision) => release.as_deref().or(revision.as_deref()),
        };
        let goal = goal(input.to_version.as_deref(), release)?;
        let assessment = engine::assess_rollback(self.0.job(context, &database), &goal).await?;
        Ok(AssessRollbackOutput {
            database: database.name.clone(),
            assessment,
        })
    }
}
