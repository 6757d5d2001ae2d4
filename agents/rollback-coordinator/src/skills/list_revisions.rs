//! `list_revisions`: what there is to go back to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::planner::{Planner, Subject};
use crate::domain::{Health, Named};

/// Lists the revisions of a workload.
#[derive(Debug, Clone)]
pub struct ListRevisions(pub Planner);

/// Which Deployment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace of the workload.
    namespace: String,
    /// The workload.
    #[serde(default)]
    workload: Option<Named>,
    /// Name of a Deployment, in the place of `workload`.
    #[serde(default)]
    deployment: Option<String>,
}

/// Its revisions, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The revision in force.
    pub current: Option<u64>,
    /// All revisions.
    pub revisions: Vec<Listed>,
}

/// One revision.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its number.
    pub revision: u64,
    /// Images of its containers.
    pub images: Vec<String>,
    /// Pods it has and pods of it that are ready.
    pub replicas: (u32, u32),
    /// What is known of its health.
    pub health: Health,
    /// Schema version that it declares.
    pub schema_version: Option<String>,
    /// When it was created, RFC 3339.
    pub created: Option<String>,
}

impl Skill for ListRevisions {
    const ID: &'static str = "list_revisions";
    const NAME: &'static str = "List revisions";
    const DESCRIPTION: &'static str = "Lists the revisions of a workload with images, health as far as it was seen, and the schema version each declares.";
    const TAGS: &'static [&'static str] = &["rollback", "kubernetes"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let subject = Subject::of(
            &input.namespace,
            input.workload.as_ref(),
            input.deployment.as_deref(),
        )?;
        let workload = self.0.workload(context, &subject).await?;
        let current = workload.current().map(|revision| revision.number);
        let listed = workload.revisions.iter().rev().map(|revision| Listed {
            revision: revision.number,
            images: revision.images(),
            replicas: (revision.replicas, revision.ready),
            health: revision.health,
            schema_version: revision.schema().map(|(_, version)| version),
            created: revision.created.clone(),
        });
        Ok(Output {
            current,
            revisions: listed.collect(),
        })
    }
}
