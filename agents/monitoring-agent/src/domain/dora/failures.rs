//! Failures in production: incident issues and this agent's own incidents, each once, linked to a deployment.

use std::collections::HashMap;

use super::{
    clock::{DAY, Ms},
    deployments::Deployment,
    fact::{Status, TroubleWord},
    facts::Facts,
    report::Definition,
};

/// Under the strict definition a deployment explains an incident that begins at most this long after it: 7 days.
/// Later ones are left out rather than blamed on whatever happened to be deployed last.
pub const EXPLAINS_FOR: Ms = 7 * DAY;

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `#12` of an issue, or the id of an incident of this agent.
    pub id: String,
    /// When it began.
    pub began: Ms,
    /// When it was over.
    pub ended: Option<Ms>,
    /// Index of the deployment that caused it.
    pub deployment: Option<usize>,
    /// The revision that caused it although its rollout never completed: `NAMESPACE/DEPLOYMENT/REVISION`.
    pub unfinished: Option<String>,
    /// Why it counts for no deployment, a fixed word.
    pub left_out: Option<&'static str>,
}

/// Deployments in the order in which they can be blamed.
struct Blame<'a> {
    deployments: &'a [Deployment],
    /// Indices of successful deployments to the tier, by time.
    by_time: Vec<usize>,
}

impl<'a> Blame<'a> {
    fn of(deployments: &'a [Deployment], tier: &str) -> Self {
        let counts = |one: &Deployment| one.status == Status::Success && one.tier == tier;
        let fitting = deployments
            .iter()
            .enumerate()
            .filter(|(_, one)| counts(one));
        let mut by_time: Vec<usize> = fitting.map(|(index, _)| index).collect();
        by_time.sort_by_key(|index| deployments.get(*index).map(|one| (one.at, one.id.clone())));
        Self {
            deployments,
            by_time,
        }
    }

    /// The latest one finished at this time that fits.
    fn latest(&self, at: Ms, fits: impl Fn(&Deployment) -> bool) -> Option<usize> {
        let finished = |index: &usize| self.deployments.get(*index).is_some_and(|one| one.at <= at);
        let end = self.by_time.partition_point(finished);
        let candidates = self.by_time.get(..end)?.iter().rev();
        candidates
            .copied()
            .find(|index| self.deployments.get(*index).is_some_and(&fits))
    }

    fn at(&self, index: usize) -> Option<Ms> {
        self.deployments.get(index).map(|one| one.at)
    }
}

/// All failures of a project under a definition.
pub fn failures(
    facts: &Facts,
    deployments: &[Deployment],
    tier: &str,
    definition: Definition,
) -> Vec<Failure> {
    let blame = Blame::of(deployments, tier);
    let mut all = issues(facts, &blame, definition);
    if definition != Definition::Gitlab {
        all.extend(troubles(facts, &blame, definition));
    }
    all
}

fn issues(facts: &Facts, blame: &Blame<'_>, definition: Definition) -> Vec<Failure> {
    let mut all = Vec::new();
    for (number, issue) in &facts.issues {
        let (Some(began), Some(word)) = (issue.created.0, &issue.word) else {
            continue;
        };
        let own = word
            .of_agent
            .as_ref()
            .is_some_and(|id| facts.troubles.contains_key(id));
        let mut failure = Failure {
            id: format!("#{number}"),
            began,
            ended: issue.closed(),
            deployment: None,
            unfinished: None,
            left_out: None,
        };
        if definition == Definition::Gitlab {
            // GitLab counts every incident issue and links none of them.
            all.push(failure);
            continue;
        }
        if own {
            // The agent's own record of it has the exact times.
            continue;
        }
        if word.duplicate {
            failure.left_out = Some("duplicate_incident");
            all.push(failure);
            continue;
        }
        let named = word.blames.filter(|_| definition == Definition::Strict);
        let named = named.and_then(|sha| blame.latest(began, |one| one.sha == Some(sha)));
        failure.deployment = named.or_else(|| blame.latest(began, |_| true));
        judge(&mut failure, blame, (definition, named.is_some()));
        all.push(failure);
    }
    all
}

fn troubles(facts: &Facts, blame: &Blame<'_>, definition: Definition) -> Vec<Failure> {
    let rollouts = facts
        .rollouts
        .values()
        .filter_map(|rollout| rollout.word.as_ref());
    let slugs: HashMap<(&str, &str), &str> = rollouts
        .filter_map(|word| {
            Some((
                (word.namespace.as_str(), word.deployment.as_str()),
                word.env.as_deref()?,
            ))
        })
        .collect();
    let mut all = Vec::new();
    for (id, trouble) in &facts.troubles {
        let (Some(began), Some(word)) = (trouble.began.0, &trouble.word) else {
            continue;
        };
        let mut failure = Failure {
            id: id.clone(),
            began,
            ended: word.resolved,
            deployment: None,
            unfinished: None,
            left_out: None,
        };
        let slug = slugs
            .get(&(word.namespace.as_str(), word.deployment.as_str()))
            .copied();
        match culprit(word, slug, blame) {
            _ if definition == Definition::Strict && !word.release => {
                failure.left_out = Some("not_caused_by_a_release");
            }
            Some(Ok(index)) => failure.deployment = Some(index),
            Some(Err(name)) if definition == Definition::Strict => failure.unfinished = Some(name),
            Some(Err(_)) => failure.left_out = Some("its_deployment_never_completed"),
            None => {
                failure.deployment = blame.latest(began, |_| true);
                judge(&mut failure, blame, (definition, false));
            }
        }
        all.push(failure);
    }
    all
}

/// The deployment that put a revision into force, or the revision's name when none completed.
fn culprit(
    word: &TroubleWord,
    slug: Option<&str>,
    blame: &Blame<'_>,
) -> Option<Result<usize, String>> {
    let revision = word.revision.filter(|_| word.release)?;
    let own = |one: &Deployment| {
        one.workload
            .as_ref()
            .is_some_and(|(namespace, deployment, number)| {
                *namespace == word.namespace
                    && *deployment == word.deployment
                    && *number == revision
            })
    };
    if let Some(index) = blame.latest(Ms::MAX, own) {
        return Some(Ok(index));
    }
    let during = |one: &Deployment| {
        slug.is_some_and(|slug| one.slug == slug)
            && one.began <= word.change
            && word.change <= one.at
    };
    if let Some(index) = blame.latest(Ms::MAX, during) {
        return Some(Ok(index));
    }
    // Reported by GitLab, but outside any of its deployments: the latest one there.
    let gitlab =
        |one: &Deployment| slug.is_some_and(|slug| one.slug == slug) && one.workload.is_none();
    let failing = blame
        .deployments
        .iter()
        .any(|one| one.status != Status::Success && during(one));
    let latest = blame.latest(word.change, gitlab).filter(|_| !failing);
    Some(latest.ok_or_else(|| format!("{}/{}/{revision}", word.namespace, word.deployment)))
}

/// Takes the link back where it is too far-fetched.
fn judge(failure: &mut Failure, blame: &Blame<'_>, (definition, named): (Definition, bool)) {
    let finished = failure.deployment.and_then(|index| blame.at(index));
    let Some(finished) = finished else {
        failure.left_out = Some("no_deployment_before_it");
        return;
    };
    if definition == Definition::Strict && !named && failure.began - finished > EXPLAINS_FOR {
        failure.deployment = None;
        failure.left_out = Some("no_deployment_within_7_days_before_it");
    }
}
