//! What a GitLab webhook says, as facts. Fields and forms as GitLab documents them
//! (<https://docs.gitlab.com/user/project/integrations/webhook_events/>).

mod body;

use serde::Deserialize;

use super::{
    clock::{self, Ms},
    fact::{Deploying, First, Issue, IssueWord, Merge, MergeWord, Place, Push, Sha, Span, Status},
    facts::Facts,
};
use body::{
    Attributes, Build, Deployment, Environment, Head, Job, Pipeline, Pushed, Release, Work,
};

/// Begins the hidden line by which this agent finds its own texts again.
pub const MARK: &str = "<!-- monitoring-agent:";

/// Kinds of events that say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Deployment Hook.
    Deployment,
    /// Pipeline Hook.
    Pipeline,
    /// Job Hook.
    Job,
    /// Merge Request Hook.
    MergeRequest,
    /// Push Hook.
    Push,
    /// Issue Hook or Work Item Hook.
    Issue,
    /// Release Hook.
    Release,
    /// Any other.
    Other,
}

impl Kind {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Pipeline => "pipeline",
            Self::Job => "job",
            Self::MergeRequest => "merge_request",
            Self::Push => "push",
            Self::Issue => "issue",
            Self::Release => "release",
            Self::Other => "other",
        }
    }

    fn of(object_kind: &str) -> Self {
        match object_kind {
            "deployment" => Self::Deployment,
            "pipeline" => Self::Pipeline,
            "build" => Self::Job,
            "merge_request" => Self::MergeRequest,
            "push" => Self::Push,
            "issue" | "work_item" => Self::Issue,
            "release" => Self::Release,
            _ => Self::Other,
        }
    }
}

/// A webhook that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its kind.
    pub kind: Kind,
    /// The project, when it says something of one.
    pub project: Option<u64>,
    /// What it says.
    pub facts: Facts,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON object.
    #[error("the body is no JSON object")]
    NoJson,
    /// A field that its kind needs is missing or has another form.
    #[error("a {0:?} event without the fields that GitLab documents")]
    Incomplete(Kind),
}

/// Reads the body of a webhook.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8]) -> Result<Hook, Unreadable> {
    // An array would be taken for an object whose fields have no names.
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(Unreadable::NoJson);
    }
    let head: Head<'_> = serde_json::from_slice(body).map_err(|_| Unreadable::NoJson)?;
    let kind = Kind::of(head.object_kind.as_deref().unwrap_or_default());
    let said = match kind {
        Kind::Deployment => decode(body, kind).and_then(|b| deployment(&b)),
        Kind::Pipeline => decode(body, kind).and_then(|b| pipeline(&b)),
        Kind::Job => decode(body, kind).and_then(|b| job(&b)),
        Kind::MergeRequest => decode(body, kind).and_then(|b| merge_request(&b)),
        Kind::Push => decode(body, kind).and_then(|b| push(&b)),
        Kind::Issue => decode(body, kind).and_then(|b| issue(&b)),
        Kind::Release => decode(body, kind).and_then(|b| release(&b)),
        Kind::Other => Some((Facts::default(), 0)),
    };
    let (mut facts, at) = said.ok_or(Unreadable::Incomplete(kind))?;
    let project = head.project.as_ref().and_then(|project| project.id);
    let silent = facts.is_empty();
    if silent {
        return Ok(Hook {
            kind,
            project: None,
            facts,
        });
    }
    let path = head.project.and_then(|project| project.path_with_namespace);
    facts.path = path.map(|path| (at, path.into_owned()));
    let project = project.or(head.project_id);
    Ok(Hook {
        kind,
        project: Some(project.ok_or(Unreadable::Incomplete(kind))?),
        facts,
    })
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8], _: Kind) -> Option<T> {
    serde_json::from_slice(body).ok()
}

type Said = Option<(Facts, Ms)>;

fn deployment(body: &Deployment<'_>) -> Said {
    let at = clock::parse(&body.status_changed_at)?;
    let status = match body.status.as_ref() {
        "created" => Some(Status::Created),
        "blocked" => Some(Status::Blocked),
        "running" => Some(Status::Running),
        "skipped" => Some(Status::Skipped),
        "canceled" => Some(Status::Canceled),
        "failed" => Some(Status::Failed),
        "success" => Some(Status::Success),
        // Approvals are announced as statuses too; they do not move the deployment.
        _ => None,
    };
    // The full commit stands in the address of the commit alone.
    let sha = body
        .commit_url
        .as_ref()
        .and_then(|url| url.rsplit('/').next()?.parse().ok());
    let tier = body
        .environment_tier
        .as_deref()
        .unwrap_or_else(|| tier_of(&body.environment));
    let place = Place {
        at,
        environment: body.environment.to_string(),
        slug: body.environment_slug.as_deref().map(str::to_owned),
        tier: tier.to_owned(),
        sha,
        git_ref: body.git_ref.as_deref().map(str::to_owned),
        job: body.deployable_id.filter(|id| *id != 0),
    };
    let mut facts = Facts::default();
    let deploying = Deploying {
        place: Some(place),
        seen: status
            .map(|status| (status, Span(at, at)))
            .into_iter()
            .collect(),
    };
    facts.deployments.insert(body.deployment_id, deploying);
    Some((facts, at))
}

