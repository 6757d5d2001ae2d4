//! Plans a rollback that GitLab carries out: its deploy job of the old revision runs again.

use shared::{Context, SkillError};

use super::planner::{Planner, Wanted};
use crate::{
    delivery::builds,
    domain::{
        Origin, Plan, Strategy, Workload,
        delivery::{NoRedeploy, deliveries, redeploy},
    },
};

impl Planner {
    /// The plan with GitLab's job in the place of the template.
    ///
    /// # Errors
    /// `Rejected` where no GitLab is configured, `Failed` with the reason when there is no job that could run again.
    pub(super) async fn redeployed(
        &self,
        context: &Context,
        wanted: &Wanted,
        (workload, plan): (&Workload, Plan),
    ) -> Result<Plan, SkillError> {
        let Some(pipelines) = &self.guard.pipelines else {
            let expected = "cluster, since no GitLab is configured (--gitlab-url)";
            return Err(SkillError::rejected("via", expected, "gitlab"));
        };
        if wanted.strategy == Strategy::Gradual {
            let expected = "immediate, since a job of GitLab moves no traffic";
            return Err(SkillError::rejected("strategy", expected, "gradual"));
        }
        let environment = self.guard.environment(context, workload).await;
        let environment = environment.map_err(|why| {
            let unnamed = "the workload names no project and environment of GitLab (annotations app.gitlab.com/app and /env)";
            no_rollback(why.unwrap_or_else(|| unnamed.to_owned()))
        })?;
        let origin = Origin::of(workload, &plan)
            .ok_or_else(|| no_rollback("the workload has no such revision"))?;
        let (from, to) = builds(&plan.images, &origin);
        let all = pipelines.deployments(context, &environment).await?;
        let found = deliveries(&all, (&from, &to)).ok_or_else(|| {
            no_rollback(NoRedeploy::NoDeployment(
                plan.to_revision,
                environment.name.clone(),
            ))
        })?;
        let planned = redeploy(&environment, &all, &found).map_err(no_rollback)?;
        let quarantined = self.history.has_left_commit(&environment, &planned.sha);
        if quarantined.await? {
            return Err(no_rollback(NoRedeploy::Quarantined(planned.sha)));
        }
        plan.redeployed(planned).map_err(no_rollback)
    }
}

fn no_rollback(why: impl std::fmt::Display) -> SkillError {
    SkillError::failed(format!("no rollback: {why}"))
}
