//! Pipelines that would deploy meanwhile: a deploy freeze of their project, for as long as the rollback runs.

use std::time::Duration;

use shared::{Context, SkillError};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::Guard;
use crate::{
    clients::Slugs,
    domain::{Environment, Frozen, Journal, Workload},
    history::History,
};

/// Longest wait for GitLab while a rollback has to begin: it is there to protect it, not to hold it up.
const PATIENCE: Duration = Duration::from_secs(3);

/// The slugs that GitLab's deploy jobs wrote on a workload.
fn slugs(workload: &Workload) -> Option<Slugs> {
    let annotation = |name: &str| workload.annotations.get(name)?.as_str().map(str::to_owned);
    Some(Slugs {
        app: annotation(gitlab::APP_ANNOTATION)?,
        env: annotation(gitlab::ENV_ANNOTATION)?,
    })
}

async fn patiently<T>(
    effect: impl Future<Output = Result<T, SkillError>>,
) -> Result<T, SkillError> {
    let slow = |_| SkillError::unavailable("gitlab", "it takes too long");
    timeout(PATIENCE, effect).await.map_err(slow)?
}

impl Guard {
    /// The environment whose pipelines deploy a workload, where there is a GitLab that knows it.
    ///
    /// # Errors
    /// Why there is none; nothing where that is as it should be.
    pub async fn environment(
        &self,
        context: &Context,
        workload: &Workload,
    ) -> Result<Environment, Option<String>> {
        let pipelines = self.pipelines.as_ref().ok_or(None)?;
        let slugs = slugs(workload).ok_or(None)?;
        let found = patiently(pipelines.environment(context, &slugs)).await;
        let Slugs { app, env } = &slugs;
        let why = match found {
            Ok(Some(environment)) => return Ok(environment),
            Ok(None) => format!(
                "GitLab shows no environment {env} of one project {app}, so its pipelines are not kept still and nothing is recorded there"
            ),
            Err(error) => format!(
                "GitLab does not answer ({}), so its pipelines are not kept still and nothing is recorded there",
                shared::telemetry::Chain(&error)
            ),
        };
        Err(Some(why))
    }

    /// Freezes the pipelines of an environment. The times of the freeze are written down first, so that it is found again.
    ///
    /// # Errors
    /// When the store does not answer. A GitLab that does not freeze holds no rollback up: the journal says so.
    pub async fn freeze(
        &self,
        context: &Context,
        history: &History,
        journal: &mut Journal,
    ) -> Result<(), SkillError> {
        let (Some(_), Some(environment)) = (&self.pipelines, journal.plan.environment.clone())
        else {
            return Ok(());
        };
        if journal.plan.redeploy.is_some() {
            return Ok(());
        }
        let frozen = patiently(self.make_freeze(context, (history, journal), environment)).await;
        let Err(error) = frozen else { return Ok(()) };
        if let SkillError::Denied(_) = error {
            // It did nothing.
            journal.frozen = None;
        }
        let error = shared::telemetry::Chain(&error).to_string();
        tracing::warn!(error, "the pipelines are not kept still");
        journal.remark(format!("the pipelines are not kept still: {error}"));
        history.keep_holds(journal).await
    }

    async fn make_freeze(
        &self,
        context: &Context,
        (history, journal): (&History, &mut Journal),
        environment: Environment,
    ) -> Result<(), SkillError> {
        let Some(pipelines) = &self.pipelines else {
            return Ok(());
        };
        let all = pipelines.freezes(context, &environment).await?;
        let times: Vec<_> = all.into_iter().map(|(_, times)| times).collect();
        let frozen = if let Some(frozen) = &journal.frozen {
            frozen.clone()
        } else {
            let now = OffsetDateTime::now_utc();
            let new = Frozen::from_now(environment, now, &times);
            journal.frozen = Some(new.clone());
            history.keep_holds(journal).await?;
            new
        };
        if times.iter().any(|(starts, ends)| frozen.is(starts, ends)) {
            return Ok(());
        }
        pipelines.freeze(context, &frozen).await
    }

    /// Ends the freeze that a journal names.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn thaw(&self, context: &Context, journal: &mut Journal) -> Result<(), SkillError> {
        if let (Some(pipelines), Some(frozen)) = (&self.pipelines, &journal.frozen) {
            let environment = &frozen.environment;
            for (id, (starts, ends)) in pipelines.freezes(context, environment).await? {
                if frozen.is(&starts, &ends) {
                    pipelines.thaw(context, (environment, id)).await?;
                }
            }
            journal.frozen = None;
        }
        Ok(())
    }
}
