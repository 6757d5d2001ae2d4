//! From deployments, changes and failures to numbers, under one of three definitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    changes::{Change, Changes, changes},
    clock::Ms,
    deployments::{Deployment, Dropped, Source, deployments},
    fact::Status,
    facts::Facts,
    failures::{Failure, failures},
    report::{Definition, Interval, Report, Sources},
};

/// Most examples of what was left out for one reason.
const MOST_EXAMPLES: usize = 5;
/// A minute, to which one of the definitions rounds.
const MINUTE: Ms = 60_000;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// From, included.
    pub from: Ms,
    /// To, excluded.
    pub to: Ms,
    /// Tier of the environments.
    pub tier: String,
    /// Whose definition.
    pub definition: Definition,
    /// Length of a point of the series.
    pub interval: Interval,
}

impl Question {
    fn covers(&self, at: Ms) -> bool {
        self.from <= at && at < self.to
    }
}

/// A project with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its path.
    pub name: String,
    /// What is known.
    pub facts: Facts,
}

/// Measures projects together.
pub fn measure(projects: &[Project], question: &Question) -> Report {
    let mut tally = Tally::default();
    for project in projects {
        tally.add(project, question);
    }
    tally.report(question)
}

/// What was counted so far; projects are added one by one, so that not all have to be in memory.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) projects: BTreeSet<String>,
    pub(super) sources: Sources,
    /// When each counted deployment was finished.
    pub(super) deployments: Vec<Ms>,
    /// When a change was deployed, and how long it took.
    pub(super) leads: Vec<(Ms, Ms)>,
    /// Changes that were deployed.
    pub(super) changes: u64,
    /// When what is counted as a failure happened: a failed deployment, or under GitLab's definition an incident.
    pub(super) failures: Vec<Ms>,
    /// Failed releases beside the counted deployments.
    pub(super) unfinished: u64,
    /// When a failure was over, and how long it lasted.
    pub(super) restores: Vec<(Ms, Ms)>,
    /// Failures that are not over.
    pub(super) open: u64,
    /// When a deployment was made because of a failure.
    pub(super) rework: Vec<Ms>,
    pub(super) left_out: BTreeMap<(&'static str, &'static str), (u64, Vec<String>)>,
}

const FREQUENCY: &str = "deployment_frequency";
const LEAD: &str = "lead_time_for_changes";
const RATE: &str = "change_failure_rate";
const RESTORE: &str = "time_to_restore";

/// One project's deployments that count, by their index.
struct Counted<'a> {
    project: &'a str,
    all: &'a [Deployment],
    counts: Vec<bool>,
}

impl Counted<'_> {
    fn get(&self, index: usize) -> Option<&Deployment> {
        self.all
            .get(index)
            .filter(|_| self.counts.get(index) == Some(&true))
    }
}

impl Tally {
    fn leave_out(
        &mut self,
        metric: &'static str,
        reason: &'static str,
        example: impl FnOnce() -> String,
    ) {
        let (count, examples) = self.left_out.entry((metric, reason)).or_default();
        *count += 1;
        if examples.len() < MOST_EXAMPLES {
            examples.push(example());
        }
    }

    /// Counts one project.
    pub fn add(&mut self, project: &Project, question: &Question) {
        let Project { name, facts } = project;
        self.projects.insert(name.clone());
        let (all, dropped) = deployments(facts);
        for one in &dropped {
            self.drop_report(name, one, question);
        }
        let counts = all
            .iter()
            .map(|one| self.count(name, one, question))
            .collect();
        let counted = Counted {
            project: name,
            all: &all,
            counts,
        };
        let found = changes(facts, &all);
        self.add_changes(&counted, &found, question);
        let failures = failures(facts, &all, &question.tier, question.definition);
        self.add_failures(&counted, &failures, question);
        self.add_rework(&counted, (&found, &failures), question);
    }

