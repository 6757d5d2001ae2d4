//! What agents ask of GitLab.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    Commit, CommitStatus, Deployment, DeploymentState, FreezePeriod, Gitlab, GitlabError, Issue,
    MergeRequest, NewDeployment, Note, Project, client::Call,
};

/// Most notes of one merge request that are looked through for our own.
const MOST_NOTES: usize = 1_000;
/// Most incidents that are looked through for our own.
const MOST_ISSUES: usize = 200;
/// Most merge requests of one commit.
const MOST_MERGES: usize = 100;
/// Most freeze periods of one project.
const MOST_FREEZES: usize = 500;

/// The hidden line by which a text is found again: `<!-- AGENT:KEY -->`.
pub fn mark(agent: &str, key: &str) -> String {
    format!("<!-- {agent}:{key} -->")
}

/// Title and text of an incident issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentText {
    /// The hidden line of [`mark`], which has to stand in the description.
    pub mark: String,
    /// Title.
    pub title: String,
    /// Text, in Markdown.
    pub description: String,
    /// Labels.
    pub labels: Vec<String>,
}

pub(crate) fn call(method: Method, what: &'static str, url: reqwest::Url, body: Value) -> Call {
    Call {
        method,
        what,
        url,
        body: Some(body),
    }
}

fn add(body: &mut Value, name: &str, value: &str) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value.into());
    }
}

