//! Jobs of pipelines: looked at, run again, and followed.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{Gitlab, GitlabError, Project, calls::call};

/// Most jobs of one pipeline.
const MOST_JOBS: usize = 1_000;

/// Status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Done.
    Success,
    /// Went wrong.
    Failed,
    /// Taken back.
    Canceled,
    /// Not done.
    Skipped,
    /// Waits for somebody to start it.
    Manual,
    /// On its way, in whatever way this version of GitLab calls it.
    #[serde(other)]
    UnderWay,
}

impl JobState {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::Manual => "manual",
            Self::UnderWay => "under way",
        }
    }
}

/// The pipeline of a job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PipelineOfJob {
    /// Number.
    pub id: u64,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Job {
    /// Number of the instance; a later job has a higher one.
    pub id: u64,
    /// Name, as `.gitlab-ci.yml` gives it.
    pub name: String,
    /// How it stands.
    pub status: JobState,
    /// Whether its ref is a tag.
    #[serde(default)]
    pub tag: bool,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<String>,
    /// Whether it is too old to be run again.
    #[serde(default)]
    pub archived: bool,
    /// Why it failed, in one of GitLab's words.
    #[serde(default)]
    pub failure_reason: Option<String>,
    /// Its pipeline.
    #[serde(default)]
    pub pipeline: Option<PipelineOfJob>,
}

impl Gitlab {
    /// A job.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn job(&self, project: &Project, id: u64) -> Result<Job, GitlabError> {
        let url = self.url(project, &["jobs", &id.to_string()]);
        self.get("read a job", url).await
    }

    /// All jobs of a pipeline, with those that were run again.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn jobs_of(&self, project: &Project, pipeline: u64) -> Result<Vec<Job>, GitlabError> {
        let mut url = self.url(project, &["pipelines", &pipeline.to_string(), "jobs"]);
        url.query_pairs_mut().append_pair("include_retried", "true");
        self.list("list jobs", url, MOST_JOBS).await
    }

    /// Runs a job once more, as a new job of the same pipeline.
    ///
    /// # Errors
    /// What GitLab answered; `Refused` with its reason when the job cannot be run again.
    pub async fn retry_job(&self, project: &Project, id: u64) -> Result<Job, GitlabError> {
        let url = self.url(project, &["jobs", &id.to_string(), "retry"]);
        self.ask(call(Method::POST, "run a job again", url, json!({})))
            .await
    }

    /// Starts a job that waits for somebody to start it.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn play_job(&self, project: &Project, id: u64) -> Result<Job, GitlabError> {
        let url = self.url(project, &["jobs", &id.to_string(), "play"]);
        self.ask(call(Method::POST, "start a job", url, json!({})))
            .await
    }

    /// Whether the project has a tag of this name.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn has_tag(&self, project: &Project, name: &str) -> Result<bool, GitlabError> {
        let url = self.url(project, &["repository", "tags", name]);
        match self.get::<serde_json::Value>("read a tag", url).await {
            Ok(_) => Ok(true),
            Err(GitlabError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
