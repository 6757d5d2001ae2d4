//! Incidents as they are kept: one durable document each, and a count of episodes for every cause.

use std::sync::Arc;

use shared::SkillError;
use store::{Entry, Scan, Store, StoreError, Write};
use tokio::sync::broadcast;

use crate::{
    domain::{At, Finding, Incident, incident::Acknowledgement},
    notices::notify,
};

const INCIDENTS: &str = "incidents";
const EPISODES: &str = "incident_episodes";
const HEALTHY: &str = "healthy_revisions";
const ACKNOWLEDGED: &str = "acknowledgements";
/// Updates that a slow follower may be behind before it reads again.
const NEWS: usize = 256;
const OPEN: &str = "open";
const OVER: &str = "resolved";
/// Characters of the fingerprint's digest in an id: 48 bits.
const ID_DIGITS: usize = 12;
/// Most remembered revisions that are read at the start.
const MOST_REVISIONS: usize = 100_000;

/// The agent's memory of incidents.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    news: broadcast::Sender<Incident>,
}

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
    /// A ledger in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (news, _) = broadcast::channel(NEWS);
        Self { store, news }
    }

    /// Every incident as it is kept from now on by this process.
    pub fn subscribe(&self) -> broadcast::Receiver<Incident> {
        self.news.subscribe()
    }

    /// Opens the next incident of a cause. The id follows from cause and episode, so that the same one can be
    /// opened only once; `None` when somebody else just did.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(&self, finding: Finding, now: At) -> Result<Option<Incident>, SkillError> {
        let digest = shared::digest::of_bytes(finding.fingerprint.as_bytes());
        let known = self
            .store
            .get(EPISODES, &digest)
            .await
            .map_err(unavailable)?;
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
        let batch = vec![count, insert, notice, fact];
        match self.store.submit(batch).await {
            Ok(()) => {
                self.tell(&incident);
                Ok(Some(incident))
            }
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
        self.store.submit(batch).await.map_err(unavailable)?;
        self.tell(incident);
        Ok(())
    }

    /// Nobody has to listen.
    fn tell(&self, incident: &Incident) {
        drop(self.news.send(incident.clone()));
    }

    /// An incident by its id, with who acknowledged it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, id: &str) -> Result<Option<Incident>, SkillError> {
        let entry = self.store.get(INCIDENTS, id).await.map_err(unavailable)?;
        let Some(entry) = entry else { return Ok(None) };
        let mut incident = read(&entry)?;
        incident.acknowledged = self.acknowledgement(id).await?;
        Ok(Some(incident))
    }

    /// Who acknowledged an incident.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn acknowledgement(&self, id: &str) -> Result<Option<Acknowledgement>, SkillError> {
        let entry = self.store.get(ACKNOWLEDGED, id).await;
        let read = |entry: Entry| {
            let read = serde_json::from_slice(&entry.body);
            read.map_err(|error| SkillError::failed_with("cannot read an acknowledgement", error))
        };
        entry.map_err(unavailable)?.map(read).transpose()
    }

    /// Keeps who acknowledged an incident; the newest counts.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn acknowledge(
        &self,
        id: &str,
        acknowledgement: &Acknowledgement,
    ) -> Result<(), SkillError> {
        let body = serde_json::to_vec(acknowledgement)
            .map_err(|error| SkillError::failed_with("cannot encode an acknowledgement", error))?;
        let sort = format!("{:020}", acknowledgement.at.millis());
        let write = Write::Put {
            collection: ACKNOWLEDGED,
            entry: entry(id.to_owned(), "", sort, body),
        };
        self.store.submit(vec![write]).await.map_err(unavailable)?;
        if let Some(incident) = self.get(id).await? {
            self.tell(&incident);
        }
        Ok(())
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
            let entries = self.store.scan(scan).await.map_err(unavailable)?;
            let Some(last) = entries.last() else { break };
            after = Some((last.sort.clone(), last.key.clone()));
            for entry in &entries {
                let mut incident = read(entry)?;
                let wanted = query
                    .namespace
                    .as_ref()
                    .is_none_or(|n| *n == incident.namespace);
                if wanted && found.len() < query.limit {
                    incident.acknowledged = self.acknowledgement(&incident.id).await?;
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
        self.store.submit(vec![write]).await.map_err(unavailable)
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
        let entries = self.store.scan(scan).await.map_err(unavailable)?;
        let read = |entry: &Entry| {
            let millis = std::str::from_utf8(&entry.body).ok()?.parse().ok()?;
            Some((entry.key.clone(), At::from_millis(millis)))
        };
        Ok(entries.iter().filter_map(read).collect())
    }
}
