//! Deployments from facts: each once, whoever reported it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gitlab::slug;

use super::{
    clock::Ms,
    fact::{Deploying, Rollout, Sha, Status},
    facts::Facts,
};

/// Who reported a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A Deployment Hook.
    GitLab,
    /// A job with an environment, for which no Deployment Hook came.
    Job,
    /// A rollout in the cluster, where GitLab reports none.
    Cluster,
}

impl Source {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitLab => "gitlab",
            Self::Job => "job",
            Self::Cluster => "cluster",
        }
    }
}

/// A revision of a workload: namespace, Deployment, number.
pub type Workload = (String, String, u64);

/// One deployment to one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Who reported it.
    pub source: Source,
    /// Its id there.
    pub id: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the environment.
    pub slug: String,
    /// Tier of the environment.
    pub tier: String,
    /// The commit.
    pub sha: Option<Sha>,
    /// The revision in the cluster, for a rollout.
    pub workload: Option<Workload>,
    /// How it stands.
    pub status: Status,
    /// When it began, as far as is known.
    pub began: Ms,
    /// When it reached that status.
    pub at: Ms,
    /// Whether what it deployed was in force already.
    pub repeats: bool,
    /// Whether what it deployed had been in force before something else was.
    pub returns: bool,
}

/// Why a report is no deployment of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Why, a fixed word.
    pub reason: &'static str,
    /// Which.
    pub id: String,
    /// Its tier.
    pub tier: String,
    /// When.
    pub at: Ms,
}

/// The tier of a rollout that names no environment.
const TIER_OF_ROLLOUTS: &str = "production";

/// All deployments of a project by environment and time, and what is none.
pub fn deployments(facts: &Facts) -> (Vec<Deployment>, Vec<Dropped>) {
    let own = |(id, one): (&u64, &Deploying)| of_gitlab(Source::GitLab, *id, one);
    let mut all: Vec<Deployment> = facts.deployments.iter().filter_map(own).collect();
    let reported = facts
        .deployments
        .values()
        .filter_map(|one| one.place.as_ref()?.job);
    let reported: HashSet<u64> = reported.collect();
    let alone = facts.jobs.iter().filter(|(id, _)| !reported.contains(id));
    all.extend(alone.filter_map(|(id, one)| of_gitlab(Source::Job, *id, one)));
    let known: BTreeSet<String> = all.iter().map(|one| one.slug.clone()).collect();
    let mut dropped = Vec::new();
    rollouts(facts, &known, &mut all, &mut dropped);
    all.sort_by(|a, b| {
        (&a.environment, a.at, a.source, &a.id).cmp(&(&b.environment, b.at, b.source, &b.id))
    });
    mark(&mut all);
    (all, dropped)
}

fn of_gitlab(source: Source, id: u64, one: &Deploying) -> Option<Deployment> {
    let (status, at) = one.last()?;
    let place = one.place.as_ref()?;
    Some(Deployment {
        source,
        id: id.to_string(),
        environment: place.environment.clone(),
        slug: place
            .slug
            .clone()
            .unwrap_or_else(|| slug(&place.environment)),
        tier: place.tier.clone(),
        sha: place.sha,
        workload: None,
        status,
        began: one.began().unwrap_or(at).min(at),
        at,
        repeats: false,
        returns: false,
    })
}

fn rollouts(
    facts: &Facts,
    known: &BTreeSet<String>,
    all: &mut Vec<Deployment>,
    dropped: &mut Vec<Dropped>,
) {
    // Revisions of one Deployment stand together and in order.
    let mut ordered: BTreeMap<(&str, u64), (&str, &Rollout)> = BTreeMap::new();
    for (key, rollout) in &facts.rollouts {
        let uid = key.rsplit_once('/').map_or(key.as_str(), |(uid, _)| uid);
        ordered.insert((uid, rollout.revision), (key, rollout));
    }
    let mut before: Option<(&str, Vec<&str>)> = None;
    for ((uid, revision), (key, rollout)) in ordered {
        let Some(word) = &rollout.word else { continue };
        let earlier = match before.take() {
            Some((of, templates)) if of == uid => templates,
            _ => Vec::new(),
        };
        let template = word.template.as_str();
        let repeats = earlier.last() == Some(&template);
        let returns = !repeats && earlier.contains(&template);
        before = Some((uid, earlier.into_iter().chain([template]).collect()));
        let ended = rollout.completed.0.map(|at| (Status::Success, at));
        let Some((status, at)) = ended.or_else(|| rollout.failed.0.map(|at| (Status::Failed, at)))
        else {
            continue;
        };
        let environment = word.env.clone().unwrap_or_else(|| word.namespace.clone());
        let guess = word.env.as_deref().map(super::hook::tier_of);
        let tier = guess.unwrap_or(TIER_OF_ROLLOUTS).to_owned();
        let reason = if known.contains(&environment) {
            Some("gitlab_reports_this_environment")
        } else {
            repeats.then_some("restart_without_a_change")
        };
        if let Some(reason) = reason {
            let id = key.to_owned();
            dropped.push(Dropped {
                reason,
                id,
                tier,
                at,
            });
            continue;
        }
        all.push(Deployment {
            source: Source::Cluster,
            id: key.to_owned(),
            slug: environment.clone(),
            environment: format!("{environment}/{}", word.deployment),
            tier,
            sha: word.sha,
            workload: Some((word.namespace.clone(), word.deployment.clone(), revision)),
            status,
            began: at,
            at,
            repeats,
            returns,
        });
    }
}

/// Marks what was in force already, or before. Expects the deployments by environment and time.
fn mark(all: &mut [Deployment]) {
    for same in all.chunk_by_mut(|a, b| a.environment == b.environment) {
        let mut seen = HashSet::new();
        let mut current = None;
        for one in same.iter_mut().filter(|one| one.status == Status::Success) {
            let Some(sha) = one.sha else { continue };
            one.repeats |= current == Some(sha);
            one.returns |= current != Some(sha) && seen.contains(&sha);
            seen.insert(sha);
            current = Some(sha);
        }
    }
}
