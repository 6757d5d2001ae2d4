//! Pipelines that would deploy meanwhile: a deploy freeze of their project, for as long as the rollback runs.

use std::time::Duration;

use shared::{Context, SkillError};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::Guard;
use crate::{
    clients::{Pipelines, Slugs},
    domain::{Environment, Frozen, Journal, Workload},
    history::History,
};

/// Longest wait for GitLab while a rollback has to begin: it is there to protect it, not to hold it up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest wait for GitLab to end a freeze; it is tried again later then.
const THAW_LIMIT: Duration = Duration::from_secs(10);

/// The slugs that GitLab's deploy jobs wrote on a workload.
fn slugs(workload: &Workload) -> Option<Slugs> {
    let annotation = |name: &str| workload.annotations.get(name)?.as_str().map(str::to_owned);
    Some(Slugs {
        app: annotation(gitlab::APP_ANNOTATION)?,
        env: annotation(gitlab::ENV_ANNOTATION)?,
    })
}

/// Awaits GitLab for a while. One that did not answer a moment ago is not waited for again.
async fn patiently<T>(
    pipelines: &Pipelines,
    effect: impl Future<Output = Result<T, SkillError>>,
) -> Result<T, SkillError> {
    if pipelines.is_silent() {
        let again = "it did not answer a moment ago";
        return Err(SkillError::unavailable("gitlab", again));
    }
    let slow = |_| SkillError::unavailable("gitlab", "it takes too long");
    let answer = timeout(PATIENCE, effect).await.map_err(slow).flatten();
    if let Err(SkillError::Unavailable { .. }) = &answer {
        pipelines.was_silent();
    }
    answer
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
        let found = patiently(pipelines, pipelines.environment(context, &slugs)).await;
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
        let (Some(pipelines), Some(environment)) =
            (&self.pipelines, journal.plan.environment.clone())
        else {
            return Ok(());
        };
        if journal.plan.redeploy.is_some() {
            return Ok(());
        }
        let freeze = make_freeze(context, pipelines, (history, journal), environment);
        let frozen = patiently(pipelines, freeze).await;
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

    /// Ends the freeze that a journal names.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn thaw(&self, context: &Context, journal: &mut Journal) -> Result<(), SkillError> {
        if let (Some(pipelines), Some(frozen)) = (&self.pipelines, &journal.frozen) {
            let slow = |_| SkillError::unavailable("gitlab", "it takes too long");
            let thaw = end_freeze(context, pipelines, frozen);
            timeout(THAW_LIMIT, thaw).await.map_err(slow).flatten()?;
            journal.frozen = None;
        }
        Ok(())
    }
}

async fn end_freeze(
    context: &Context,
    pipelines: &Pipelines,
    frozen: &Frozen,
) -> Result<(), SkillError> {
    let environment = &frozen.environment;
    for (id, (starts, ends)) in pipelines.freezes(context, environment).await? {
        if frozen.is(&starts, &ends) {
            pipelines.thaw(context, (environment, id)).await?;
        }
    }
    Ok(())
}

/// Writes the times down, and makes the freeze unless it is there.
async fn make_freeze(
    context: &Context,
    pipelines: &Pipelines,
    (history, journal): (&History, &mut Journal),
    environment: Environment,
) -> Result<(), SkillError> {
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
