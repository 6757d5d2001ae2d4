//! The fields of GitLab's objects that are used here.

use serde::{Deserialize, Serialize};

use crate::Job;

/// A project by number or by path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Project(String);

impl Project {
    /// As it stands in an address, not yet encoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u64> for Project {
    fn from(id: u64) -> Self {
        Self(id.to_string())
    }
}

impl From<&str> for Project {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

/// Status of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Made.
    Created,
    /// Under way.
    Running,
    /// Done.
    Success,
    /// Went wrong.
    Failed,
    /// Taken back.
    Canceled,
    /// Waits for an approval.
    Blocked,
    /// Not done.
    Skipped,
}

impl DeploymentState {
    /// The word in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
        }
    }
}

/// An environment of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Environment {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// The name as it stands in addresses and annotations.
    #[serde(default)]
    pub slug: Option<String>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Deployment {
    /// Number of the instance.
    pub id: u64,
    /// Number in the project.
    pub iid: u64,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// Commit.
    pub sha: String,
    /// How it stands.
    pub status: DeploymentState,
    /// When it was made.
    pub created_at: String,
    /// When it last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Where.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// The job that deployed; none when somebody recorded it.
    #[serde(default)]
    pub deployable: Option<Job>,
}

/// A deployment to record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewDeployment {
    /// Name of the environment.
    pub environment: String,
    /// Commit.
    pub sha: String,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// Whether that is a tag.
    pub tag: bool,
    /// How it stands: running, success, failed or canceled.
    pub status: DeploymentState,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Commit {
    /// Full SHA.
    pub id: String,
    /// First line.
    pub title: String,
    /// When it was written.
    pub authored_date: String,
    /// Its parents.
    #[serde(default)]
    pub parent_ids: Vec<String>,
    /// Its page.
    pub web_url: String,
}

/// A merge request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MergeRequest {
    /// Number in the project.
    pub iid: u64,
    /// Title.
    pub title: String,
    /// `opened`, `closed`, `locked` or `merged`.
    pub state: String,
    /// Branch it goes to.
    pub target_branch: String,
    /// The merge commit.
    #[serde(default)]
    pub merge_commit_sha: Option<String>,
    /// When it was merged.
    #[serde(default)]
    pub merged_at: Option<String>,
    /// Its page.
    pub web_url: String,
}

/// A note on a merge request or issue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Note {
    /// Number.
    pub id: u64,
    /// Text.
    pub body: String,
    /// Whether GitLab wrote it.
    #[serde(default)]
    pub system: bool,
}

/// An issue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Issue {
    /// Number in the project.
    pub iid: u64,
    /// Title.
    pub title: String,
    /// Text.
    #[serde(default)]
    pub description: Option<String>,
    /// `opened` or `closed`.
    pub state: String,
    /// `issue`, `incident` and others.
    pub issue_type: String,
    /// When it was closed.
    #[serde(default)]
    pub closed_at: Option<String>,
    /// Its page.
    pub web_url: String,
}

/// A time in which nothing is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FreezePeriod {
    /// Number.
    pub id: u64,
    /// Begin, as a cron expression.
    pub freeze_start: String,
    /// End, as a cron expression.
    pub freeze_end: String,
    /// Time zone of both.
    pub cron_timezone: String,
}

/// What a commit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Good.
    Success,
    /// Bad.
    Failed,
    /// Taken back.
    Canceled,
}

/// A status on a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitStatus {
    /// What it says.
    pub state: StatusState,
    /// Who says it.
    pub name: String,
    /// Why, in one line.
    pub description: String,
    /// Where more is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
}
