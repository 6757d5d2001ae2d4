//! Incidents as they are kept: one durable document each, and a count of episodes for every cause.

use std::sync::Arc;

use shared::SkillError;
use store::{Entry, Scan, Store, StoreError, Write};

use crate::{
    domain::{At, Finding, Incident},
    notices::notify,
};

const INCIDENTS: &str = "incidents";
const EPISODES: &str = "incident_episodes";
const HEALTHY: &str = "healthy_revisions";
const OPEN: &str = "open";
const OVER: &str = "resolved";
/// Characters of the fingerprint's digest in an id: 48 bits.
const ID_DIGITS: usize = 12;
/// Most remembered revisions that are read at the start.
const MOST_REVISIONS: usize = 100_000;

/// The agent's memory of incidents.
#[derive(Debug, Clone)]
pub struct Ledger(pub Arc<dyn Store>);

/// Which incidents to list.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only open ones, or only resolved ones.
    pub open: Option<bool>,
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// At most this many.
    pub limit: usize,
}

fn unavailable(error: StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

fn entry(key: String, scope: &str, sort: String, body: Vec<u8>) -> Entry {
    Entry {
        key,
        scope: scope.to_owned(),
        sort,
        version: 0,
        body,
    }
}

fn document(incident: &Incident) -> Result<Entry, SkillError> {
    let body = serde_json::to_vec(incident)
        .map_err(|error| SkillError::failed_with("cannot encode an incident", error))?;
    let scope = if incident.is_open() { OPEN } else { OVER };
    let sort = format!("{:020}", incident.detected_at.millis());
    Ok(entry(incident.id.clone(), scope, sort, body))
}

fn read(entry: &Entry) -> Result<Incident, SkillError> {
    serde_json::from_slice(&entry.body).map_err(|error| {
        SkillError::failed_with(format!("cannot read incident {}", entry.key), error)
    })
}

impl Ledger {
    /// Opens the next incident of a cause. The id follows from cause and episode, so that the same one can be
    /// opened only once; `None` when somebody else just did.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(&self, finding: Finding, now: At) -> Result<Option<Incident>, SkillError> {
        let digest = shared::digest::of_bytes(finding.fingerprint.as_bytes());
        let known = self.0.get(EPISODES, &digest).await.map_err(unavailable)?;
        let episode = known.as_ref().map_or(0, |entry| entry.version) + 1;
        let id = format!(
            "inc-{}-{episode}",
            digest.get(..ID_DIGITS).unwrap_or(&digest)
        );
        let incident = Incident::open(finding, id, episode, now);
        let entry_of_cause = Entry {
            version: episode - 1,
            ..entry(digest, "", String::new(), incident.id.clone().into_bytes())
        };
        let count = match known {
            None => Write::Insert {
                collection: EPISODES,
                entry: entry_of_cause,
            },
            Some(_) => Write::Update {
                collection: EPISODES,
                entry: entry_of_cause,
            },
        };
        let insert = Write::Insert {
            collection: INCIDENTS,
            entry: document(&incident)?,
        };
        let [notice, fact] = notify(&incident)?;
        match self.0.submit(vec![count, insert, notice, fact]).await {
            Ok(()) => Ok(Some(incident)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Keeps an incident as it is now.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep(&self, incident: &Incident) -> Result<(), SkillError> {
        let write = Write::Put {
            collection: INCIDENTS,
            entry: document(incident)?,
        };
        let [notice, fact] = notify(incident)?;
        let batch = vec![write, notice, fact];
        self.0.submit(batch).await.map_err(unavailable)
    }

    /// An incident by its id.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, id: &str) -> Result<Option<Incident>, SkillError> {
        let entry = self.0.get(INCIDENTS, id).await.map_err(unavailable)?;
        entry.as_ref().map(read).transpose()
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, query: &Query) -> Result<Vec<Incident>, SkillError> {
        let scope = query
            .open
            .map(|open| if open { OPEN } else { OVER }.to_owned());
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < query.limit {
            let scan = Scan {
                collection: INCIDENTS,
                scope: scope.clone(),
                after: after.take(),
                descending: true,
                keys_only: false,
                limit: query.limit,
            };
            let entries = self.0.scan(scan).await.map_err(unavailable)?;
            let Some(last) = entries.last() else { break };
            after = Some((last.sort.clone(), last.key.clone()));
            for entry in &entries {
                let incident = read(entry)?;
                let wanted = query
                    .namespace
                    .as_ref()
                    .is_none_or(|n| *n == incident.namespace);
                if wanted && found.len() < query.limit {
                    found.push(incident);
                }
            }
        }
        Ok(found)
    }

    /// Remembers that a revision was healthy, so that a restart in the middle of a rollout knows its baseline.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn learn_healthy(&self, set_uid: &str, at: At) -> Result<(), SkillError> {
        let sort = format!("{:020}", at.millis());
        let entry = entry(
            set_uid.to_owned(),
            "",
            sort,
            at.millis().to_string().into_bytes(),
        );
        let write = Write::Put {
            collection: HEALTHY,
            entry,
        };
        self.0.submit(vec![write]).await.map_err(unavailable)
    }

    /// The revisions that were healthy, newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn healthy(&self) -> Result<Vec<(String, At)>, SkillError> {
        let scan = Scan {
            collection: HEALTHY,
            descending: true,
            keys_only: false,
            limit: MOST_REVISIONS,
            ..Scan::default()
        };
        let entries = self.0.scan(scan).await.map_err(unavailable)?;
        let read = |entry: &Entry| {
            let millis = std::str::from_utf8(&entry.body).ok()?.parse().ok()?;
            Some((entry.key.clone(), At::from_millis(millis)))
        };
        Ok(entries.iter().filter_map(read).collect())
    }
}
