//! `list_incidents`: what is and was wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::check_name;
use crate::{
    domain::{
        At, Attribution, Incident, Severity, Status,
        incident::{Acknowledgement, WorkloadName},
    },
    ledger::{Ledger, Query},
};

/// Most incidents in one answer.
const MOST: usize = 500;
/// Incidents in one answer when the caller does not say.
const USUAL: usize = 50;

/// Lists incidents.
#[derive(Debug, Clone)]
pub struct ListIncidents(pub Ledger);

/// Which incidents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only open or only resolved ones; all when absent.
    #[serde(default)]
    pub state: Option<State>,
    /// Only of this namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// At most this many, 1 to 500; 50 when absent.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Open or over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not over.
    Open,
    /// Over.
    Resolved,
}

/// Incidents, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The incidents.
    pub incidents: Vec<Listed>,
}

/// One incident in short.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Id for `get_incident`.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// How bad it is.
    pub severity: Severity,
    /// What is to blame.
    pub attribution: Attribution,
    /// Namespace of the workload.
    pub namespace: String,
    /// The workload that showed it first.
    pub workload: WorkloadName,
    /// What is to blame, when it has a name.
    pub subject: Option<String>,
    /// How many workloads it broke.
    pub members: usize,
    /// The incident that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// Who has taken it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// Its revision when the incident began.
    pub revision: Option<u64>,
    /// First sign.
    pub began_at: At,
    /// When it was opened.
    pub detected_at: At,
    /// When it was over.
    pub resolved_at: Option<At>,
}

impl From<Incident> for Listed {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            status: incident.status,
            severity: incident.severity,
            attribution: incident.attribution,
            namespace: incident.namespace,
            workload: incident.workload,
            subject: incident.subject,
            members: incident.members.len(),
            part_of: incident.part_of,
            acknowledged: incident.acknowledged,
            revision: incident.revision,
            began_at: incident.began_at,
            detected_at: incident.detected_at,
            resolved_at: incident.resolved_at,
        }
    }
}

impl Skill for ListIncidents {
    const ID: &'static str = "list_incidents";
    const NAME: &'static str = "List incidents";
    const DESCRIPTION: &'static str =
        "Lists incidents, newest first: severity, cause, workload, status and times.";
    const TAGS: &'static [&'static str] = &["incident", "monitoring"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let Input {
            state,
            namespace,
            limit,
        } = input;
        if let Some(namespace) = &namespace {
            check_name("namespace", namespace)?;
            context.check_target(namespace)?;
        }
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(SkillError::rejected("limit", "1 to 500", limit.to_string()));
        }
        let query = Query {
            open: state.map(|state| state == State::Open),
            namespace,
            limit,
        };
        let incidents = self.0.list(&query).await?;
        Ok(Output {
            incidents: incidents.into_iter().map(Listed::from).collect(),
        })
    }
}
