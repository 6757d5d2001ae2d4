//! Deployments by pipelines: which one brought a revision, how a rollback is written down there, and which job brings the
//! revision back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::surroundings::Environment;

/// How far the clocks of GitLab and of the cluster may be apart.
const CLOCKS: Duration = Duration::minutes(1);
/// Shortest tag of an image that may be the beginning of a commit: GitLab's `CI_COMMIT_SHORT_SHA` has 8 digits, Git's own
/// abbreviation 7.
const SHORTEST_SHA: usize = 7;

/// How a workload comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The coordinator writes the old template into the cluster.
    #[default]
    Cluster,
    /// GitLab runs the job again that deployed the old revision.
    Gitlab,
}

/// A deployment of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its number; a later one has a higher one.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// Branch or tag.
    pub git_ref: String,
    /// Whether it ended well.
    pub succeeded: bool,
    /// When it began, and when it ended.
    pub span: Option<(OffsetDateTime, Option<OffsetDateTime>)>,
    /// The job that deployed; none when somebody recorded it.
    pub job: Option<DeployJob>,
}

/// A job that deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployJob {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its pipeline.
    pub pipeline: u64,
    /// Whether its ref is a tag.
    pub tag: bool,
    /// Whether it is too old to run again.
    pub archived: bool,
    /// Whether it has ended.
    pub ended: bool,
}

/// What is known of a revision that a deployment may have brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its images.
    pub images: Vec<String>,
    /// When its object was made.
    pub created: Option<OffsetDateTime>,
}

/// The deployments of the two revisions of a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliveries<'a> {
    /// Of the target.
    pub good: &'a Delivered,
    /// Of the bad revision, when it is known.
    pub bad: Option<&'a Delivered>,
}

impl Delivered {
    /// Whether the tag of an image names this commit.
    fn is_commit_of(&self, build: &Build) -> bool {
        let tags = build.images.iter().filter_map(|image| {
            let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
            Some(tag)
        });
        tags.into_iter()
            .any(|tag| tag.len() >= SHORTEST_SHA && self.sha.starts_with(tag))
    }

    /// Whether the revision was made while it ran.
    fn made(&self, build: &Build) -> bool {
        let (Some((began, ended)), Some(created)) = (self.span, build.created) else {
            return false;
        };
        created >= began - CLOCKS && ended.is_none_or(|ended| created <= ended + CLOCKS)
    }
}

/// The deployments that brought the bad revision and the target, among those of the environment, newest first. A commit
/// in an image's tag tells for sure; else the deployment that ran when the revision was made; else, for the target, the
/// last good one before that of the bad revision. `None` when nobody can tell.
pub fn deliveries<'a>(
    all: &'a [Delivered],
    (from, to): (&Build, &Build),
) -> Option<Deliveries<'a>> {
    let find = |build: &Build, fits: &dyn Fn(&Delivered) -> bool| {
        let mut named = all.iter().filter(|one| fits(one));
        let ran = all.iter().filter(|one| fits(one));
        let named = named.find(|one| one.is_commit_of(build));
        named.or_else(|| ran.into_iter().find(|one| one.made(build)))
    };
    let bad = find(from, &|_| true);
    let others = |one: &Delivered| one.succeeded && bad.is_none_or(|bad| bad.sha != one.sha);
    let good = find(to, &others).or_else(|| {
        let bad = bad?;
        all.iter().find(|one| one.id < bad.id && others(one))
    })?;
    Some(Deliveries { good, bad })
}

/// A job of GitLab that brings the old revision back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redeploy {
    /// The environment.
    pub environment: Environment,
    /// The deployment that brought the old revision.
    pub deployment: u64,
    /// Its commit.
    pub sha: String,
    /// The job that runs again.
    pub job: u64,
    /// Its name.
    pub job_name: String,
    /// Its pipeline.
    pub pipeline: u64,
    /// The bad deployment's commit, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// Why GitLab cannot bring the old revision back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRedeploy {
    /// No deployment of it is known.
    #[error("GitLab knows no good deployment of revision {0} to {1}")]
    NoDeployment(u64, String),
    /// It was recorded without a job.
    #[error("deployment {0} was recorded without a job that could run again")]
    NoJob(u64),
    /// The job is archived.
    #[error("job {0} is archived, so it cannot run again")]
    Archived(u64),
    /// The job runs.
    #[error("job {0} has not ended, so it cannot run again")]
    UnderWay(u64),
    /// A rollback left this commit.
    #[error("commit {0} is quarantined: a rollback left its deployment because it was bad")]
    Quarantined(String),
}

/// The job that brings the target back: that of its deployment, or of an earlier one of the same commit.
///
/// # Errors
/// Why there is none.
pub fn redeploy(
    environment: &Environment,
    all: &[Delivered],
    found: &Deliveries<'_>,
) -> Result<Redeploy, NoRedeploy> {
    let Deliveries { good, bad } = found;
    let same = |one: &&Delivered| one.succeeded && one.sha == good.sha && one.id <= good.id;
    let with_job = all.iter().filter(same).find_map(|one| one.job.as_ref());
    let job = with_job.ok_or(NoRedeploy::NoJob(good.id))?;
    if job.archived {
        return Err(NoRedeploy::Archived(job.id));
    }
    if !job.ended {
        return Err(NoRedeploy::UnderWay(job.id));
    }
    Ok(Redeploy {
        environment: environment.clone(),
        deployment: good.id,
        sha: good.sha.clone(),
        job: job.id,
        job_name: job.name.clone(),
        pipeline: job.pipeline,
        left: bad.map(|bad| bad.sha.clone()),
    })
}

