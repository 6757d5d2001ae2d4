//! Tells others of incidents: GitLab (an issue, and a note on the merge request that brought the change) and
//! Alertmanager. What is to be told is kept with the incident, in one batch; it is sent until it is taken. Each
//! message says how the incident stands, so a repeated one changes nothing and only the last one matters.

mod send;

use std::{path::PathBuf, sync::Arc, time::Duration};

use gitlab::{Gitlab, Settings};
use shared::SkillError;
use store::{Entry, Write};

use crate::{
    archive::Archive,
    domain::{
        At, Attribution, Incident,
        dora::{
            Facts,
            fact::{First, Trouble, TroubleWord},
        },
    },
};

pub use send::run;

/// What is to be told, by incident.
const OUTBOX: &str = "incident_notices";
/// Not told yet.
const WAITING: &str = "waiting";
/// Told.
const TOLD: &str = "told";
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where incidents are told.
#[derive(Debug, Clone, clap::Args)]
pub struct NoticeArgs {
    /// GitLab that gets incidents and notes, for example <https://gitlab.example.com>.
    #[arg(
        long,
        env = "MONITORING_AGENT_GITLAB_URL",
        requires = "gitlab_token_file"
    )]
    pub gitlab_url: Option<String>,
    /// File with an access token of scope api.
    #[arg(
        long,
        env = "MONITORING_AGENT_GITLAB_TOKEN_FILE",
        requires = "gitlab_url"
    )]
    pub gitlab_token_file: Option<PathBuf>,
    /// Project that gets the incidents of workloads without the annotation app.gitlab.com/app.
    #[arg(long, env = "MONITORING_AGENT_GITLAB_PROJECT", requires = "gitlab_url")]
    pub gitlab_project: Option<String>,
    /// Alertmanager that gets incidents as alerts, for example <http://alertmanager:9093>.
    #[arg(long, env = "MONITORING_AGENT_ALERTMANAGER_URL")]
    pub alertmanager_url: Option<reqwest::Url>,
}

/// Who is told.
#[derive(Debug, Clone)]
pub struct Notices {
    archive: Archive,
    gitlab: Option<Gitlab>,
    project: Option<String>,
    alertmanager: Option<reqwest::Url>,
    http: reqwest::Client,
}

impl Notices {
    /// Those that the flags name.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(args: &NoticeArgs, store: Arc<dyn store::Store>) -> anyhow::Result<Self> {
        let gitlab = match (&args.gitlab_url, &args.gitlab_token_file) {
            (Some(url), Some(token_file)) => Some(Gitlab::new(&Settings {
                url: url.clone(),
                token_file: token_file.clone(),
                timeout: TIMEOUT,
            })?),
            _ => None,
        };
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self {
            archive: Archive(store),
            gitlab,
            project: args.gitlab_project.clone(),
            alertmanager: args.alertmanager_url.clone(),
            http,
        })
    }
}

/// The writes that tell others how an incident stands, and that count it among failures: for the batch that keeps it.
///
/// # Errors
/// When the incident cannot be encoded.
pub fn notify(incident: &Incident) -> Result<[Write; 2], SkillError> {
    let body = serde_json::to_vec(incident)
        .map_err(|error| SkillError::failed_with("cannot encode an incident", error))?;
    let entry = Entry {
        key: incident.id.clone(),
        scope: WAITING.to_owned(),
        sort: format!("{:020}", incident.detected_at.millis()),
        version: 0,
        body,
    };
    let put = Write::Put {
        collection: OUTBOX,
        entry,
    };
    let last = incident.timeline.iter().map(|entry| entry.at).max();
    let at = last.unwrap_or(incident.detected_at).millis();
    Ok([put, Archive::of_cluster(facts(incident, at), at)])
}

/// An incident as a fact.
fn facts(incident: &Incident, at: i64) -> Facts {
    let word = TroubleWord {
        at,
        resolved: incident.resolved_at.map(At::millis),
        namespace: incident.namespace.clone(),
        deployment: incident.deployment.clone(),
        revision: incident.revision,
        change: incident.change_at.millis(),
        release: incident.attribution == Attribution::Release,
    };
    let trouble = Trouble {
        began: First(Some(incident.began_at.millis())),
        word: Some(word),
    };
    let mut facts = Facts::default();
    facts.troubles.insert(incident.id.clone(), trouble);
    facts
}

#[cfg(test)]
mod tests;