/// GitLab's own guess of an environment's tier from its name, in its order.
pub fn tier_of(environment: &str) -> &'static str {
    let name = environment.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["dev", "review", "trunk"]) {
        "development"
    } else if has(&[
        "test",
        "tst",
        "int",
        "acpt",
        "acept",
        "acceptance",
        "qa",
        "qc",
        "control",
        "quality",
    ]) {
        "testing"
    } else if has(&["stg", "stag", "modl", "model", "pre", "demo", "non"]) {
        "staging"
    } else if has(&["prd", "prod", "live"]) {
        "production"
    } else {
        "other"
    }
}

fn job_status(status: &str) -> Option<Status> {
    Some(match status {
        "created" | "pending" | "preparing" | "scheduled" | "waiting_for_resource" => {
            Status::Created
        }
        "manual" => Status::Blocked,
        "running" => Status::Running,
        "skipped" => Status::Skipped,
        "canceled" => Status::Canceled,
        "failed" => Status::Failed,
        "success" => Status::Success,
        _ => return None,
    })
}

/// The statuses that the times of a job tell.
fn job_life(status: &str, times: [Option<&str>; 3]) -> Deploying {
    let [created, started, finished] = times.map(|time| time.and_then(clock::parse));
    let mut seen = std::collections::BTreeMap::new();
    let mut note = |status, at: Option<Ms>| {
        if let Some(at) = at {
            seen.insert(status, Span(at, at));
        }
    };
    note(Status::Created, created);
    note(Status::Running, started);
    if let Some(status @ (Status::Canceled | Status::Failed | Status::Success)) = job_status(status)
    {
        note(status, finished);
    }
    Deploying { place: None, seen }
}

fn job_place(environment: &Environment<'_>, (at, sha, git_ref): (Ms, &str, &str)) -> Option<Place> {
    let starts = environment
        .action
        .as_deref()
        .is_none_or(|action| action == "start");
    let name = environment.name.as_deref()?;
    let tier = environment
        .deployment_tier
        .as_deref()
        .unwrap_or_else(|| tier_of(name));
    starts.then(|| Place {
        at,
        environment: name.to_owned(),
        slug: None,
        tier: tier.to_owned(),
        sha: sha.parse().ok(),
        git_ref: Some(git_ref.to_owned()),
        job: None,
    })
}

fn pipeline(body: &Pipeline<'_>) -> Said {
    let Pipeline {
        object_attributes: pipeline,
        builds,
    } = body;
    let mut facts = Facts::default();
    let mut latest = clock::parse(&pipeline.created_at)?;
    for build in builds {
        let Build {
            id,
            status,
            created_at,
            started_at,
            finished_at,
            environment,
        } = build;
        let times = [created_at, started_at, finished_at].map(Option::as_deref);
        let life = job_life(status, times);
        let Some((_, at)) = life.last() else { continue };
        latest = latest.max(at);
        let said = (at, pipeline.sha.as_ref(), pipeline.git_ref.as_ref());
        let place = environment
            .as_ref()
            .and_then(|environment| job_place(environment, said));
        if place.is_some() {
            facts.jobs.insert(*id, Deploying { place, ..life });
        }
    }
    Some((facts, latest))
}

fn job(body: &Job<'_>) -> Said {
    let times = [
        &body.build_created_at,
        &body.build_started_at,
        &body.build_finished_at,
    ];
    let life = job_life(&body.build_status, times.map(Option::as_deref));
    let (_, at) = life.last()?;
    let said = (at, body.sha.as_ref(), body.git_ref.as_ref());
    let place = body
        .environment
        .as_ref()
        .and_then(|environment| job_place(environment, said));
    let mut facts = Facts::default();
    if place.is_some() {
        facts
            .jobs
            .insert(body.build_id, Deploying { place, ..life });
    }
    Some((facts, at))
}

