//! An incident from its first sign to its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Attribution, Change, Finding, Key, Severity, Trigger, WorkloadKind};

/// Most entries of a timeline.
const MOST_ENTRIES: usize = 200;
/// Most members of an incident.
const MOST_MEMBERS: usize = 1_000;
/// How long after it was opened an incident that has a cause may get another one: the picture of a fault that
/// several share completes itself within seconds, and later changes would only flap.
const SETTLE_MS: i64 = 60_000;

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
    /// The workload: the first one that showed it.
    pub workload: WorkloadName,
    /// Its revision when the incident began.
    pub revision: Option<u64>,
    /// What opened it, and what came after.
    pub triggers: Vec<Trigger>,
    /// What is to blame.
    pub attribution: Attribution,
    /// What that is, when it has a name, for example `node/n1`.
    #[serde(default)]
    pub subject: Option<String>,
    /// Why it is to blame.
    #[serde(default)]
    pub because: String,
    /// The last change of the workload before.
    #[serde(default)]
    pub change: Change,
    /// All workloads that it broke.
    #[serde(default)]
    pub members: Vec<Member>,
    /// The incident that this one belongs to: same release of several workloads, or the cause that was found later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// Who has taken it on; kept apart, so that neither the watch nor a rollback can overwrite it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
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

/// Names a workload of a namespace.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct WorkloadName {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

/// A workload that an incident broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Its names.
    #[serde(flatten)]
    pub key: Key,
    /// When it was seen.
    pub since: At,
    /// When it was well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<At>,
}