impl Gitlab {
    /// Records a deployment.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn create_deployment(
        &self,
        project: &Project,
        new: &NewDeployment,
    ) -> Result<Deployment, GitlabError> {
        let NewDeployment {
            environment,
            sha,
            git_ref,
            tag,
            status,
        } = new;
        let body = json!({"environment": environment, "sha": sha, "ref": git_ref, "tag": tag, "status": status});
        let url = self.url(project, &["deployments"]);
        self.ask(call(Method::POST, "create a deployment", url, body))
            .await
    }

    /// Says how a deployment stands now.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn update_deployment(
        &self,
        project: &Project,
        id: u64,
        status: DeploymentState,
    ) -> Result<Deployment, GitlabError> {
        let url = self.url(project, &["deployments", &id.to_string()]);
        let body = json!({"status": status});
        self.ask(call(Method::PUT, "update a deployment", url, body))
            .await
    }

    /// Deployments to an environment, newest first.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn deployments(
        &self,
        project: &Project,
        environment: &str,
        (status, limit): (Option<DeploymentState>, usize),
    ) -> Result<Vec<Deployment>, GitlabError> {
        let mut url = self.url(project, &["deployments"]);
        url.query_pairs_mut()
            .append_pair("environment", environment)
            .append_pair("order_by", "id")
            .append_pair("sort", "desc")
            .extend_pairs(status.map(|status| ("status", status.as_str())));
        self.list("list deployments", url, limit).await
    }

    /// A commit by its SHA, branch or tag.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn commit(&self, project: &Project, sha: &str) -> Result<Commit, GitlabError> {
        let url = self.url(project, &["repository", "commits", sha]);
        self.get("read a commit", url).await
    }

    /// The merge requests that brought a commit.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn merge_requests_of(
        &self,
        project: &Project,
        sha: &str,
    ) -> Result<Vec<MergeRequest>, GitlabError> {
        let url = self.url(project, &["repository", "commits", sha, "merge_requests"]);
        self.list("list merge requests", url, MOST_MERGES).await
    }

    /// Writes our one note on a merge request: the first that holds the mark is edited, else one is made.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn put_note(
        &self,
        project: &Project,
        merge_request: u64,
        (mark, text): (&str, &str),
    ) -> Result<Note, GitlabError> {
        let number = merge_request.to_string();
        let mut url = self.url(project, &["merge_requests", &number, "notes"]);
        let mut all = url.clone();
        all.query_pairs_mut()
            .append_pair("order_by", "created_at")
            .append_pair("sort", "asc");
        let notes: Vec<Note> = self.list("list notes", all, MOST_NOTES).await?;
        let known = notes
            .into_iter()
            .find(|note| !note.system && note.body.contains(mark));
        let body = json!({"body": format!("{mark}\n{text}")});
        match known {
            Some(known) if body.get("body").and_then(Value::as_str) == Some(&known.body) => {
                Ok(known)
            }
            Some(known) => {
                url = self.url(
                    project,
                    &["merge_requests", &number, "notes", &known.id.to_string()],
                );
                self.ask(call(Method::PUT, "edit a note", url, body)).await
            }
            None => {
                self.ask(call(Method::POST, "write a note", url, body))
                    .await
            }
        }
    }

    /// The incident whose description holds a mark.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn find_incident(
        &self,
        project: &Project,
        mark: &str,
    ) -> Result<Option<Issue>, GitlabError> {
        let mut url = self.url(project, &["issues"]);
        // The search leaves out what encloses the words.
        let words = mark.trim_start_matches("<!-- ").trim_end_matches(" -->");
        url.query_pairs_mut()
            .append_pair("issue_type", "incident")
            .append_pair("in", "description")
            .append_pair("search", words);
        let issues: Vec<Issue> = self.list("list incidents", url, MOST_ISSUES).await?;
        let ours = |issue: &Issue| {
            issue
                .description
                .as_ref()
                .is_some_and(|text| text.contains(mark))
        };
        Ok(issues.into_iter().find(ours))
    }

    /// Makes our incident what the text says: it is found by its mark, made when it is not there, and closed or
    /// opened again as asked.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn put_incident(
        &self,
        project: &Project,
        text: &IncidentText,
        closed: bool,
    ) -> Result<Issue, GitlabError> {
        let known = self.find_incident(project, &text.mark).await?;
        let mut body = json!({
            "title": text.title, "description": text.description, "labels": text.labels.join(","),
        });
        let Some(known) = known else {
            add(&mut body, "issue_type", "incident");
            let url = self.url(project, &["issues"]);
            let made: Issue = self
                .ask(call(Method::POST, "create an incident", url, body))
                .await?;
            return if closed {
                self.close(project, made.iid).await
            } else {
                Ok(made)
            };
        };
        let state = if closed { "closed" } else { "opened" };
        if known.state != state {
            add(
                &mut body,
                "state_event",
                if closed { "close" } else { "reopen" },
            );
        }
        let url = self.url(project, &["issues", &known.iid.to_string()]);
        self.ask(call(Method::PUT, "update an incident", url, body))
            .await
    }

    async fn close(&self, project: &Project, issue: u64) -> Result<Issue, GitlabError> {
        let url = self.url(project, &["issues", &issue.to_string()]);
        self.ask(call(
            Method::PUT,
            "close an incident",
            url,
            json!({"state_event": "close"}),
        ))
        .await
    }

    /// The times in which nothing is deployed.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn freeze_periods(
        &self,
        project: &Project,
    ) -> Result<Vec<FreezePeriod>, GitlabError> {
        let url = self.url(project, &["freeze_periods"]);
        self.list("list freeze periods", url, MOST_FREEZES).await
    }

    /// Makes a time in which nothing is deployed, from one cron expression to another, in UTC.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn create_freeze_period(
        &self,
        project: &Project,
        (start, end): (&str, &str),
    ) -> Result<FreezePeriod, GitlabError> {
        let url = self.url(project, &["freeze_periods"]);
        let body = json!({"freeze_start": start, "freeze_end": end, "cron_timezone": "UTC"});
        self.ask(call(Method::POST, "create a freeze period", url, body))
            .await
    }

    /// Ends a freeze; one that is gone is no error.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn delete_freeze_period(
        &self,
        project: &Project,
        id: u64,
    ) -> Result<(), GitlabError> {
        let gone = Call {
            method: Method::DELETE,
            what: "delete a freeze period",
            url: self.url(project, &["freeze_periods", &id.to_string()]),
            body: None,
        };
        match self.tell(gone).await {
            Err(GitlabError::NotFound(_)) => Ok(()),
            answer => answer,
        }
    }

    /// Puts a status on a commit; the last one of a name is shown.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn set_commit_status(
        &self,
        project: &Project,
        sha: &str,
        status: &CommitStatus,
    ) -> Result<(), GitlabError> {
        let CommitStatus {
            state,
            name,
            description,
            target_url,
        } = status;
        let mut body = json!({"state": state, "name": name, "description": description});
        if let Some(url) = target_url {
            add(&mut body, "target_url", url);
        }
        let url = self.url(project, &["statuses", sha]);
        self.tell(call(Method::POST, "set a commit status", url, body))
            .await
    }
}
