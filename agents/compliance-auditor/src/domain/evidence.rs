//! What the trail says, gathered record by record.

use std::collections::{BTreeMap, HashMap};

use audit::{Phase, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::class::Class;

/// References kept of one kind; the counts go on.
const KEPT: usize = 10;
/// Open calls that are followed at once; a trail with more of them is not sound anyway.
const MAX_OPEN: usize = 100_000;

/// A record that speaks for or against a control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Agent that made the record.
    pub agent: String,
    /// The record's counter.
    pub counter: u64,
    /// The record's UUID.
    pub record_id: String,
    /// The record's action.
    pub action: String,
}

impl From<&Record> for Reference {
    fn from(record: &Record) -> Self {
        Self {
            agent: record.agent_name().to_owned(),
            counter: record.counter,
            record_id: record.id.clone(),
            action: record.action.clone(),
        }
    }
}

/// Number of records of a kind, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first ones.
    pub first: Vec<Reference>,
}

impl Tally {
    fn add(&mut self, reference: Reference) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(reference);
        }
    }
}

/// Whether one agent's chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainVerdict {
    /// The agent.
    pub agent: String,
    /// Records whose signature and place in the chain hold.
    pub verified: u64,
    /// Different records that arrived under a counter that was taken, and were refused.
    pub forks: u64,
    /// Where the chain first breaks, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_break: Option<ChainBreak>,
}

/// A place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainBreak {
    /// Counter of the record.
    pub counter: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl ChainVerdict {
    /// Neither break nor fork.
    pub fn holds(&self) -> bool {
        self.first_break.is_none() && self.forks == 0
    }
}

/// How long before the newest record a change without outcome is still taken to be under way: the longest
/// execution time of the mesh's manifests is 30 minutes.
const UNDER_WAY: Duration = Duration::minutes(30);

/// What security-scanner found in the cluster's access rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterFindings {
    /// Findings rated critical or high.
    pub severe: u64,
    /// All findings.
    pub total: u64,
}

/// Everything that controls are judged by, as far as it is in the trail.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Successful records by class; of [`Class::Refusal`], all.
    pub by_class: BTreeMap<Class, Tally>,
    /// Records whose caller is no verified workload or external caller.
    pub unidentified: Tally,
    /// Records whose caller is.
    pub identified: Tally,
    /// Records by agent.
    pub by_agent: BTreeMap<String, u64>,
    /// Recoveries that failed and were not followed by one of the same resources that succeeded.
    failed_recoveries: BTreeMap<String, Reference>,
    /// Announced changes whose outcome is not known, with the time of the announcement.
    open: HashMap<(String, String), (String, Reference)>,
    /// Time of the newest record.
    newest: Option<String>,
    /// Changes with both records.
    pub closed: Tally,
    /// Number of records.
    pub records: u64,
    /// Verdicts on the chains.
    pub chains: Vec<ChainVerdict>,
    /// Findings in the cluster, when it was asked.
    pub cluster: Option<ClusterFindings>,
}

impl Evidence {
    /// Takes one record. Records of one agent come in the order of their counters.
    pub fn add(&mut self, record: &Record) {
        let (class, reference) = (Class::of(record), Reference::from(record));
        self.records += 1;
        if self
            .newest
            .as_ref()
            .is_none_or(|newest| *newest < record.time)
        {
            self.newest = Some(record.time.clone());
        }
        *self.by_agent.entry(reference.agent.clone()).or_default() += 1;
        let caller = if record.caller.starts_with("spiffe://") {
            &mut self.identified
        } else {
            &mut self.unidentified
        };
        caller.add(reference.clone());
        let closes = self.pair(record, &reference);
        if class == Class::Recovery && record.phase == Phase::Outcome {
            self.recovered(record, &reference);
        }
        let counts = class == Class::Refusal || class == Class::Approval || succeeded(record);
        if counts && record.phase == Phase::Outcome {
            if closes && class != Class::Change {
                self.by_class
                    .entry(Class::Change)
                    .or_default()
                    .add(reference.clone());
            }
            self.by_class.entry(class).or_default().add(reference);
        }
    }

    /// Announced changes whose outcome is not known, and which no longer can be under way.
    pub fn open_changes(&self) -> Tally {
        let end = self.newest.as_deref().and_then(moment);
        let is_over = |time: &str| {
            end.zip(moment(time))
                .is_none_or(|(end, time)| end - time > UNDER_WAY)
        };
        let mut open: Vec<_> = self
            .open
            .values()
            .filter(|(time, _)| is_over(time))
            .map(|(_, reference)| reference.clone())
            .collect();
        open.sort_by(|a, b| (&a.agent, a.counter).cmp(&(&b.agent, b.counter)));
        tally(open)
    }

    /// Recoveries that failed for good.
    pub fn failed_recoveries(&self) -> Tally {
        tally(self.failed_recoveries.values().cloned())
    }

