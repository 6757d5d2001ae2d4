//! The end of the chain, in the store and as this process sees it.

use serde::{Deserialize, Serialize};
use store::{Entry, Scan, Store, StoreError, Write};
use uuid::Uuid;

use crate::chain::Head;

/// Collection of the one head entry.
pub const HEAD: &str = "audit_head";
/// Key of the head of an empty chain.
const FIRST_EPOCH: &str = "genesis";

/// The end of the chain as this process sees it.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) head: Head,
    pub(super) epoch: String,
    /// Version of the head entry under `epoch`; 0 when this epoch has not written yet.
    version: u64,
    /// The head entry that the first write of this epoch replaces: its key and version.
    replaces: Option<(String, u64)>,
}

/// What the head entry holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) head: Head,
    /// Made from the agent's first key; it outlives that key.
    pub(super) did: String,
}

impl Chain {
    /// The writes that move the head entry.
    pub(super) fn advance(&mut self, stored: &Stored) -> Vec<Write> {
        let version = self.version;
        self.version += 1;
        let new = entry(&self.epoch, version, stored);
        let Some((old, version)) = self.replaces.take() else {
            return vec![Write::Update {
                collection: HEAD,
                entry: new,
            }];
        };
        vec![
            Write::Update {
                collection: HEAD,
                entry: entry(&old, version, stored),
            },
            Write::Delete {
                collection: HEAD,
                key: old,
            },
            Write::Insert {
                collection: HEAD,
                entry: new,
            },
        ]
    }
}

/// The end of the chain in the store, under a fresh epoch, and the agent's DID. Begins a chain for `first_did` where
/// there is none.
pub(super) async fn load(
    store: &dyn Store,
    first_did: &str,
) -> Result<(Chain, String), StoreError> {
    let newest = Scan {
        collection: HEAD,
        limit: 1,
        ..Scan::default()
    };
    let mut found = store.scan(newest.clone()).await?.pop();
    if found.is_none() {
        begin(store, first_did).await?;
        found = store.scan(newest).await?.pop();
    }
    let Entry {
        key, version, body, ..
    } = found.ok_or_else(|| broken(HEAD))?;
    let Stored { head, did } = serde_json::from_slice(&body).map_err(|_| broken(HEAD))?;
    Ok((
        Chain {
            head,
            epoch: Uuid::now_v7().to_string(),
            version: 0,
            replaces: Some((key, version)),
        },
        did,
    ))
}

/// Begins a chain, unless another replica has begun it.
async fn begin(store: &dyn Store, first_did: &str) -> Result<(), StoreError> {
    let first = Stored {
        head: Head::default(),
        did: first_did.to_owned(),
    };
    let insert = Write::Insert {
        collection: HEAD,
        entry: entry(FIRST_EPOCH, 0, &first),
    };
    match store.submit(vec![insert]).await {
        Err(StoreError::Conflict { .. }) => Ok(()),
        result => result,
    }
}

pub(super) fn entry(key: &str, version: u64, body: &impl Serialize) -> Entry {
    let body = serde_json::to_vec(body).expect("envelopes and heads have string keys only");
    Entry {
        key: key.to_owned(),
        scope: String::new(),
        sort: String::new(),
        version,
        body,
    }
}

/// A counter whose texts sort by number: `u64::MAX` has 20 digits.
pub(super) fn padded(counter: u64) -> String {
    format!("{counter:020}")
}

pub(super) fn broken(collection: &'static str) -> StoreError {
    StoreError::Unavailable(format!("an entry of {collection} cannot be read"))
}
