//! An incident from its first sign to its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Attribution, Finding, Key, Severity, Trigger};

/// Most entries of a timeline.
const MOST_ENTRIES: usize = 200;

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A rollback is being asked for.
    RollingBack,
    /// The rollback waits for a person's approval at rollback-coordinator.
    AwaitingApproval,
    /// A person has to look: no rollback was due, or it was refused.
    NeedsHuman,
    /// The rollback is done; the workload is not healthy yet.
    Mitigated,
    /// Over.
    Resolved,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its id: fingerprint and episode.
    pub id: String,
    /// Same cause, same fingerprint.
    pub fingerprint: String,
    /// How often this cause opened an incident so far.
    pub episode: u64,
    /// Where it stands.
    pub status: Status,
    /// How bad it is.
    pub severity: Severity,
    /// Namespace of the workload.
    pub namespace: String,
    /// The Deployment.
    pub deployment: String,
    /// Its revision when the incident began.
    pub revision: Option<u64>,
    /// What opened it, and what came after.
    pub triggers: Vec<Trigger>,
    /// What is to blame.
    pub attribution: Attribution,
    /// What was seen when it was opened.
    pub evidence: Vec<String>,
    /// When the revision became current.
    pub change_at: At,
    /// First sign.
    pub began_at: At,
    /// When it was opened.
    pub detected_at: At,
    /// When it was over.
    pub resolved_at: Option<At>,
    /// The rollback that was asked for.
    pub rollback: Option<Rollback>,
    /// What happened, in order.
    pub timeline: Vec<Entry>,
    /// W3C trace context in which it is worked on.
    pub traceparent: Option<String>,
}

/// The rollback of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollback {
    /// Revision to go back to.
    pub to_revision: u64,
    /// Key under which it is asked for: the same one after a restart.
    pub idempotency_key: String,
    /// Digest of the plan.
    pub plan_digest: String,
    /// Whether the plan needs a person's approval.
    pub needs_approval: bool,
    /// Id at rollback-coordinator, once it answered.
    pub rollback_id: Option<String>,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When.
    pub at: At,
    /// What happened, in one sentence.
    pub event: String,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

impl Incident {
    /// Opens an incident.
    pub fn open(finding: Finding, id: String, episode: u64, now: At) -> Self {
        let rollback = finding.wants_rollback();
        let mut incident = Self {
            id,
            episode,
            status: if rollback {
                Status::RollingBack
            } else {
                Status::NeedsHuman
            },
            severity: finding.severity,
            revision: finding.revision,
            triggers: vec![finding.trigger],
            attribution: finding.attribution,
            change_at: finding.change_at,
            began_at: finding.began_at,
            detected_at: now,
            resolved_at: None,
            rollback: None,
            timeline: Vec::new(),
            traceparent: finding.traceparent,
            fingerprint: finding.fingerprint,
            namespace: finding.key.namespace,
            deployment: finding.key.name,
            evidence: finding.evidence,
        };
        incident.note(
            incident.change_at,
            "the current revision became current",
            None,
        );
        incident.note(incident.began_at, "first sign of trouble", None);
        let severity = incident.severity.as_str();
        let cause = incident.attribution.as_str();
        incident.note(
            now,
            format!("incident opened as {severity}, attributed to {cause}"),
            None,
        );
        if !rollback {
            incident.note(
                now,
                "no rollback: no release is to blame, so a person has to look",
                None,
            );
        }
        incident
    }

    /// The workload.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.deployment.clone(),
        }
    }

    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.status != Status::Resolved
    }

    /// Adds a line to the timeline.
    pub fn note(&mut self, at: At, event: impl Into<String>, took_ms: Option<u64>) {
        if self.timeline.len() < MOST_ENTRIES {
            self.timeline.push(Entry {
                at,
                event: event.into(),
                took_ms,
            });
        }
    }

    /// Takes in that the same cause shows itself again; says whether that is news.
    pub fn merge(&mut self, finding: &Finding, now: At) -> bool {
        if self.triggers.contains(&finding.trigger) {
            return false;
        }
        self.triggers.push(finding.trigger);
        self.note(
            now,
            format!("another trigger holds: {}", finding.trigger.as_str()),
            None,
        );
        true
    }

    /// Hands it to a person.
    pub fn hand_over(&mut self, why: impl Into<String>, now: At) {
        self.status = Status::NeedsHuman;
        self.note(now, why, None);
    }

    /// Ends it.
    pub fn resolve(&mut self, why: &str, now: At) {
        self.status = Status::Resolved;
        self.resolved_at = Some(now);
        self.note(now, why, None);
    }

    /// Milliseconds from its first sign to its end.
    pub fn time_to_recovery(&self) -> Option<i64> {
        self.resolved_at.map(|at| at.since(self.began_at).max(0))
    }
}
