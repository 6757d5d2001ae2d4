//! The steps that GitLab takes part in: its deploy job that runs again, and the deployment that is recorded there.

use std::time::Duration;

use gitlab::JobState;
use shared::{Context, SkillError, telemetry::Chain};
use tokio::time::{Instant, sleep, timeout};

use super::{Saga, target};
use crate::{
    clients::Pipelines,
    delivery::record,
    domain::{Journal, Redeploy, delivery::Redeployed},
};

/// First pause between looks at a job; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between looks at a job.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for a revision of what a job applied.
const APPLIED_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for GitLab to take the record of a rollback; it is recorded later then.
const RECORD_LIMIT: Duration = Duration::from_secs(10);

impl Saga {
    /// Records the deployment in GitLab. The rollback has done its work by then, so that a GitLab which does not answer
    /// hears of it later.
    pub(super) async fn record(
        &self,
        context: &Context,
        journal: &mut Journal,
    ) -> Result<(), SkillError> {
        let memory = (&self.guard, &self.history);
        let recorded = timeout(RECORD_LIMIT, record(context, memory, journal)).await;
        let problem = match recorded {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => "GitLab takes too long".to_owned(),
        };
        tracing::warn!(problem, "the deployment is recorded later");
        journal.remark(format!("the deployment is recorded later: {problem}"));
        Ok(())
    }

    fn redeploying<'a>(
        &'a self,
        journal: &'a Journal,
    ) -> Result<(&'a Pipelines, &'a Redeploy), SkillError> {
        let gone = || SkillError::Denied("no GitLab is configured any more".into());
        let pipelines = self.guard.pipelines.as_ref();
        pipelines
            .zip(journal.plan.redeploy.as_ref())
            .ok_or_else(gone)
    }

    /// Runs the job again and follows it to its end.
    pub(super) async fn redeploy(
        &self,
        context: &Context,
        journal: &mut Journal,
    ) -> Result<(), SkillError> {
        self.run_again(context, journal).await?;
        let followed = self.follow(context, journal);
        self.within(context, journal, followed).await
    }

    /// Runs the job again, once: what was the last one before is written down, and a later one is ours.
    async fn run_again(&self, context: &Context, journal: &mut Journal) -> Result<(), SkillError> {
        if journal.redeployed.is_none() {
            let last = self.last_job(context, journal);
            let last = self.within(context, journal, last).await?;
            let planned = journal.plan.redeploy.as_ref().map(|redeploy| redeploy.job);
            journal.redeployed = Some(Redeployed {
                after: last.or(planned).unwrap_or_default(),
                job: None,
            });
            self.history.keep(journal).await?;
        }
        let Some(Redeployed { after, job: None }) = journal.redeployed else {
            return Ok(());
        };
        let job = self.job_after(context, journal, after);
        let job = self.within(context, journal, job).await?;
        journal.redeployed = Some(Redeployed {
            after,
            job: Some(job),
        });
        self.history.keep(journal).await
    }

    async fn last_job(
        &self,
        context: &Context,
        journal: &Journal,
    ) -> Result<Option<u64>, SkillError> {
        let (pipelines, redeploy) = self.redeploying(journal)?;
        let which = (redeploy.pipeline, redeploy.job_name.as_str());
        pipelines
            .last_job(context, &redeploy.environment, which)
            .await
    }

    /// The job that ran again after the one that was last before; made when there is none.
    async fn job_after(
        &self,
        context: &Context,
        journal: &Journal,
        after: u64,
    ) -> Result<u64, SkillError> {
        let (pipelines, redeploy) = self.redeploying(journal)?;
        let place = &redeploy.environment;
        let mut pause = FIRST_PAUSE;
        loop {
            let newer = match self.last_job(context, journal).await {
                Err(SkillError::Unavailable { .. }) => None,
                last => match last?.filter(|id| *id > after) {
                    Some(id) => return Ok(id),
                    None => Some(pipelines.retry(context, (place, redeploy.job)).await),
                },
            };
            match newer {
                Some(Ok(id)) if id > after => return Ok(id),
                // Whether it was carried out is unknown, so that it is looked for first; older versions answer with the
                // job that was.
                None | Some(Ok(_) | Err(SkillError::Unavailable { .. })) => {}
                Some(refused) => return refused,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Follows the job until it has ended well.
    async fn follow(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        let (pipelines, redeploy) = self.redeploying(journal)?;
        let Some(Redeployed { job: Some(id), .. }) = journal.redeployed else {
            return Err(SkillError::failed("no job runs"));
        };
        let place = (&redeploy.environment, id);
        let mut pause = FIRST_PAUSE;
        loop {
            match pipelines.job(context, place).await {
                Ok(job) => match job.status {
                    JobState::Success => return self.applied(journal, id).await,
                    JobState::Failed | JobState::Canceled | JobState::Skipped => {
                        return Err(SkillError::failed(format!(
                            "GitLab's job {id} ended as {}: {}",
                            job.status.as_str(),
                            job.failure_reason.as_deref().unwrap_or("no reason given")
                        )));
                    }
                    JobState::Manual => pipelines.play(context, place).await?,
                    JobState::UnderWay => {}
                },
                Err(SkillError::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until the controller has made a revision of what the job applied.
    async fn applied(&self, journal: &Journal, job: u64) -> Result<(), SkillError> {
        let until = Instant::now() + APPLIED_LIMIT;
        while Instant::now() < until {
            if target(&self.read(journal).await?, journal).is_some() {
                return Ok(());
            }
            sleep(FIRST_PAUSE).await;
        }
        Err(SkillError::failed(format!(
            "GitLab's job {job} ended well, and revision {} is still in force",
            journal.plan.from_revision
        )))
    }
}
