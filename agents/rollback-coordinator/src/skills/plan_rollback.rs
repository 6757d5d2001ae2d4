//! `plan_rollback`: what a rollback would do.

use shared::{Context, Skill, SkillError};

use super::planner::{Planned, Planner, Wanted};

/// Plans a rollback without changing anything.
#[derive(Debug, Clone)]
pub struct PlanRollback(pub Planner);

impl Skill for PlanRollback {
    const ID: &'static str = "plan_rollback";
    const NAME: &'static str = "Plan a rollback";
    const DESCRIPTION: &'static str = "Chooses the revision to go back to, asks db-migrator whether the schema has to move, and returns the steps in order with a diff of the pod template.";
    const TAGS: &'static [&'static str] = &["rollback", "kubernetes", "database"];

    type Input = Wanted;
    type Output = Planned;

    async fn run(&self, context: &Context, input: Wanted) -> Result<Planned, SkillError> {
        self.0
            .plan(context, &input)
            .await
            .map(|(planned, _)| planned)
    }
}
