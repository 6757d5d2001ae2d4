//! The mesh's audit trail in this agent's store.
//!
//! Collections: `records` (key agent/counter; scope agent, sort counter; body the envelope), `record_facets` (the
//! index, see [`super::facets`]), `chain_heads` (one an agent), `forks` and `gaps` (what was wrong). A record, its
//! index entries and its chain's head become durable in one batch.

use std::{collections::HashMap, sync::Arc};

use audit::{Break, Envelope, Head, Verified};
use serde::{Deserialize, Serialize};
use store::{Entry, Scan, Store, StoreError, Write};

use super::facets::{self, FACETS, Facet};

const RECORDS: &str = "records";
const HEADS: &str = "chain_heads";
const FORKS: &str = "forks";
const GAPS: &str = "gaps";

/// How often an append is tried again that met another one of the same agent.
const MAX_TRIES: usize = 20;

/// A record that arrived and whose signature holds.
#[derive(Debug, Clone)]
pub struct Signed {
    /// As it arrived.
    pub envelope: Envelope,
    /// What it says.
    pub verified: Verified,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As it arrived.
    pub envelope: Envelope,
    /// Hash of the record's bytes.
    pub hash: String,
    /// When it arrived (RFC 3339).
    pub received: String,
}

/// One agent's records, as they arrive.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Name of the agent.
    pub agent: &'a str,
    /// Its records, in the order of their counters.
    pub records: &'a [Signed],
    /// When they arrived (RFC 3339).
    pub received: &'a str,
    /// Whether the first record may leave a gap, which is noted for good.
    pub after_gap: bool,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Records that are new.
    pub stored: u64,
    /// Records that were there before, acknowledged again.
    pub repeated: u64,
    /// Highest counter up to which the agent's records are stored.
    pub contiguous: u64,
}

/// Why a delivery was not taken in whole. What came before the refused record is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The agent signed another record under this counter, or another history before it.
    #[error("record {counter} of {agent} belongs to another history than the stored one")]
    Fork {
        /// The agent.
        agent: String,
        /// Where the histories part.
        counter: u64,
    },
    /// Records are missing before this one.
    #[error("record {expected} of {agent} is missing before record {got}")]
    Gap {
        /// The agent.
        agent: String,
        /// The counter that has to come next.
        expected: u64,
        /// The counter that came.
        got: u64,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A page of records, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Each record's place in the index, and its key.
    pub places: Vec<((String, String), String)>,
}

/// The trail.
#[derive(Debug, Clone)]
pub struct Trail(Arc<dyn Store>);

/// A delivery as far as it was looked at.
struct Plan {
    head: Head,
    writes: Vec<Write>,
    new: HashMap<u64, String>,
    appended: Appended,
}

impl Trail {
    /// The trail that this store keeps.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Appends one agent's records in order. Those that are there already are acknowledged again.
    ///
    /// # Errors
    /// [`Refusal`]. A fork is noted for good.
    pub async fn append(&self, delivery: Delivery<'_>) -> Result<Appended, Refusal> {
        let agent = delivery.agent;
        for _ in 0..MAX_TRIES {
            let (head, version) = self.head(agent).await?;
            let mut plan = Plan {
                head,
                writes: Vec::new(),
                new: HashMap::new(),
                appended: Appended::default(),
            };
            let refusal = self.plan(delivery, &mut plan).await?;
            let Plan {
                head,
                mut writes,
                mut appended,
                ..
            } = plan;
            if !writes.is_empty() {
                let body = serde_json::to_vec(&head).unwrap_or_default();
                let entry = Entry {
                    key: agent.to_owned(),
                    scope: String::new(),
                    sort: agent.to_owned(),
                    version,
                    body,
                };
                writes.push(if version == 0 {
                    Write::Insert {
                        collection: HEADS,
                        entry,
                    }
                } else {
                    Write::Update {
                        collection: HEADS,
                        entry,
                    }
                });
                match self.0.submit(writes).await {
                    // Another delivery of this agent came in between: look again.
                    Err(StoreError::Conflict { .. }) => continue,
                    result => result?,
                }
            }
            appended.contiguous = head.counter;
            return refusal.map_or(Ok(appended), Err);
        }
        Err(Refusal::Store(StoreError::Unavailable(format!(
            "too many deliveries of {agent} at once"
        ))))
    }

    /// Looks at the records in order, up to the first that is refused.
    async fn plan(
        &self,
        delivery: Delivery<'_>,
        plan: &mut Plan,
    ) -> Result<Option<Refusal>, StoreError> {
        let Delivery {
            agent,
            records,
            received,
            after_gap,
        } = delivery;
        for signed in records {
            let (counter, hash) = (signed.verified.record.counter, &signed.verified.hash);
            let mut step = plan.head.follow(&signed.verified);
            if let (Err(Break::Gap { expected, got }), true) =
                (&step, after_gap && plan.new.is_empty())
            {
                let note =
                    serde_json::json!({"expected": expected, "got": got, "received": received});
                plan.writes
                    .push(put(GAPS, &key(agent, *got), agent, &padded(*got), &note));
                plan.head = Head {
                    counter: got - 1,
                    hash: signed.verified.record.prev.clone(),
                };
                step = plan.head.follow(&signed.verified);
            }
            match step {
                Ok(()) => plan.add(agent, signed, received),
                Err(Break::Gap { expected, got }) => {
                    return Ok(Some(Refusal::Gap {
                        agent: agent.to_owned(),
                        expected,
                        got,
                    }));
                }
                Err(Break::Repeated { .. } | Break::Fork { .. }) => {
                    let stored = match plan.new.get(&counter) {
                        Some(hash) => Some(hash.clone()),
                        None => self.get(&key(agent, counter)).await?.map(|kept| kept.hash),
                    };
                    if stored.as_ref() != Some(hash) {
                        self.note_fork(agent, signed, received).await?;
                        return Ok(Some(Refusal::Fork {
                            agent: agent.to_owned(),
                            counter,
                        }));
                    }
                    plan.appended.repeated += 1;
                }
            }
        }
        Ok(None)
    }

