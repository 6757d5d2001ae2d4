//! Sending what waits.

use std::time::Duration;

use gitlab::{GitlabError, IncidentText, Project, mark};
use http::HeaderMap;
use shared::{
    Context, SkillError, ToolCall,
    telemetry::{Chain, traces},
};
use store::{Entry, Scan, StoreError, Write};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Notices, OUTBOX, TOLD, WAITING};
use crate::{
    archive::CLUSTER,
    domain::{
        Incident,
        dora::{
            facts::Facts,
            release::{deployed, origin},
        },
        notice::{AGENT, Release, alert, labels, markdown, title},
    },
    watch::now,
};

/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest pause while nobody takes what waits.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// Notices that are sent before the outbox is looked at again.
const AT_ONCE: usize = 100;

/// Sends what waits, until shutdown.
///
/// # Errors
/// When the store does not answer; the runtime starts the loop again.
pub async fn run(
    notices: Notices,
    context: Context,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut pause = LOOK_EVERY;
    while shutdown
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
    {
        let all_told = notices.send(&context).await?;
        pause = if all_told {
            LOOK_EVERY
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
    }
    Ok(())
}

fn unavailable(error: StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

fn refused(error: GitlabError) -> SkillError {
    if error.is_retryable() {
        SkillError::unavailable("gitlab", error)
    } else {
        SkillError::failed_with("GitLab did not take an incident", error)
    }
}

impl Notices {
    /// Sends what waits; says whether all of it was taken.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn send(&self, context: &Context) -> Result<bool, SkillError> {
        let scan = Scan {
            collection: OUTBOX,
            scope: Some(WAITING.to_owned()),
            limit: AT_ONCE,
            ..Scan::default()
        };
        let mut all = true;
        for entry in self.archive.0.scan(scan).await.map_err(unavailable)? {
            let incident: Incident = match serde_json::from_slice(&entry.body) {
                Ok(incident) => incident,
                Err(error) => {
                    tracing::error!(incident = entry.key, %error, "cannot read a notice");
                    self.told(entry).await?;
                    continue;
                }
            };
            let trace = trace_of(&incident);
            match self.tell(context, &incident).instrument(trace).await {
                Ok(()) => self.told(entry).await?,
                Err(error @ SkillError::Unavailable { .. }) => {
                    all = false;
                    tracing::warn!(incident = incident.id, error = %Chain(&error), "an incident is told later");
                }
                Err(error) => {
                    // Nobody will take it as it is; what comes next may be taken.
                    tracing::error!(incident = incident.id, error = %Chain(&error), "an incident could not be told");
                    self.told(entry).await?;
                }
            }
        }
        Ok(all)
    }

    /// Marks as told what was read, unless the incident has changed meanwhile.
    async fn told(&self, entry: Entry) -> Result<(), SkillError> {
        let entry = Entry {
            scope: TOLD.to_owned(),
            body: Vec::new(),
            ..entry
        };
        let update = Write::Update {
            collection: OUTBOX,
            entry,
        };
        match self.archive.0.submit(vec![update]).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn tell(&self, context: &Context, incident: &Incident) -> Result<(), SkillError> {
        let alerted = self.tell_alertmanager(context, incident).await;
        // Neither waits for the other.
        self.tell_gitlab(context, incident).await?;
        alerted
    }

    async fn tell_alertmanager(
        &self,
        context: &Context,
        incident: &Incident,
    ) -> Result<(), SkillError> {
        let Some(base) = &self.alertmanager else {
            return Ok(());
        };
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v2", "alerts"]);
        }
        let request = self.http.post(url).json(&alert(incident, now()));
        let post = async {
            let gone = |error: reqwest::Error| {
                SkillError::unavailable("alertmanager", error.without_url())
            };
            let answer = request.send().await.map_err(gone)?;
            let status = answer.status();
            if status.is_client_error() {
                return Err(SkillError::failed(format!(
                    "Alertmanager refused an alert ({status})"
                )));
            }
            answer.error_for_status().map(drop).map_err(gone)
        };
        let call = ToolCall::write(
            "alertmanager.post_alerts",
            [format!("incidents/{}", incident.id)],
        );
        context.tool(call, post).await
    }

    async fn tell_gitlab(&self, context: &Context, incident: &Incident) -> Result<(), SkillError> {
        let Some(gitlab) = &self.gitlab else {
            return Ok(());
        };
        let Some((project, release)) = self.place(incident).await? else {
            return Ok(());
        };
        let mark = mark(AGENT, &incident.id);
        let text = markdown(incident, &release);
        let issue = IncidentText {
            title: title(incident),
            description: format!("{mark}\n{text}"),
            labels: labels(incident),
            mark: mark.clone(),
        };
        let call = ToolCall::write(
            "gitlab.put_incident",
            [format!("projects/{}/issues", project.as_str())],
        );
        let put = async {
            let made = gitlab
                .put_incident(&project, &issue, !incident.is_open())
                .await;
            made.map_err(refused)
        };
        context.tool(call, put).await?;
        let Some(sha) = release.sha.map(|sha| sha.to_string()) else {
            return Ok(());
        };
        let call = ToolCall::read(
            "gitlab.read_merge_requests",
            [format!("projects/{}/commits/{sha}", project.as_str())],
        );
        let read = async {
            gitlab
                .merge_requests_of(&project, &sha)
                .await
                .map_err(refused)
        };
        let merges = context.tool(call, read).await?;
        let Some(merge) = merges.iter().find(|merge| merge.state == "merged") else {
            return Ok(());
        };
        let resource = format!(
            "projects/{}/merge_requests/{}/notes",
            project.as_str(),
            merge.iid
        );
        let call = ToolCall::write("gitlab.put_note", [resource]);
        let put = async {
            let note = gitlab.put_note(&project, merge.iid, (&mark, &text)).await;
            note.map_err(refused)
        };
        context.tool(call, put).await.map(drop)
    }

    /// The project that is told, and the release as far as it is known there.
    async fn place(&self, incident: &Incident) -> Result<Option<(Project, Release)>, SkillError> {
        let reader = self.archive.read().await?;
        let cluster = reader.facts(CLUSTER).await?;
        let workload = (
            incident.namespace.as_str(),
            incident.deployment.as_str(),
            incident.revision,
        );
        let Some(origin) = origin(&cluster, workload, &reader.projects().await?) else {
            let project = self.project.as_deref().map(Project::from);
            return Ok(project.map(|project| (project, Release::default())));
        };
        let known: Facts = reader.facts(origin.project).await?;
        let slug = origin.environment.as_deref();
        let found = slug.and_then(|slug| deployed(&known, slug, incident.change_at.millis()));
        let (environment, sha) = found.unzip();
        let release = Release {
            sha: origin.sha.or(sha),
            environment: environment.or(origin.environment),
        };
        Ok(Some((Project::from(origin.project), release)))
    }
}

/// A span in the trace of the incident.
fn trace_of(incident: &Incident) -> tracing::Span {
    let span = tracing::info_span!(
        parent: None,
        "notice",
        "otel.name" = format!("notice {}", incident.key()),
        incident = incident.id,
    );
    let value = incident
        .traceparent
        .as_ref()
        .and_then(|text| text.parse().ok());
    if let Some(value) = value {
        let name = http::HeaderName::from_static("traceparent");
        traces::continue_trace(&span, &HeaderMap::from_iter([(name, value)]));
    }
    span
}