fn merge_request(body: &Work<'_>) -> Said {
    let said = &body.object_attributes;
    let at = clock::parse(said.updated_at.as_deref().or(said.created_at.as_deref())?)?;
    let merged = said.action.as_deref() == Some("merge") || said.state.as_deref() == Some("merged");
    let (target, source) = (
        said.target_branch.as_deref()?,
        said.source_branch.as_deref()?,
    );
    let commit = said.last_commit.as_ref();
    let word = MergeWord {
        at,
        target: target.to_owned(),
        source: source.to_owned(),
        merge_commit: said
            .merge_commit_sha
            .as_deref()
            .and_then(|sha| sha.parse().ok()),
        head: commit.and_then(|commit| commit.id.parse().ok()),
        remedy: is_remedy(body),
    };
    let merge = Merge {
        created: First(said.created_at.as_deref().and_then(clock::parse)),
        merged: First(merged.then_some(at)),
        first_commit: First(commit.and_then(|c| clock::parse(c.timestamp.as_deref()?))),
        word: Some(word),
    };
    let mut facts = Facts::default();
    facts.merges.insert(said.iid?, merge);
    Some((facts, at))
}

/// Whether a merge request takes something back or repairs in a hurry: GitLab's own button makes titles `Revert "..."`
/// and branches `revert-...`; git-flow names branches `hotfix/...`.
fn is_remedy(body: &Work<'_>) -> bool {
    let said: &Attributes<'_> = &body.object_attributes;
    let source = said.source_branch.as_deref().unwrap_or_default();
    let title = said.title.as_deref().unwrap_or_default();
    let labels = said.labels.iter().chain(&body.labels);
    let marked = |label: &str| {
        let last = label.rsplit("::").next().unwrap_or(label);
        ["hotfix", "revert", "rollback"]
            .iter()
            .any(|word| last.eq_ignore_ascii_case(word))
    };
    title.starts_with("Revert \"")
        || ["revert-", "hotfix/", "hotfix-"]
            .iter()
            .any(|prefix| source.starts_with(prefix))
        || labels
            .filter_map(|label| label.title.as_deref())
            .any(marked)
}

fn push(body: &Pushed<'_>) -> Said {
    let mut facts = Facts::default();
    let zero = |sha: &str| sha.bytes().all(|byte| byte == b'0');
    let Some(branch) = body.git_ref.strip_prefix("refs/heads/") else {
        return Some((facts, 0));
    };
    if zero(&body.after) {
        return Some((facts, 0));
    }
    let after: Sha = body.after.parse().ok()?;
    let before: Option<Sha> = body.before.parse().ok().filter(|_| !zero(&body.before));
    let read = |commit: &body::Commit<'_>| {
        let at = clock::parse(commit.timestamp.as_deref()?)?;
        Some((commit.id.parse().ok()?, at))
    };
    let commits: Vec<(Sha, Ms)> = body.commits.iter().filter_map(read).collect();
    let at = commits.iter().map(|(_, at)| *at).max().unwrap_or_default();
    let old = before.map(|sha| sha.to_string()).unwrap_or_default();
    let push = Push {
        before,
        total: body.total_commits_count,
        commits,
    };
    facts.pushes.insert(format!("{branch} {after} {old}"), push);
    Some((facts, at))
}

fn issue(body: &Work<'_>) -> Said {
    let said = &body.object_attributes;
    let at = clock::parse(said.updated_at.as_deref().or(said.created_at.as_deref())?)?;
    let mut facts = Facts::default();
    let kind = said.kind.as_deref().or(said.issue_type.as_deref());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("incident")) {
        return Some((facts, at));
    }
    let text = said.description.as_deref().unwrap_or_default();
    let word = IssueWord {
        at,
        closed: said.state.as_deref() == Some("closed"),
        closed_at: said.closed_at.as_deref().and_then(clock::parse),
        duplicate: said.duplicated_to_id.is_some() || said.moved_to_id.is_some(),
        blames: after_words(text, "root cause: ", 40).and_then(|sha| sha.parse().ok()),
        of_agent: marked(text).map(str::to_owned),
    };
    let issue = Issue {
        created: First(said.created_at.as_deref().and_then(clock::parse)),
        closing: (said.action.as_deref() == Some("close")).then_some(at),
        word: Some(word),
    };
    facts.issues.insert(said.iid?, issue);
    Some((facts, at))
}

/// The incident that a text of this agent is about.
pub fn marked(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARK)?;
    let (id, _) = rest.split_once(" -->")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (id.len() <= 64 && id.chars().all(plain)).then_some(id)
}

/// This many bytes behind words, whatever their case.
fn after_words<'a>(text: &'a str, words: &str, length: usize) -> Option<&'a str> {
    let at = text.to_ascii_lowercase().find(words)? + words.len();
    text.get(at..at + length)
}

fn release(body: &Release<'_>) -> Said {
    let at = body.released_at.as_deref().or(body.created_at.as_deref())?;
    let at = clock::parse(at)?;
    let mut facts = Facts::default();
    if body.action.as_deref() != Some("delete") {
        facts.releases.insert(body.tag.to_string(), First(Some(at)));
    }
    Some((facts, at))
}
