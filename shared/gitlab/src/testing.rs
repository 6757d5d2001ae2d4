//! A small GitLab for tests: keeps what it is told, records what it is asked. Only what [`crate::Gitlab`] uses.

mod pipelines;
mod routes;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::Settings;

/// A request that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Path below `/api/v4`, decoded.
    pub path: String,
    /// Body, `null` without one.
    pub body: Value,
    /// What it was answered with.
    pub status: u16,
}

/// What one project holds. Everything in it has GitLab's documented fields.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) deployments: Vec<Value>,
    pub(crate) issues: Vec<Value>,
    pub(crate) notes: BTreeMap<u64, Vec<Value>>,
    pub(crate) freezes: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) commits: BTreeMap<String, Value>,
    pub(crate) merges: BTreeMap<String, Vec<Value>>,
    pub(crate) path: String,
    pub(crate) environments: Vec<Value>,
    pub(crate) jobs: Vec<Value>,
    pub(crate) tags: Vec<String>,
    /// How jobs end that are run again.
    pub(crate) ends_as: Option<String>,
    /// Whether jobs that are run again wait for somebody to start them.
    pub(crate) waits: bool,
    pub(crate) on_deploy: OnDeploy,
}

/// What happens when a deploy job ends well: it is told the commit.
#[derive(Clone, Default)]
pub(crate) struct OnDeploy(pub(crate) Option<Arc<Deployed>>);

type Deployed = dyn Fn(&str) + Send + Sync;

impl std::fmt::Debug for OnDeploy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnDeploy")
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) token: String,
    pub(crate) page: usize,
    pub(crate) projects: BTreeMap<String, Held>,
    pub(crate) requests: Vec<Recorded>,
    /// Answers that come before any other: status and `Retry-After`.
    pub(crate) trouble: Vec<(u16, Option<u64>)>,
    pub(crate) last: u64,
}

impl State {
    /// The next number of anything.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// A running one.
#[derive(Debug, Clone)]
pub struct RecordingGitlab {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

/// Now, as GitLab writes it.
pub(crate) fn stamp() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

impl RecordingGitlab {
    /// Starts one on a free port of 127.0.0.1 that takes this token. It ends with the runtime.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(token: &str) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            token: token.to_owned(),
            page: 100,
            projects: BTreeMap::new(),
            requests: Vec::new(),
            trouble: Vec::new(),
            last: 0,
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = routes::router(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { state, address })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Settings of a client with the token in a file.
    pub fn settings(&self, token_file: PathBuf) -> Settings {
        Settings {
            url: self.url(),
            token_file,
            timeout: Duration::from_secs(5),
        }
    }

    /// Makes a project.
    pub fn project(&self, name: &str) {
        self.state().projects.entry(name.to_owned()).or_default();
    }

    /// Makes a project with a number and a path, as GitLab lists it.
    pub fn numbered_project(&self, id: u64, path: &str) {
        let mut state = self.state();
        let held = state.projects.entry(id.to_string()).or_default();
        path.clone_into(&mut held.path);
    }

    /// Makes a commit, and a merge request that brought it.
    pub fn commit(&self, project: &str, sha: &str, merge_request: Option<u64>) {
        let mut state = self.state();
        let url = format!("http://{}/{project}", self.address);
        let held = state.projects.entry(project.to_owned()).or_default();
        let short = sha.get(..8).unwrap_or(sha);
        let commit = json!({
            "id": sha, "short_id": short, "title": "Improve the basket", "message": "Improve the basket\n",
            "author_name": "Ada Example", "author_email": "ada@example.com", "authored_date": stamp(),
            "committer_name": "Ada Example", "committer_email": "ada@example.com", "committed_date": stamp(),
            "created_at": stamp(), "parent_ids": [], "web_url": format!("{url}/-/commit/{sha}"),
        });
        held.commits.insert(sha.to_owned(), commit);
        if let Some(iid) = merge_request {
            let merge = json!({
                "id": iid + 1_000, "iid": iid, "project_id": 1, "title": "Improve the basket", "description": "",
                "state": "merged", "created_at": stamp(), "updated_at": stamp(), "merged_at": stamp(),
                "target_branch": "main", "source_branch": "basket", "sha": sha, "merge_commit_sha": sha,
                "web_url": format!("{url}/-/merge_requests/{iid}"),
            });
            held.merges.entry(sha.to_owned()).or_default().push(merge);
        }
    }

    /// Answers the next requests like this, whatever they ask.
    pub fn fail_next(&self, times: usize, status: u16, retry_after: Option<u64>) {
        self.state()
            .trouble
            .extend(vec![(status, retry_after); times]);
    }

    /// Answers as it should again.
    pub fn recover(&self) {
        self.state().trouble.clear();
    }

    /// Sets the most entries of a page.
    pub fn page(&self, entries: usize) {
        self.state().page = entries.max(1);
    }

    /// Sets the token that is taken from now on.
    pub fn token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    /// Everything that was asked so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state().requests.clone()
    }

    /// What changed something so far: `POST projects/1/issues`.
    pub fn changes(&self) -> Vec<String> {
        let requests = self.requests();
        let changing = requests
            .iter()
            .filter(|r| r.method != "GET" && r.status < 300);
        changing
            .map(|r| format!("{} {}", r.method, r.path))
            .collect()
    }

    pub(crate) fn held_mut<T>(&self, project: &str, change: impl FnOnce(&mut Held, u64) -> T) -> T {
        let mut state = self.state();
        let number = state.next();
        change(
            state.projects.entry(project.to_owned()).or_default(),
            number,
        )
    }

    /// The freeze periods of a project.
    pub fn freezes(&self, project: &str) -> Vec<Value> {
        self.held(project, |held| held.freezes.clone())
            .unwrap_or_default()
    }

    /// The jobs of a project.
    pub fn jobs(&self, project: &str) -> Vec<Value> {
        self.held(project, |held| held.jobs.clone())
            .unwrap_or_default()
    }

    fn held<T>(&self, project: &str, read: impl FnOnce(&Held) -> T) -> Option<T> {
        self.state().projects.get(project).map(read)
    }

    /// The deployments of a project.
    pub fn deployments(&self, project: &str) -> Vec<Value> {
        self.held(project, |held| held.deployments.clone())
            .unwrap_or_default()
    }

    /// The issues of a project.
    pub fn issues(&self, project: &str) -> Vec<Value> {
        self.held(project, |held| held.issues.clone())
            .unwrap_or_default()
    }

    /// The notes on a merge request.
    pub fn notes(&self, project: &str, merge_request: u64) -> Vec<Value> {
        let notes = self.held(project, |held| held.notes.get(&merge_request).cloned());
        notes.flatten().unwrap_or_default()
    }

    /// The commit statuses of a project.
    pub fn statuses(&self, project: &str) -> Vec<Value> {
        self.held(project, |held| held.statuses.clone())
            .unwrap_or_default()
    }
}
