//! `follow_incident`: updates as they happen, for those who stream the task.

use std::time::Duration;

use a2a::types::{Artifact, Part};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use super::find;
use crate::{
    domain::{Incident, Severity, Status, incident::Entry},
    ledger::Ledger,
};

/// The answer is written this long before the caller stops waiting.
const MARGIN: Duration = Duration::from_secs(2);
/// An incident that another replica of this agent works on is read again after this time.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Artifact that grows with the timeline.
const ARTIFACT: &str = "timeline";

/// Follows an incident.
#[derive(Debug, Clone)]
pub struct FollowIncident(pub Ledger);

/// Which incident.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its id, for example `inc-3f9a0c51d2e8-1`.
    id: String,
    /// Lines of the timeline that the caller has already; none when absent.
    #[serde(default)]
    after: usize,
}

/// Where it stood in the end.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The incident.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it is over; otherwise the time of this call was up: call again with `after`.
    pub over: bool,
    /// Lines of the timeline so far: the next call's `after`.
    pub after: usize,
    /// The lines that came during this call.
    pub lines: Vec<Entry>,
}

impl Skill for FollowIncident {
    const ID: &'static str = "follow_incident";
    const NAME: &'static str = "Follow an incident";
    const DESCRIPTION: &'static str = "Streams an incident's timeline while it goes on: every new line is a status update and a part of the artifact; ends with the incident or with the call's time.";
    const TAGS: &'static [&'static str] = &["incident", "monitoring", "stream"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        // Subscribed before the first read, so that nothing falls between.
        let mut news = self.0.subscribe();
        let mut incident = find(context, &self.0, &input.id).await?;
        let until = context.deadline() - MARGIN;
        let mut seen = input.after;
        loop {
            seen = tell(context, &incident, seen)?;
            if !incident.is_open() || Instant::now() >= until {
                return Ok(output(incident, input.after));
            }
            let pause = tokio::time::sleep_until(until.min(Instant::now() + READ_AGAIN));
            tokio::select! {
                update = news.recv() => match update {
                    Ok(update) if update.id == incident.id => incident = update,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_) | RecvError::Closed) => {
                        incident = find(context, &self.0, &input.id).await?;
                    }
                },
                () = pause => incident = find(context, &self.0, &input.id).await?,
                () = context.canceled() => return Err(SkillError::Canceled),
            }
        }
    }
}

/// Tells the lines that are new; gives how many there are.
fn tell(context: &Context, incident: &Incident, seen: usize) -> Result<usize, SkillError> {
    let lines = incident.timeline.get(seen..).unwrap_or_default();
    for (at, line) in lines.iter().enumerate() {
        context.progress(&line.event, 0, 0);
        let text = format!("{} {}\n", line.at, line.event);
        let artifact = Artifact {
            artifact_id: ARTIFACT.into(),
            name: Some("Timeline".into()),
            description: Some("What happened, as it happens.".into()),
            parts: vec![Part::text(text)],
            metadata: None,
            extensions: Vec::new(),
        };
        let last = !incident.is_open() && at + 1 == lines.len();
        context.artifact(artifact, seen + at > 0, last)?;
    }
    Ok(seen.max(incident.timeline.len()))
}

fn output(incident: Incident, after: usize) -> Output {
    let lines = incident.timeline.get(after..).unwrap_or_default().to_vec();
    Output {
        status: incident.status,
        severity: incident.severity,
        over: !incident.is_open(),
        after: incident.timeline.len().max(after),
        id: incident.id,
        lines,
    }
}
