//! The application of a scene: each running pod is a session that runs its version's queries all the time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_postgres::{Client, error::SqlState};

use super::stage::{session, version_of};

/// Pause between two rounds of a pod's queries.
const BEAT: Duration = Duration::from_millis(15);
/// Classes of errors that come from a schema which does not fit: values, constraints, names.
const UNFIT: [&str; 3] = ["22", "23", "42"];

/// What a version of the application does with the database.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Its queries; all have to succeed whenever a pod of it runs.
    pub probes: &'static [&'static str],
    /// Writes one row under the key `$1`.
    pub write: &'static str,
    /// Reads keys and what the version sees of their rows, both as text.
    pub read: &'static str,
}

/// A row whose write was acknowledged, and what its writer saw of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `1` or `2`.
    pub version: &'static str,
    /// Its key.
    pub key: String,
    /// What the version reads.
    pub content: String,
}

impl Version {
    /// Writes a row and reads it as this version does.
    pub async fn write(
        &self,
        client: &mut Client,
        (version, key): (&'static str, &str),
    ) -> Result<Written, tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute(self.write, &[&key]).await?;
        let one = format!(
            "SELECT content FROM ({}) AS r (key, content) WHERE key = $1",
            self.read
        );
        let content = transaction.query_one(&one, &[&key]).await?.get(0);
        transaction.commit().await?;
        Ok(Written {
            version,
            key: key.to_owned(),
            content,
        })
    }

    /// All rows as this version sees them.
    pub async fn read(
        &self,
        client: &Client,
    ) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
        let rows = client.query(self.read, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Runs all queries in a transaction that is given up.
    async fn probe(&self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        for query in self.probes {
            transaction.execute(*query, &[]).await?;
        }
        transaction.rollback().await
    }
}

/// What was seen while pods ran.
#[derive(Debug, Default)]
pub struct Seen {
    /// Queries of running pods that met a schema which does not fit them.
    pub misfits: Mutex<Vec<String>>,
    /// Rounds of queries that succeeded, by version.
    pub rounds: [AtomicU64; 2],
    /// Rows that pods wrote.
    pub written: Mutex<Vec<Written>>,
}

/// Everybody who runs while a scene is on.
#[derive(Debug)]
pub struct Running {
    /// What was seen so far.
    pub seen: Arc<Seen>,
    watching: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A pod's process.
#[derive(Clone)]
struct Process {
    pods: Api<Pod>,
    url: String,
    versions: [Version; 2],
    seen: Arc<Seen>,
}

/// Ends with the pod.
struct Alive(JoinHandle<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Plays the pods of a workload from now on.
pub fn run(
    pods: Api<Pod>,
    (name, url): (&str, String),
    versions: [Version; 2],
    last_words: bool,
) -> Running {
    let seen = Arc::new(Seen::default());
    let process = Process {
        pods: pods.clone(),
        url,
        versions,
        seen: seen.clone(),
    };
    let config = watcher::Config::default().labels(&format!("app={name}"));
    let watching = tokio::spawn(async move {
        let events = watcher::watcher(pods, config).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut alive: HashMap<String, Alive> = HashMap::new();
        let mut left = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    let leaves = pod.metadata.deletion_timestamp.is_some();
                    if last_words && leaves && left.insert(uid.clone()) {
                        process.last_words(&pod).await;
                    }
                    if is_running(&pod) && !alive.contains_key(&uid) {
                        let process = process.clone();
                        alive.insert(uid, Alive(tokio::spawn(process.live(pod))));
                    }
                }
                Ok(Event::Delete(pod)) => {
                    alive.remove(&pod.metadata.uid.unwrap_or_default());
                }
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
        }
    });
    Running { seen, watching }
}

fn is_running(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some("Running")
}

impl Process {
    async fn live(self, pod: Pod) {
        let at = usize::from(version_of(&pod) != Some("1"));
        loop {
            let Ok(mut client) = session(&self.url).await else {
                sleep(BEAT).await;
                continue;
            };
            loop {
                if let Err(error) = self.versions[at].probe(&mut client).await {
                    self.judge(&pod, &error).await;
                    if error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN) {
                        break;
                    }
                } else {
                    self.seen.rounds[at].fetch_add(1, Ordering::Relaxed);
                }
                sleep(BEAT).await;
            }
        }
    }

    /// What a pod of version 2 writes between its signal and its end.
    async fn last_words(&self, pod: &Pod) {
        if version_of(pod) != Some("2") {
            return;
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let mut client = session(&self.url).await.unwrap();
        let written = self.versions[1].write(&mut client, ("2", name)).await;
        self.seen.written.lock().unwrap().push(written.unwrap());
    }

    /// Whether a query failed because the schema does not fit, while its pod still ran.
    async fn judge(&self, pod: &Pod, error: &tokio_postgres::Error) {
        let Some(database) = error.as_db_error() else {
            return;
        };
        if !UNFIT.contains(&&database.code().code()[..2]) {
            return;
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let now = self.pods.get_opt(name).await;
        // The pod is the one that asked, so it ran before the question and runs after it.
        if now.is_ok_and(|now| now.is_some_and(|now| now.metadata.uid == pod.metadata.uid)) {
            let version = version_of(pod).unwrap_or_default();
            let misfit = format!("version {version} in {name}: {}", database.message());
            self.seen.misfits.lock().unwrap().push(misfit);
        }
    }
}
