//! What is known of a project, as a value that can be joined with any other in any order.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::clock::Ms;

/// A commit by its full SHA-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha([u8; 20]);

/// A text that is no full SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 40 hex digits")]
pub struct NoSha;

impl FromStr for Sha {
    type Err = NoSha;

    fn from_str(text: &str) -> Result<Self, NoSha> {
        if text.len() != 40 || !text.is_ascii() {
            return Err(NoSha);
        }
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * at..2 * at + 2).ok_or(NoSha)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoSha)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha {
    type Error = NoSha;

    fn try_from(text: String) -> Result<Self, NoSha> {
        text.parse()
    }
}

impl From<Sha> for String {
    fn from(sha: Sha) -> Self {
        sha.to_string()
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value of which two can be made one: commutative, associative, idempotent.
pub trait Join {
    /// Takes in what the other one knows.
    fn join(&mut self, other: Self);
}

/// The last word wins; two at the same moment are told apart by their content.
impl<T: Ord> Join for Option<T> {
    fn join(&mut self, other: Self) {
        if other > *self {
            *self = other;
        }
    }
}

/// The earliest moment that anybody has told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct First(pub Option<Ms>);

impl Join for First {
    fn join(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl<K: Ord, V: Join> Join for BTreeMap<K, V> {
    fn join(&mut self, other: Self) {
        for (key, value) in other {
            match self.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(mut entry) => entry.get_mut().join(value),
            }
        }
    }
}

/// Status of a deployment or job. The order decides between two of the same second: what comes later in a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Made, not begun.
    Created,
    /// Waits for an approval.
    Blocked,
    /// Under way.
    Running,
    /// Not done.
    Skipped,
    /// Taken back.
    Canceled,
    /// Went wrong.
    Failed,
    /// Done.
    Success,
}

/// Where a deployment or job puts what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// When this was said.
    pub at: Ms,
    /// Name of the environment.
    pub environment: String,
    /// Its slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Its tier.
    pub tier: String,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<Sha>,
    /// Branch or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The job that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
}

/// First and last moment at which a status was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span(pub Ms, pub Ms);

impl Join for Span {
    fn join(&mut self, other: Self) {
        self.0 = self.0.min(other.0);
        self.1 = self.1.max(other.1);
    }
}

/// A deployment, or a job that deploys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploying {
    /// Where, by the latest word.
    pub place: Option<Place>,
    /// Its statuses.
    pub seen: BTreeMap<Status, Span>,
}

impl Join for Deploying {
    fn join(&mut self, Self { place, seen }: Self) {
        self.place.join(place);
        self.seen.join(seen);
    }
}

impl Deploying {
    /// The status that was announced last, and when it was first.
    pub fn last(&self) -> Option<(Status, Ms)> {
        let last = self
            .seen
            .iter()
            .max_by_key(|(status, span)| (span.1, **status));
        last.map(|(status, span)| (*status, span.0))
    }

    /// When it began.
    pub fn began(&self) -> Option<Ms> {
        let begun = [Status::Running, Status::Created];
        let span = |status| self.seen.get(status).map(|span| span.0);
        begun.iter().find_map(span)
    }
}

/// A merge request by its latest word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MergeWord {
    /// When this was said.
    pub at: Ms,
    /// Branch it goes to.
    pub target: String,
    /// Branch it comes from.
    pub source: String,
    /// The merge commit; none before the merge and for a fast-forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_commit: Option<Sha>,
    /// Head of the source branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Sha>,
    /// Whether it takes something back or repairs in a hurry, by title, branch or label.
    #[serde(default)]
    pub remedy: bool,
}

/// A merge request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// When it was made.
    pub created: First,
    /// When it was merged.
    pub merged: First,
    /// Its commits, as far as its own events show them: the earliest author's time.
    #[serde(default)]
    pub first_commit: First,
    /// The latest word.
    pub word: Option<MergeWord>,
}

impl Join for Merge {
    fn join(&mut self, other: Self) {
        let Self {
            created,
            merged,
            first_commit,
            word,
        } = other;
        self.created.join(created);
        self.merged.join(merged);
        self.first_commit.join(first_commit);
        self.word.join(word);
    }
}

/// A push: one branch moved from a commit to a later one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Push {
    /// The head before; none when the branch is new.
    pub before: Option<Sha>,
    /// Number of commits that it brought.
    pub total: u64,
    /// The newest of them with their author's time, at most 20.
    pub commits: Vec<(Sha, Ms)>,
}

impl Join for Push {
    fn join(&mut self, other: Self) {
        if other > *self {
            *self = other;
        }
    }
}

/// An incident issue by its latest word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IssueWord {
    /// When this was said.
    pub at: Ms,
    /// Whether it is closed.
    pub closed: bool,
    /// When it was closed, as GitLab says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Ms>,
    /// Whether it is a duplicate of another one.
    #[serde(default)]
    pub duplicate: bool,
    /// The commit that its text blames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blames: Option<Sha>,
    /// The incident of this agent that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_agent: Option<String>,
}

/// An incident issue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// When it was opened.
    pub created: First,
    /// When it was closed for the last time, by the events that closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Ms>,
    /// The latest word.
    pub word: Option<IssueWord>,
}

impl Join for Issue {
    fn join(&mut self, other: Self) {
        let Self {
            created,
            closing,
            word,
        } = other;
        self.created.join(created);
        self.closing.join(closing);
        self.word.join(word);
    }
}

impl Issue {
    /// When it was closed, if it is.
    pub fn closed(&self) -> Option<Ms> {
        let word = self.word.as_ref().filter(|word| word.closed)?;
        Some(word.closed_at.or(self.closing).unwrap_or(word.at))
    }
}

/// What a rollout carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RolloutWord {
    /// When this was said.
    pub at: Ms,
    /// Namespace.
    pub namespace: String,
    /// The Deployment.
    pub deployment: String,
    /// Slug of the GitLab project, by the annotation `app.gitlab.com/app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Slug of the environment, by the annotation `app.gitlab.com/env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The commit, when an image is tagged with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<Sha>,
    /// Digest of the pod template without the restart annotation.
    pub template: String,
}

/// A rollout of a Deployment in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its revision.
    pub revision: u64,
    /// When it was complete.
    pub completed: First,
    /// When its controller gave it up.
    pub failed: First,
    /// The latest word.
    pub word: Option<RolloutWord>,
}

impl Join for Rollout {
    fn join(&mut self, other: Self) {
        self.revision = self.revision.max(other.revision);
        self.completed.join(other.completed);
        self.failed.join(other.failed);
        self.word.join(other.word);
    }
}

/// An incident of this agent by its latest word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TroubleWord {
    /// When this was said.
    pub at: Ms,
    /// When it was over.
    pub resolved: Option<Ms>,
    /// Namespace.
    pub namespace: String,
    /// The Deployment.
    pub deployment: String,
    /// Its revision.
    pub revision: Option<u64>,
    /// When that revision became current.
    pub change: Ms,
    /// Whether a release is to blame.
    pub release: bool,
}

/// An incident of this agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// First sign.
    pub began: First,
    /// The latest word.
    pub word: Option<TroubleWord>,
}

impl Join for Trouble {
    fn join(&mut self, Self { began, word }: Self) {
        self.began.join(began);
        self.word.join(word);
    }
}
