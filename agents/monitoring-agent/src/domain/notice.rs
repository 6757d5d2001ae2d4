//! What others are told of an incident: an issue and a note in GitLab, an alert for Alertmanager. The same incident
//! gives the same texts, so that they are written once and then edited in place.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{At, Attribution, Incident, Status, dora::Sha};

/// Who writes; begins the hidden line by which a text is found again.
pub const AGENT: &str = "monitoring-agent";
/// How long Alertmanager holds an open incident without hearing of it again: 7 days, longer than anybody leaves one
/// alone. Without an end it would be over after `resolve_timeout`, five minutes.
const HELD_MS: i64 = 7 * 86_400_000;
/// Longest text of one line, in characters.
const LONGEST: usize = 300;
/// Most lines of evidence and of the timeline.
const MOST_LINES: usize = 60;

/// The release that an incident is about, as far as GitLab knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// The commit.
    pub sha: Option<Sha>,
    /// Name of the environment.
    pub environment: Option<String>,
}

/// Title of the issue.
pub fn title(incident: &Incident) -> String {
    let Incident {
        severity,
        namespace,
        deployment,
        revision,
        ..
    } = incident;
    let revision = revision
        .map(|number| format!(" revision {number}"))
        .unwrap_or_default();
    format!(
        "{}: {namespace}/{deployment}{revision} is failing",
        severity.as_str()
    )
}

/// Text of the issue and of the note, in Markdown: what failed, which change, what was decided, what was done.
/// Everything that comes from the cluster stands in code spans, where neither mentions nor quick actions work.
pub fn markdown(incident: &Incident, release: &Release) -> String {
    let mut text = format!("### {}\n\n", title(incident));
    let _ = writeln!(text, "| | |\n| --- | --- |");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row("status", status(incident.status).to_owned());
    row("began", code(&incident.began_at.to_string()));
    row("detected", code(&incident.detected_at.to_string()));
    if let Some(over) = incident.resolved_at {
        row("over", code(&over.to_string()));
    }
    if let Some(millis) = incident.time_to_recovery() {
        row("lasted", duration(millis));
    }
    row("incident", code(&incident.id));
    text.push_str("\n**What failed**\n\n");
    let triggers: Vec<String> = incident
        .triggers
        .iter()
        .map(|trigger| code(trigger.as_str()))
        .collect();
    let _ = writeln!(text, "- triggers: {}", triggers.join(", "));
    for line in incident.evidence.iter().take(MOST_LINES) {
        let _ = writeln!(text, "- {}", code(line));
    }
    text.push_str("\n**Which change**\n\n");
    text.push_str(&change(incident, release));
    text.push_str("\n**Decision**\n\n");
    text.push_str(&decision(incident));
    text.push_str("\n**Steps**\n\n");
    for entry in incident.timeline.iter().take(MOST_LINES) {
        let took = entry
            .took_ms
            .map(|millis| format!(" ({millis} ms)"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "- {} {}{took}",
            code(&entry.at.to_string()),
            code(&entry.event)
        );
    }
    text
}

fn change(incident: &Incident, release: &Release) -> String {
    let mut text = match incident.attribution {
        Attribution::Release => "- the release of this revision is to blame\n".to_owned(),
        other => format!(
            "- no release is to blame; cause: {}\n",
            code(other.as_str())
        ),
    };
    if let Some(revision) = incident.revision {
        let _ = writeln!(
            text,
            "- revision {revision}, in force since {}",
            code(&incident.change_at.to_string())
        );
    }
    if let Some(sha) = release.sha {
        // GitLab links a bare commit.
        let _ = writeln!(text, "- commit {sha}");
        if incident.attribution == Attribution::Release {
            let _ = writeln!(text, "- root cause: {sha}");
        }
    }
    if let Some(environment) = &release.environment {
        let _ = writeln!(text, "- environment {}", code(environment));
    }
    text
}

fn decision(incident: &Incident) -> String {
    match &incident.rollback {
        Some(rollback) => {
            let mut text = format!("- roll back to revision {}\n", rollback.to_revision);
            if rollback.needs_approval {
                text.push_str("- needs an approval\n");
            }
            if let Some(id) = &rollback.rollback_id {
                let _ = writeln!(text, "- rollback {}", code(id));
            }
            text
        }
        None if incident.status == Status::RollingBack => "- roll back\n".to_owned(),
        None => "- no rollback; a person looks\n".to_owned(),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::RollingBack => "rolling back",
        Status::AwaitingApproval => "waits for an approval",
        Status::NeedsHuman => "needs a person",
        Status::Mitigated => "rolled back, not healthy yet",
        Status::Resolved => "over",
    }
}

/// A text as a code span: one line, no backticks, limited.
fn code(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() || c == '`' || c == '|' {
            ' '
        } else {
            c
        }
    };
    let text: String = text.chars().map(plain).take(LONGEST).collect();
    // A comment could hide or end the mark.
    let text = text.replace("<!--", "<! --").replace("-->", "-- >");
    format!("`{}`", text.trim())
}

fn duration(millis: i64) -> String {
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    match seconds {
        0..60 => format!("{seconds}.{:01} s", rest / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Labels of the issue.
pub fn labels(incident: &Incident) -> Vec<String> {
    let severity = incident.severity.as_str().to_ascii_lowercase();
    vec![
        AGENT.to_owned(),
        severity,
        format!("cause::{}", incident.attribution.as_str()),
    ]
}

/// The alert as Alertmanager's API version 2 takes it (`POST /api/v2/alerts`).
pub fn alert(incident: &Incident, now: At) -> Value {
    let cause = incident.attribution.as_str();
    // While it is open the end lies in the future.
    let end = incident.resolved_at.unwrap_or_else(|| now.plus(HELD_MS));
    json!([{
        "labels": {
            "alertname": "WorkloadIncident", "severity": incident.severity.as_str(),
            "namespace": incident.namespace, "deployment": incident.deployment,
            "incident": incident.id, "cause": cause,
        },
        "annotations": {
            "summary": title(incident),
            "description": incident.evidence.iter().take(MOST_LINES).cloned().collect::<Vec<_>>().join("\n"),
        },
        "startsAt": incident.began_at, "endsAt": end,
    }])
}

#[cfg(test)]
mod tests;
