//! GitLab's pipelines: whether they deploy, what they deployed, and a deploy job that runs again. Every call is an audited
//! tool call.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use gitlab::{
    Deployment, DeploymentState, Gitlab, GitlabError, Job, JobState, NewDeployment, Project,
    Settings, project_of, slug,
};
use shared::{Context, SkillError, ToolCall};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::domain::{
    Environment, Frozen,
    delivery::{Delivered, DeployJob},
};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a GitLab that did not answer holds no other rollback up.
const SILENCE: Duration = Duration::from_mins(1);
/// Deployments of an environment that are looked at, the newest first: one page.
const MOST: usize = 100;

/// Where deployments are known.
#[derive(Debug, Clone, clap::Args)]
pub struct PipelineArgs {
    /// GitLab whose pipelines are kept still meanwhile and that rollbacks are recorded in, for example
    /// <https://gitlab.example.com>.
    #[arg(
        long,
        env = "ROLLBACK_COORDINATOR_GITLAB_URL",
        requires = "gitlab_token_file"
    )]
    pub gitlab_url: Option<String>,
    /// File with an access token of scope api and role maintainer, which freezes need.
    #[arg(
        long,
        env = "ROLLBACK_COORDINATOR_GITLAB_TOKEN_FILE",
        requires = "gitlab_url"
    )]
    pub gitlab_token_file: Option<PathBuf>,
}

/// The slugs that GitLab's deploy jobs write on a workload, of its project and of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slugs {
    /// Of the project.
    pub app: String,
    /// Of the environment.
    pub env: String,
}

/// Pipelines of a GitLab.
#[derive(Debug, Clone)]
pub struct Pipelines {
    gitlab: Gitlab,
    /// Environments that were found; neither their names nor their projects' numbers change.
    found: Arc<Mutex<HashMap<Slugs, Environment>>>,
    /// Until when nobody waits for it, since it did not answer.
    silent: Arc<Mutex<Option<Instant>>>,
}

/// What an error of GitLab means here.
fn refused(error: GitlabError) -> SkillError {
    match error {
        error if error.is_retryable() => SkillError::unavailable("gitlab", error),
        // It did nothing, and would not the next time either.
        GitlabError::Denied(_) | GitlabError::NotFound(_) | GitlabError::Refused { .. } => {
            SkillError::Denied(error.to_string())
        }
        error => SkillError::failed_with("GitLab cannot be used", error),
    }
}

fn project(environment: &Environment) -> Project {
    Project::from(environment.project.as_str())
}

async fn call<T: Send>(
    context: &Context,
    call: ToolCall,
    effect: BoxFuture<'_, Result<T, GitlabError>>,
) -> Result<T, SkillError> {
    context
        .tool(call, async { effect.await.map_err(refused) })
        .await
}

impl Environment {
    fn within(&self, what: &str) -> [String; 1] {
        [format!("projects/{}/{what}", self.project)]
    }
}

