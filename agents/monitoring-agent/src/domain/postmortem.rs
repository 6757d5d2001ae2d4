//! The draft of a post-mortem: what the agent knows of an incident, and the questions that only people can answer.

mod page;

use super::{At, Incident, change::ImageChange, incident::Entry, template::Field};

/// Questions that only people can answer.
const QUESTIONS: [&str; 5] = [
    "Who or what was affected, and how much?",
    "Why was the cause there, and why did no earlier check find it?",
    "What went well?",
    "What went badly, and where were we lucky?",
    "What will be changed, by whom and until when?",
];

/// A draft, as sections of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmortem {
    title: String,
    summary: String,
    sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    title: &'static str,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// Sentences.
    List(Vec<String>),
    /// Commands to copy.
    Commands(Vec<String>),
    /// A heading, and rows below it.
    Table([&'static str; 3], Vec<[String; 3]>),
}

impl Postmortem {
    /// Drafts it, as the incident is now.
    pub fn of(incident: &Incident) -> Self {
        let sections = [
            ("In short", Content::Facts(facts(incident))),
            ("Times", Content::Facts(times(incident))),
            ("The last change", Content::Facts(change(incident))),
            ("What was seen", Content::List(incident.evidence.clone())),
            ("Decision", Content::List(decision(incident))),
            ("Timeline", timeline(incident)),
            ("Proof", Content::Commands(proof(incident))),
            (
                "For people to fill in",
                Content::List(QUESTIONS.map(String::from).to_vec()),
            ),
        ];
        let sections = sections
            .into_iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(title, content)| Section { title, content });
        Self {
            title: format!("Post-mortem draft: {}", incident.id),
            summary: summary(incident),
            sections: sections.collect(),
        }
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        page::markdown(self)
    }

    /// As one HTML page that loads nothing.
    pub fn html(&self) -> String {
        page::html(self)
    }
}

impl Content {
    fn is_empty(&self) -> bool {
        match self {
            Self::Facts(facts) => facts.is_empty(),
            Self::List(lines) | Self::Commands(lines) => lines.is_empty(),
            Self::Table(_, rows) => rows.is_empty(),
        }
    }
}

fn summary(incident: &Incident) -> String {
    let state = match incident.resolved_at {
        Some(_) => match incident.time_to_recovery() {
            Some(millis) => format!("it was over {} after its first sign", took(millis)),
            None => "it is over".into(),
        },
        None => "it is not over".into(),
    };
    format!(
        "{} of {}, attributed to {}: {}; {state}.",
        incident.severity.as_str(),
        incident.key(),
        incident.attribution.as_str(),
        incident.because
    )
}

fn facts(incident: &Incident) -> Vec<(String, String)> {
    let triggers: Vec<&str> = incident.triggers.iter().map(|t| t.as_str()).collect();
    let members: Vec<String> = incident.members.iter().map(|m| m.key.to_string()).collect();
    let mut facts = vec![
        fact("Incident", &incident.id),
        fact("Severity", incident.severity.as_str()),
        fact("Workloads", &members.join(", ")),
        fact("Triggers", &triggers.join(", ")),
        fact("Cause", incident.attribution.as_str()),
        fact("Why", &incident.because),
    ];
    facts.extend(incident.subject.as_ref().map(|s| fact("Subject", s)));
    facts.extend(incident.part_of.as_ref().map(|id| fact("Part of", id)));
    if let Some(acknowledged) = &incident.acknowledged {
        let text = format!("{} at {}", acknowledged.by, acknowledged.at);
        facts.push(fact("Acknowledged by", &text));
        facts.extend(acknowledged.note.as_ref().map(|note| fact("Note", note)));
    }
    let episode = format!("{} of this cause", incident.episode);
    facts.push(fact("Episode", &episode));
    facts
}

fn times(incident: &Incident) -> Vec<(String, String)> {
    let (began, detected) = (incident.began_at, incident.detected_at);
    let mut times = vec![
        fact("Change", &incident.change_at.to_string()),
        after("First sign", began, "after the change", incident.change_at),
        after("Detected", detected, "after the first sign", began),
    ];
    let rolled_back = |entry: &&Entry| entry.event == "rollback done";
    if let Some(done) = incident.timeline.iter().find(rolled_back) {
        times.push(after(
            "Rolled back",
            done.at,
            "after the detection",
            detected,
        ));
    }
    let over = incident.resolved_at;
    times.extend(over.map(|at| after("Over", at, "after the first sign", began)));
    times
}