    fn drop_report(&mut self, name: &str, one: &Dropped, question: &Question) {
        let counts = question.definition != Definition::Gitlab && one.tier == question.tier;
        if counts && question.covers(one.at) {
            self.leave_out(FREQUENCY, one.reason, || {
                format!("{name} rollout {}", one.id)
            });
        }
    }

    /// Whether a deployment counts; those of the time are entered.
    fn count(&mut self, name: &str, one: &Deployment, question: &Question) -> bool {
        let foreign = question.definition == Definition::Gitlab && one.source == Source::Cluster;
        if one.tier != question.tier || foreign {
            return false;
        }
        let example = || format!("{name} {} {}", one.source.as_str(), one.id);
        let reason = match one.status {
            Status::Success if question.definition == Definition::Strict && one.repeats => {
                Some("same_commit_as_in_force")
            }
            Status::Success => None,
            Status::Failed => Some("failed"),
            Status::Canceled | Status::Skipped => Some("canceled_or_skipped"),
            Status::Created | Status::Blocked | Status::Running => Some("not_finished"),
        };
        if !question.covers(one.at) {
            return reason.is_none();
        }
        if let Some(reason) = reason {
            self.leave_out(FREQUENCY, reason, example);
            return false;
        }
        self.deployments.push(one.at);
        match one.source {
            Source::GitLab => self.sources.gitlab += 1,
            Source::Job => self.sources.job += 1,
            Source::Cluster => self.sources.cluster += 1,
        }
        true
    }

    fn add_changes(&mut self, counted: &Counted<'_>, found: &Changes, question: &Question) {
        for index in &found.unmatched {
            if let Some(one) = counted.get(*index).filter(|one| question.covers(one.at)) {
                let reason = if one.sha.is_none() {
                    "commit_unknown"
                } else {
                    "no_merge_request_matched"
                };
                self.leave_out(LEAD, reason, || {
                    format!("{} deployment {}", counted.project, one.id)
                });
            }
        }
        for (change, finished) in first_deployments(counted, found, question.definition) {
            if !question.covers(finished) {
                continue;
            }
            self.changes += 1;
            match lead(&change, finished, question.definition) {
                Some(lead) => self.leads.push((finished, lead)),
                None => self.leave_out(LEAD, "deployed_before_it_was_merged", || {
                    format!("{}!{}", counted.project, change.merge)
                }),
            }
        }
    }

    fn add_failures(&mut self, counted: &Counted<'_>, all: &[Failure], question: &Question) {
        let mut failed: BTreeMap<usize, Ms> = BTreeMap::new();
        let mut unfinished: BTreeMap<&str, Ms> = BTreeMap::new();
        // The end of the last failure of one deployment is its end.
        let mut spans: HashMap<String, (Ms, Option<Ms>)> = HashMap::new();
        for failure in all {
            if let Some(reason) = failure.left_out {
                if question.covers(failure.began) {
                    self.leave_out(RATE, reason, || {
                        format!("{} {}", counted.project, failure.id)
                    });
                }
                continue;
            }
            let blamed = failure
                .deployment
                .and_then(|index| Some((index, counted.get(index)?.at)));
            let begin = match (question.definition, blamed, &failure.unfinished) {
                (Definition::Gitlab, ..) => {
                    if question.covers(failure.began) {
                        self.failures.push(failure.began);
                    }
                    failure.began
                }
                (_, Some((index, at)), _) => {
                    failed.insert(index, at);
                    at.min(failure.began)
                }
                (_, None, Some(name)) => {
                    let first = unfinished.entry(name).or_insert(failure.began);
                    *first = failure.began.min(*first);
                    failure.began
                }
                (_, None, None) => {
                    if !question.covers(failure.began) {
                        continue;
                    }
                    self.leave_out(RATE, "its_deployment_does_not_count", || failure.id.clone());
                    continue;
                }
            };
            let group = match (question.definition, blamed, &failure.unfinished) {
                (Definition::Strict, Some((index, _)), _) => index.to_string(),
                (Definition::Strict, None, Some(name)) => name.clone(),
                _ => failure.id.clone(),
            };
            let span = spans.entry(group).or_insert((begin, failure.ended));
            span.0 = span.0.min(begin);
            span.1 = span.1.zip(failure.ended).map(|(a, b)| a.max(b));
        }
        self.failures
            .extend(failed.into_values().filter(|at| question.covers(*at)));
        let releases: Vec<Ms> = unfinished
            .into_values()
            .filter(|at| question.covers(*at))
            .collect();
        self.unfinished += u64::try_from(releases.len()).unwrap_or(u64::MAX);
        self.failures.extend(releases);
        self.add_restores(spans.into_values(), question);
    }