impl Pipelines {
    /// The GitLab that the flags name, if they do.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(args: &PipelineArgs) -> Result<Option<Self>, GitlabError> {
        let (Some(url), Some(token_file)) = (&args.gitlab_url, &args.gitlab_token_file) else {
            return Ok(None);
        };
        let gitlab = Gitlab::new(&Settings {
            url: url.clone(),
            token_file: token_file.clone(),
            timeout: TIMEOUT,
        })?;
        Ok(Some(Self {
            gitlab,
            found: Arc::default(),
            silent: Arc::default(),
        }))
    }

    /// Notes that it did not answer.
    pub fn was_silent(&self) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = Some(Instant::now() + SILENCE);
    }

    /// Whether it did not answer a moment ago.
    pub fn is_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|until| Instant::now() < until)
    }

    /// The environment that a workload belongs to; `None` when the token sees no such project or environment, or when
    /// several projects have the slug.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn environment(
        &self,
        context: &Context,
        slugs: &Slugs,
    ) -> Result<Option<Environment>, SkillError> {
        let known = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(slugs)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let list = ToolCall::read("gitlab.list_projects", ["projects"]);
        let projects = call(context, list, self.gitlab.projects().boxed()).await?;
        let named = projects
            .iter()
            .map(|one| (one.id, &*one.path_with_namespace));
        let Some(id) = project_of(&slugs.app, named) else {
            return Ok(None);
        };
        let resource = format!("projects/{id}/environments");
        let list = ToolCall::read("gitlab.list_environments", [resource]);
        let project = Project::from(id);
        let all = call(context, list, self.gitlab.environments(&project).boxed()).await?;
        let fits = |one: &gitlab::Environment| match &one.slug {
            Some(own) => *own == slugs.env,
            None => slug(&one.name) == slugs.env,
        };
        let found = all.into_iter().find(fits).map(|one| Environment {
            project: id.to_string(),
            name: one.name,
        });
        if let Some(found) = &found {
            let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(slugs.clone(), found.clone());
        }
        Ok(found)
    }

    /// Begin and end of the project's freezes in UTC, by their numbers.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn freezes(
        &self,
        context: &Context,
        environment: &Environment,
    ) -> Result<Vec<(u64, (String, String))>, SkillError> {
        let resource = environment.within("freeze_periods");
        let list = ToolCall::read("gitlab.list_freeze_periods", resource);
        let project = project(environment);
        let all = call(context, list, self.gitlab.freeze_periods(&project).boxed()).await?;
        let ours = all.into_iter().filter(|one| one.cron_timezone == "UTC");
        Ok(ours
            .map(|one| (one.id, (one.freeze_start, one.freeze_end)))
            .collect())
    }

    /// Makes a freeze.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn freeze(&self, context: &Context, frozen: &Frozen) -> Result<(), SkillError> {
        let resource = frozen.environment.within("freeze_periods");
        let write = ToolCall::write("gitlab.create_freeze_period", resource);
        let project = project(&frozen.environment);
        let times = (frozen.starts.as_str(), frozen.ends.as_str());
        let made = self.gitlab.create_freeze_period(&project, times).boxed();
        call(context, write, made).await.map(drop)
    }

    /// Ends a freeze.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn thaw(
        &self,
        context: &Context,
        (environment, id): (&Environment, u64),
    ) -> Result<(), SkillError> {
        let resource = environment.within(&format!("freeze_periods/{id}"));
        let write = ToolCall::write("gitlab.delete_freeze_period", resource);
        let project = project(environment);
        call(
            context,
            write,
            self.gitlab.delete_freeze_period(&project, id).boxed(),
        )
        .await
    }

    /// The last deployments to an environment, newest first.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn deployments(
        &self,
        context: &Context,
        environment: &Environment,
    ) -> Result<Vec<Delivered>, SkillError> {
        let resource = environment.within("deployments");
        let list = ToolCall::read("gitlab.list_deployments", resource);
        let project = project(environment);
        let all = self
            .gitlab
            .deployments(&project, &environment.name, (None, MOST))
            .boxed();
        let all = call(context, list, all).await?;
        Ok(all.into_iter().map(delivered).collect())
    }

    /// Whether a ref is a tag.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn is_tag(
        &self,
        context: &Context,
        (environment, git_ref): (&Environment, &str),
    ) -> Result<bool, SkillError> {
        let resource = environment.within("repository/tags");
        let read = ToolCall::read("gitlab.read_tag", resource);
        let project = project(environment);
        call(
            context,
            read,
            self.gitlab.has_tag(&project, git_ref).boxed(),
        )
        .await
    }

    /// Records a deployment that went well; says its number.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn record(
        &self,
        context: &Context,
        environment: &Environment,
        (sha, git_ref, tag): (&str, &str, bool),
    ) -> Result<u64, SkillError> {
        let write = ToolCall::write(
            "gitlab.create_deployment",
            environment.within("deployments"),
        );
        let new = NewDeployment {
            environment: environment.name.clone(),
            sha: sha.to_owned(),
            git_ref: git_ref.to_owned(),
            tag,
            status: DeploymentState::Success,
        };
        let project = project(environment);
        let made = self.gitlab.create_deployment(&project, &new).boxed();
        Ok(call(context, write, made).await?.id)
    }

    /// The last job of a name in a pipeline, also of those that ran again.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn last_job(
        &self,
        context: &Context,
        environment: &Environment,
        (pipeline, name): (u64, &str),
    ) -> Result<Option<u64>, SkillError> {
        let resource = environment.within(&format!("pipelines/{pipeline}/jobs"));
        let list = ToolCall::read("gitlab.list_jobs", resource);
        let project = project(environment);
        let all = call(
            context,
            list,
            self.gitlab.jobs_of(&project, pipeline).boxed(),
        )
        .await?;
        let own = all.into_iter().filter(|job| job.name == name);
        Ok(own.map(|job| job.id).max())
    }

    /// A job.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn job(
        &self,
        context: &Context,
        (environment, id): (&Environment, u64),
    ) -> Result<Job, SkillError> {
        let resource = environment.within(&format!("jobs/{id}"));
        let read = ToolCall::read("gitlab.read_job", resource);
        let project = project(environment);
        call(context, read, self.gitlab.job(&project, id).boxed()).await
    }

    /// Runs a job again; says the number of the new one.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn retry(
        &self,
        context: &Context,
        (environment, id): (&Environment, u64),
    ) -> Result<u64, SkillError> {
        let resource = environment.within(&format!("jobs/{id}"));
        let write = ToolCall::write("gitlab.retry_job", resource);
        let project = project(environment);
        let job = call(context, write, self.gitlab.retry_job(&project, id).boxed()).await?;
        Ok(job.id)
    }

    /// Starts a job that waits for somebody to start it.
    ///
    /// # Errors
    /// What GitLab answers.
    pub async fn play(
        &self,
        context: &Context,
        (environment, id): (&Environment, u64),
    ) -> Result<(), SkillError> {
        let resource = environment.within(&format!("jobs/{id}"));
        let write = ToolCall::write("gitlab.play_job", resource);
        let project = project(environment);
        let played = call(context, write, self.gitlab.play_job(&project, id).boxed());
        played.await.map(drop)
    }
}

fn delivered(one: Deployment) -> Delivered {
    let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let over = matches!(
        one.status,
        DeploymentState::Success
            | DeploymentState::Failed
            | DeploymentState::Canceled
            | DeploymentState::Skipped
    );
    let recorded = || Some((at(&one.created_at)?, one.updated_at.as_deref().and_then(at)));
    let span = match &one.deployable {
        Some(job) => {
            let began = job.started_at.as_deref().and_then(at);
            began.map(|began| (began, job.finished_at.as_deref().and_then(at)))
        }
        None => recorded(),
    };
    let job = one.deployable.and_then(|job| {
        Some(DeployJob {
            id: job.id,
            pipeline: job.pipeline?.id,
            name: job.name,
            tag: job.tag,
            archived: job.archived,
            ended: matches!(
                job.status,
                JobState::Success | JobState::Failed | JobState::Canceled
            ),
        })
    });
    Delivered {
        id: one.id,
        sha: one.sha,
        git_ref: one.git_ref,
        succeeded: one.status == DeploymentState::Success,
        // What has not ended may still make revisions.
        span: span.map(|(began, ended)| (began, ended.filter(|_| over))),
        job,
    }
}