/// Somebody has taken an incident on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    pub at: At,
    /// Until when that holds; without an end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<At>,
    /// What they wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Acknowledgement {
    /// Whether it holds.
    pub fn holds(&self, now: At) -> bool {
        self.until.is_none_or(|until| now < until)
    }
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
        let member = Member {
            key: finding.key.clone(),
            since: now,
            resolved_at: None,
        };
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
            subject: finding.subject,
            because: finding.because,
            change: finding.change,
            change_at: finding.change_at,
            began_at: finding.began_at,
            detected_at: now,
            resolved_at: None,
            rollback: None,
            timeline: Vec::new(),
            traceparent: finding.traceparent,
            fingerprint: finding.fingerprint,
            namespace: finding.key.namespace,
            workload: WorkloadName {
                kind: finding.key.kind,
                name: finding.key.name,
            },
            evidence: finding.evidence,
            members: vec![member],
            part_of: None,
            acknowledged: None,
        };
        incident.begin(now);
        incident
    }

    /// The first lines of the timeline.
    fn begin(&mut self, now: At) {
        let change = self.change.describe();
        self.note(self.change_at, format!("{change} became current"), None);
        self.note(self.began_at, "first sign of trouble", None);
        let severity = self.severity.as_str();
        let cause = self.attribution.as_str();
        let because = &self.because;
        let opened = format!("incident opened as {severity}, attributed to {cause}: {because}");
        self.note(now, opened, None);
        if self.status == Status::NeedsHuman {
            let why = "no rollback: no release is to blame, so a person has to look";
            self.note(now, why, None);
        }
    }

    /// The workload that showed it first.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            kind: self.workload.kind,
            name: self.workload.name.clone(),
        }
    }

    /// Whether it broke this workload, and has not let go of it.
    pub fn concerns(&self, key: &Key) -> bool {
        let holds = |member: &Member| member.key == *key && member.resolved_at.is_none();
        self.members.iter().any(holds)
    }

    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.status != Status::Resolved
    }

    /// Whether a release is to blame.
    pub fn is_release(&self) -> bool {
        self.attribution == Attribution::Release
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
        let joined = self.join(&finding.key, now);
        let blamed = self.blame(finding, now);
        let mut news = joined || blamed;
        if !self.triggers.contains(&finding.trigger) {
            self.triggers.push(finding.trigger);
            let trigger = finding.trigger.as_str();
            self.note(now, format!("another trigger holds: {trigger}"), None);
            news = true;
        }
        news
    }

    /// Takes a workload in; says whether that is news.
    pub fn join(&mut self, key: &Key, now: At) -> bool {
        if let Some(member) = self.members.iter_mut().find(|m| m.key == *key) {
            let again = member.resolved_at.take().is_some();
            if again {
                self.note(now, format!("{key} is broken again"), None);
            }
            return again;
        }
        if self.members.len() >= MOST_MEMBERS {
            return false;
        }
        self.members.push(Member {
            key: key.clone(),
            since: now,
            resolved_at: None,
        });
        self.note(now, format!("{key} is broken too"), None);
        true
    }

    /// Corrects cause and severity when a fuller picture names them; says whether it did.
    fn blame(&mut self, finding: &Finding, now: At) -> bool {
        let mut news = false;
        let worse = finding.severity < self.severity && !self.is_release();
        if worse {
            self.severity = finding.severity;
            let severity = finding.severity.as_str();
            self.note(now, format!("severity is {severity} now"), None);
            news = true;
        }
        let better = finding.attribution != Attribution::Unknown
            && finding.attribution != self.attribution
            && !self.is_release()
            && !finding.wants_rollback();
        let open =
            self.attribution == Attribution::Unknown || now.since(self.detected_at) <= SETTLE_MS;
        if better && open {
            self.attribution = finding.attribution;
            self.subject.clone_from(&finding.subject);
            self.because.clone_from(&finding.because);
            self.evidence.clone_from(&finding.evidence);
            let (cause, because) = (finding.attribution.as_str(), &finding.because);
            self.note(now, format!("attributed to {cause} now: {because}"), None);
            news = true;
        }
        news
    }

    /// Takes over what another copy of it learned meanwhile: members and lines; says whether there was something.
    pub fn catch_up(&mut self, other: &Self) -> bool {
        let known = |member: &&Member| !self.members.iter().any(|own| own.key == member.key);
        let members: Vec<Member> = other.members.iter().filter(known).cloned().collect();
        let unknown = |entry: &&Entry| !self.timeline.contains(entry);
        let lines: Vec<Entry> = other.timeline.iter().filter(unknown).cloned().collect();
        let news = !members.is_empty() || !lines.is_empty();
        self.members.extend(members);
        self.timeline.extend(lines);
        self.timeline.sort_by_key(|entry| entry.at);
        news
    }

    /// Says that it belongs to another incident.
    pub fn attach(&mut self, parent: &str, now: At) {
        if self.part_of.is_none() && self.id != parent {
            self.part_of = Some(parent.to_owned());
            self.note(now, format!("belongs to incident {parent}"), None);
        }
    }

    /// Hands it to a person.
    pub fn hand_over(&mut self, why: impl Into<String>, now: At) {
        self.status = Status::NeedsHuman;
        self.note(now, why, None);
    }

    /// Lets go of a workload; ends with the last one. Says whether it ended.
    pub fn release(&mut self, key: &Key, why: &str, now: At) -> bool {
        let members = self.members.len();
        for member in self.members.iter_mut().filter(|m| m.key == *key) {
            member.resolved_at.get_or_insert(now);
        }
        if self.members.iter().all(|m| m.resolved_at.is_some()) {
            self.resolve(why, now);
            return true;
        }
        if members > 1 {
            self.note(now, format!("{key}: {why}"), None);
        }
        false
    }

    /// Ends it.
    pub fn resolve(&mut self, why: &str, now: At) {
        self.status = Status::Resolved;
        self.resolved_at = Some(now);
        for member in &mut self.members {
            member.resolved_at.get_or_insert(now);
        }
        self.note(now, why, None);
    }

    /// Milliseconds from its first sign to its end.
    pub fn time_to_recovery(&self) -> Option<i64> {
        self.resolved_at.map(|at| at.since(self.began_at).max(0))
    }
}