/// How far a redeploy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redeployed {
    /// The last job of the name before: a later one is ours.
    pub after: u64,
    /// The job, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
}

/// How a rollback is written down in GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Recording {
    /// This is to be recorded.
    Intended {
        /// The commit.
        sha: String,
        /// Branch or tag.
        git_ref: String,
        /// Whether it is a tag.
        tag: bool,
        /// The last deployment before: a later one of the same commit without a job is ours.
        after: u64,
        /// The bad deployment's commit, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
    /// It is recorded.
    Recorded {
        /// The deployment.
        deployment: u64,
        /// The commit.
        sha: String,
        /// The bad deployment's commit, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
    /// Nothing is recorded.
    Nothing {
        /// Why.
        because: String,
    },
}

impl Recording {
    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Intended { .. } => false,
            Self::Recorded { .. } | Self::Nothing { .. } => true,
        }
    }

    /// The commit that the rollback left.
    pub fn left(&self) -> Option<&str> {
        match self {
            Self::Intended { left, .. } | Self::Recorded { left, .. } => left.as_deref(),
            Self::Nothing { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn minutes(count: i64) -> OffsetDateTime {
        T0 + Duration::minutes(count)
    }

    /// A deployment by job `10 * id` that ran for the five minutes from `10 * id` on.
    fn delivered(id: u64, sha: &str, succeeded: bool) -> Delivered {
        let began = minutes(10 * i64::try_from(id).unwrap());
        Delivered {
            id,
            sha: sha.repeat(10),
            git_ref: "main".into(),
            succeeded,
            span: Some((began, Some(began + Duration::minutes(5)))),
            job: Some(DeployJob {
                id: 10 * id,
                name: "deploy".into(),
                pipeline: 100 * id,
                tag: false,
                archived: false,
                ended: true,
            }),
        }
    }

    fn build(image: &str, created: Option<i64>) -> Build {
        Build {
            images: vec![image.into()],
            created: created.map(minutes),
        }
    }

    fn ids(found: Option<Deliveries<'_>>) -> Option<(u64, Option<u64>)> {
        found.map(|found| (found.good.id, found.bad.map(|bad| bad.id)))
    }

    fn all() -> Vec<Delivered> {
        vec![
            delivered(4, "ddd4", false),
            delivered(3, "ccc3", true),
            delivered(2, "bbb2", true),
            delivered(1, "aaa1", true),
        ]
    }

    #[test]
    fn a_commit_in_the_tag_of_an_image_tells_for_sure() {
        let all = all();
        let (bad, good) = (build("web:ddd4ddd4", None), build("web:bbb2bbb2", None));
        assert_eq!(ids(deliveries(&all, (&bad, &good))), Some((2, Some(4))));
        let digest = build("registry:5000/web:bbb2bbb2@sha256:00", None);
        assert_eq!(ids(deliveries(&all, (&bad, &digest))), Some((2, Some(4))));
        // The tag that is known names the bad one alone: the last good one before it.
        let good = build("web:2.0", None);
        assert_eq!(ids(deliveries(&all, (&bad, &good))), Some((3, Some(4))));
    }

    #[test]
    fn the_deployment_that_ran_when_a_revision_was_made_brought_it() {
        let all = all();
        let bad = build("web:3", Some(42));
        for (created, deployment) in [(11, 1), (24, 2), (36, 3), (90, 3)] {
            let good = build("web:2", Some(created));
            let found = ids(deliveries(&all, (&bad, &good)));
            assert_eq!(found, Some((deployment, Some(4))), "{created}");
        }
    }

    #[test]
    fn what_nobody_can_tell_is_not_guessed() {
        let all = all();
        let by_hand = build("web:3", Some(70));
        let good = build("web:2", Some(31));
        assert_eq!(ids(deliveries(&all, (&by_hand, &good))), Some((3, None)));
        let unknown = build("web:2", None);
        assert_eq!(ids(deliveries(&all, (&by_hand, &unknown))), None);
        assert_eq!(ids(deliveries(&[], (&by_hand, &good))), None);
        // A date is no commit, and neither is a short number.
        let date = build("web:20261120", None);
        assert_eq!(ids(deliveries(&all, (&date, &unknown))), None);
        let short = build("web:ddd4", None);
        assert_eq!(ids(deliveries(&all, (&short, &unknown))), None);
    }

    #[test]
    fn a_job_runs_again_only_when_gitlab_lets_it() {
        let environment = Environment {
            project: "30".into(),
            name: "production".into(),
        };
        let mut all = all();
        let (bad, good) = (build("web:ddd4ddd4", None), build("web:2", None));
        let plan = |all: &[Delivered]| {
            let found = deliveries(all, (&bad, &good)).unwrap();
            redeploy(&environment, all, &found)
        };
        let planned = plan(&all).unwrap();
        assert_eq!((planned.job, planned.pipeline), (30, 300));
        assert_eq!(planned.left.as_deref(), Some(&*"ddd4".repeat(10)));
        all[1].job.as_mut().unwrap().ended = false;
        assert_eq!(plan(&all), Err(NoRedeploy::UnderWay(30)));
        all[1].job.as_mut().unwrap().archived = true;
        assert_eq!(plan(&all), Err(NoRedeploy::Archived(30)));
        all[1].job = None;
        assert_eq!(plan(&all), Err(NoRedeploy::NoJob(3)));
        // An earlier deployment of the same commit has a job.
        all[2].sha = all[1].sha.clone();
        assert_eq!(plan(&all).unwrap().job, 20);
    }
}