    fn add_restores(&mut self, spans: impl Iterator<Item = (Ms, Option<Ms>)>, question: &Question) {
        for (began, ended) in spans {
            match ended {
                Some(ended) if question.covers(ended) => {
                    self.restores.push((ended, (ended - began).max(0)));
                }
                None if began < question.to => {
                    self.open += 1;
                    self.leave_out(RESTORE, "not_over", String::new);
                }
                _ => {}
            }
        }
    }

    /// No tool defines rework; under every definition it is a deployment that brings back an earlier commit, that
    /// brings a revert or hotfix, or that was finished while a failure of an earlier one lasted.
    fn add_rework(
        &mut self,
        counted: &Counted<'_>,
        (found, failures): (&Changes, &[Failure]),
        question: &Question,
    ) {
        let remedies = found.found.iter().filter(|change| change.remedy);
        let mut rework: BTreeSet<usize> = remedies.map(|change| change.deployment).collect();
        rework.extend(
            counted
                .all
                .iter()
                .enumerate()
                .filter(|(_, one)| one.returns)
                .map(|(index, _)| index),
        );
        for failure in failures.iter().filter(|failure| failure.left_out.is_none()) {
            let Some(cause) = failure.deployment.and_then(|index| counted.all.get(index)) else {
                continue;
            };
            let end = failure.ended.unwrap_or(Ms::MAX);
            let next = counted.all.iter().enumerate().find(|(_, one)| {
                one.status == Status::Success
                    && one.environment == cause.environment
                    && one.at > failure.began
                    && one.at <= end
            });
            rework.extend(next.map(|(index, _)| index));
        }
        let times = rework
            .iter()
            .filter_map(|index| counted.get(*index))
            .map(|one| one.at);
        self.rework.extend(times.filter(|at| question.covers(*at)));
    }
}

/// Merge requests with the deployment that counts for them. GitLab counts one for every environment that it
/// reached; the others count its first deployment alone.
fn first_deployments(
    counted: &Counted<'_>,
    found: &Changes,
    definition: Definition,
) -> Vec<(Change, Ms)> {
    let reached = found.found.iter();
    let reached = reached.filter_map(|change| Some((*change, counted.get(change.deployment)?.at)));
    if definition == Definition::Gitlab {
        return reached.collect();
    }
    let mut first: BTreeMap<u64, (Change, Ms)> = BTreeMap::new();
    for (change, at) in reached {
        let known = first.entry(change.merge).or_insert((change, at));
        if at < known.1 {
            *known = (change, at);
        }
    }
    first.into_values().collect()
}

fn lead(change: &Change, finished: Ms, definition: Definition) -> Option<Ms> {
    let merged = change.merged;
    let waited = Some(finished - merged).filter(|waited| *waited >= 0)?;
    if definition != Definition::Devlake {
        return Some(waited);
    }
    let created = change.created.unwrap_or(merged).min(merged);
    let coding = change
        .first_commit
        .map_or(0, |first| (created - first).max(0));
    let minutes = |part: Ms| (part + MINUTE - 1).div_euclid(MINUTE) * MINUTE;
    Some(minutes(coding) + minutes(merged - created) + minutes(waited))
}