    /// Joins the outcome of a call to its intent, and says whether it did. A call is known by agent, call id and action.
    fn pair(&mut self, record: &Record, reference: &Reference) -> bool {
        let key = (
            reference.agent.clone(),
            format!("{}/{}", record.call_id, record.action),
        );
        match record.phase {
            Phase::Intent => {
                if self.open.len() < MAX_OPEN {
                    self.open
                        .insert(key, (record.time.clone(), reference.clone()));
                }
                false
            }
            Phase::Outcome => {
                let closes = self.open.remove(&key).is_some();
                if closes {
                    self.closed.add(reference.clone());
                }
                closes
            }
        }
    }

    fn recovered(&mut self, record: &Record, reference: &Reference) {
        let key = format!(
            "{} {} {}",
            reference.agent,
            record.action,
            record.resources.join(",")
        );
        if succeeded(record) {
            self.failed_recoveries.remove(&key);
        } else if matches!(record.decision.as_str(), "failed" | "deadline_exceeded") {
            self.failed_recoveries.insert(key, reference.clone());
        }
    }
}

fn moment(time: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(time, &Rfc3339).ok()
}

fn tally(references: impl IntoIterator<Item = Reference>) -> Tally {
    let mut tally = Tally::default();
    references
        .into_iter()
        .for_each(|reference| tally.add(reference));
    tally
}

fn succeeded(record: &Record) -> bool {
    matches!(record.decision.as_str(), "ok" | "allowed" | "completed")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(action: &str, decision: &str, phase: Phase) -> Record {
        Record {
            schema: audit::record::SCHEMA.into(),
            id: format!("{action}-{decision}"),
            time: "2026-11-22T10:00:00.000Z".into(),
            did: "did:ossa:66687aadf862bd776c8fc18b8e9f8e2008971485".into(),
            agent: "spiffe://mesh.local/ns/data-system/sa/db-migrator".into(),
            counter: 1,
            prev: audit::record::GENESIS.into(),
            call_id: "call".into(),
            phase,
            caller: "spiffe://mesh.local/external/operator".into(),
            on_behalf_of: None,
            action: action.into(),
            resources: Vec::new(),
            decision: decision.into(),
            input_sha256: None,
            output_sha256: None,
            policy_sha256: None,
            trace_id: None,
            span_id: None,
            task_id: None,
        }
    }

    fn gathered(records: &[Record]) -> Evidence {
        let mut evidence = Evidence::default();
        for record in records {
            evidence.add(record);
        }
        evidence
    }

    #[test]
    fn an_intent_is_open_until_its_outcome() {
        let intent = record("kubernetes.patch", "started", Phase::Intent);
        let at = |time: &str| Record {
            time: time.into(),
            ..record("kubernetes.delete", "ok", Phase::Outcome)
        };
        let (soon, other) = (
            at("2026-11-22T10:30:00.000Z"),
            at("2026-11-22T10:30:00.001Z"),
        );
        assert_eq!(
            gathered(&[intent.clone(), soon]).open_changes().count,
            0,
            "it may still be under way"
        );
        let open = gathered(&[intent.clone(), other]);
        assert_eq!((open.open_changes().count, open.closed.count), (1, 0));
        let done = gathered(&[intent, record("kubernetes.patch", "failed", Phase::Outcome)]);
        assert_eq!((done.open_changes().count, done.closed.count), (0, 1));
        let rolled_back = gathered(&[
            record("execute_rollback", "started", Phase::Intent),
            record("execute_rollback", "ok", Phase::Outcome),
        ]);
        let count = |class| {
            rolled_back
                .by_class
                .get(&class)
                .map_or(0, |tally| tally.count)
        };
        assert_eq!((count(Class::Recovery), count(Class::Change)), (1, 1));
    }

    #[test]
    fn a_failed_recovery_is_made_good_by_a_later_one_of_the_same_resources() {
        let failed = record("execute_rollback", "failed", Phase::Outcome);
        let good = record("execute_rollback", "ok", Phase::Outcome);
        let elsewhere = Record {
            resources: vec!["other".into()],
            ..good.clone()
        };
        assert_eq!(
            gathered(&[failed.clone(), elsewhere])
                .failed_recoveries()
                .count,
            1
        );
        assert_eq!(
            gathered(&[failed.clone(), good.clone()])
                .failed_recoveries()
                .count,
            0
        );
        assert_eq!(gathered(&[good, failed]).failed_recoveries().count, 1);
    }

    #[test]
    fn failures_and_dry_intents_are_no_evidence() {
        let evidence = gathered(&[
            record("detect_secrets", "failed", Phase::Outcome),
            record("scan_vulnerabilities", "ok", Phase::Outcome),
            record("apply_migration", "started", Phase::Intent),
        ]);
        assert_eq!(evidence.by_class.len(), 1);
        assert_eq!(
            evidence.by_class[&Class::SecurityScan].first[0].action,
            "scan_vulnerabilities"
        );
    }

    #[test]
    fn callers_without_identity_are_counted_apart() {
        let nobody = Record {
            caller: "anonymous".into(),
            ..record("x", "ok", Phase::Outcome)
        };
        let evidence = gathered(&[nobody, record("x", "ok", Phase::Outcome)]);
        assert_eq!(
            (
                evidence.unidentified.count,
                evidence.identified.count,
                evidence.records
            ),
            (1, 1, 2)
        );
    }
}
