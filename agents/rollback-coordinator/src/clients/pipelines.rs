//! Pipelines that would deploy while a rollback runs.

use shared::SkillError;

use crate::domain::Environment;

/// Keeps pipelines from deploying to an environment.
#[async_trait::async_trait]
pub trait Pipelines: std::fmt::Debug + Send + Sync + 'static {
    /// Freezes an environment for a rollback; freezing it again for the same one is fine.
    async fn freeze(&self, environment: &Environment, rollback: &str) -> Result<(), SkillError>;
    /// Ends what a rollback froze; ending it again is fine, and what others froze stays.
    async fn thaw(&self, environment: &Environment, rollback: &str) -> Result<(), SkillError>;
}