fn after(name: &str, at: At, what: &str, earlier: At) -> (String, String) {
    let millis = at.since(earlier).max(0);
    fact(name, &format!("{at} ({} {what})", took(millis)))
}

fn change(incident: &Incident) -> Vec<(String, String)> {
    let change = &incident.change;
    let number = |number: Option<u64>| number.map_or_else(|| "unknown".into(), |n| n.to_string());
    let mut facts = vec![
        fact("Revision", &number(change.revision)),
        fact("Before", &number(change.previous)),
    ];
    let fields: Vec<String> = change.fields.iter().copied().map(field).collect();
    if !fields.is_empty() {
        facts.push(fact("Differs in", &fields.join(", ")));
    }
    for ImageChange {
        container,
        from,
        to,
    } in &change.images
    {
        let text = |image: &Option<String>| image.clone().unwrap_or_else(|| "none".into());
        let images = format!("{} to {}", text(from), text(to));
        facts.push(fact(&format!("Image of {container}"), &images));
    }
    facts.extend(change.origin.iter().map(|(name, text)| fact(name, text)));
    facts
}

fn field(field: Field) -> String {
    match field {
        Field::Images => "images",
        Field::References => "references",
        Field::Requests => "requests",
        Field::Placement => "placement",
        Field::Volumes => "volumes",
        Field::Settings => "settings",
        Field::Probes => "probes",
        Field::Security => "security",
        Field::Other => "other fields",
    }
    .into()
}

fn decision(incident: &Incident) -> Vec<String> {
    let cause = format!(
        "The cause was named {}: {}.",
        incident.attribution.as_str(),
        incident.because
    );
    let action = match &incident.rollback {
        Some(rollback) => format!(
            "A rollback to revision {} was asked of rollback-coordinator under the key {}{}.",
            rollback.to_revision,
            rollback.idempotency_key,
            if rollback.needs_approval {
                ", which needs an approval"
            } else {
                ""
            }
        ),
        None if incident.is_release() => "A rollback was due and could not be planned.".into(),
        None => "No rollback was asked for, since no release was to blame.".into(),
    };
    vec![cause, action]
}

fn timeline(incident: &Incident) -> Content {
    let rows = incident.timeline.iter().map(|entry| {
        let time = entry.took_ms.and_then(|millis| i64::try_from(millis).ok());
        [
            entry.at.to_string(),
            entry.event.clone(),
            time.map(took).unwrap_or_default(),
        ]
    });
    Content::Table(["When", "What", "Took"], rows.collect())
}

/// How to see the signed records of what was decided and done, and that none of them was changed.
fn proof(incident: &Incident) -> Vec<String> {
    let mut commands = Vec::new();
    let trace = incident.traceparent.as_deref().and_then(trace_id);
    commands.extend(trace.map(|id| {
        format!(
            "meshctl call compliance-auditor query_audit_trail --input '{{\"trace_id\": \"{id}\"}}'"
        )
    }));
    let task = incident
        .rollback
        .as_ref()
        .and_then(|rollback| rollback.rollback_id.as_ref());
    commands.extend(task.map(|id| {
        format!("meshctl call compliance-auditor query_audit_trail --input '{{\"agent\": \"rollback-coordinator\", \"task_id\": \"{id}\"}}'")
    }));
    if !commands.is_empty() {
        commands.push("meshctl call compliance-auditor verify_audit_trail --input '{}'".to_owned());
    }
    commands
}

/// The trace id of a W3C trace context.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let fits = id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
    fits.then_some(id)
}

fn fact(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A duration for people.
fn took(millis: i64) -> String {
    match millis {
        ..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
        _ => format!(
            "{} h {} min",
            millis / 3_600_000,
            millis % 3_600_000 / 60_000
        ),
    }
}

#[cfg(test)]
mod tests;