    async fn note_fork(
        &self,
        agent: &str,
        Signed { envelope, verified }: &Signed,
        received: &str,
    ) -> Result<(), StoreError> {
        let kept = Kept {
            envelope: envelope.clone(),
            hash: verified.hash.clone(),
            received: received.to_owned(),
        };
        let short: String = verified.hash.chars().take(32).collect();
        let key = format!("{} {short}", key(agent, verified.record.counter));
        self.0
            .submit(vec![put(
                FORKS,
                &key,
                agent,
                &padded(verified.record.counter),
                &kept,
            )])
            .await
    }

    /// The newest record of an agent's chain, and the version of that entry (0 when there is none).
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn head(&self, agent: &str) -> Result<(Head, u64), StoreError> {
        let Some(entry) = self.0.get(HEADS, agent).await? else {
            return Ok((Head::default(), 0));
        };
        Ok((decode(HEADS, &entry)?, entry.version))
    }

    /// Names of the agents that have records.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn agents(&self) -> Result<Vec<String>, StoreError> {
        let heads = self
            .0
            .scan(Scan {
                collection: HEADS,
                limit: 10_000,
                ..Scan::default()
            })
            .await?;
        Ok(heads.into_iter().map(|entry| entry.key).collect())
    }

    /// Records that an agent signed against its own stored history.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forks(&self, agent: &str) -> Result<u64, StoreError> {
        self.0.count(FORKS, Some(agent)).await
    }

    /// A record by its key in [`Found`].
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, key: &str) -> Result<Option<Kept>, StoreError> {
        self.0
            .get(RECORDS, key)
            .await?
            .map(|entry| decode(RECORDS, &entry))
            .transpose()
    }

    /// An agent's records after a counter, in order, with the counters they are stored under.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn chain(
        &self,
        agent: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Kept)>, StoreError> {
        let scan = Scan {
            collection: RECORDS,
            scope: Some(agent.to_owned()),
            after: Some((padded(after), key(agent, after))),
            limit,
            ..Scan::default()
        };
        let entries = self.0.scan(scan).await?;
        entries
            .iter()
            .map(|entry| {
                Ok((
                    entry.sort.parse().map_err(|_| unreadable(RECORDS))?,
                    decode(RECORDS, entry)?,
                ))
            })
            .collect()
    }

    /// Places of records of one facet, newest first, strictly before a place.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn find(
        &self,
        facet: Facet<'_>,
        before: Option<(String, String)>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let scan = Scan {
            collection: FACETS,
            scope: Some(facet.scope()),
            after: before,
            descending: true,
            keys_only: false,
            limit,
        };
        let place = |entry: Entry| {
            Ok((
                (entry.sort, entry.key),
                String::from_utf8(entry.body).map_err(|_| unreadable(FACETS))?,
            ))
        };
        let places: Result<_, StoreError> =
            self.0.scan(scan).await?.into_iter().map(place).collect();
        Ok(Found { places: places? })
    }
}

impl Plan {
    fn add(&mut self, agent: &str, Signed { envelope, verified }: &Signed, received: &str) {
        let counter = verified.record.counter;
        let key = key(agent, counter);
        let kept = Kept {
            envelope: envelope.clone(),
            hash: verified.hash.clone(),
            received: received.to_owned(),
        };
        let Write::Put { entry, .. } = put(RECORDS, &key, agent, &padded(counter), &kept) else {
            return;
        };
        self.writes.push(Write::Insert {
            collection: RECORDS,
            entry,
        });
        self.writes.extend(facets::writes(&verified.record, &key));
        self.new.insert(counter, verified.hash.clone());
        self.appended.stored += 1;
    }
}

fn put(
    collection: &'static str,
    key: &str,
    scope: &str,
    sort: &str,
    body: &impl Serialize,
) -> Write {
    let body = serde_json::to_vec(body).unwrap_or_default();
    Write::Put {
        collection,
        entry: Entry {
            key: key.to_owned(),
            scope: scope.to_owned(),
            sort: sort.to_owned(),
            version: 0,
            body,
        },
    }
}

fn decode<'a, T: Deserialize<'a>>(
    collection: &'static str,
    entry: &'a Entry,
) -> Result<T, StoreError> {
    serde_json::from_slice(&entry.body).map_err(|_| unreadable(collection))
}

fn unreadable(collection: &'static str) -> StoreError {
    StoreError::Unavailable(format!("an entry of {collection} cannot be read"))
}

fn key(agent: &str, counter: u64) -> String {
    format!("{agent}/{}", padded(counter))
}

/// A counter whose texts sort by number.
fn padded(counter: u64) -> String {
    format!("{counter:020}")
}
