//! The store for tests and benchmarks: same behaviour, no durability.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{PoisonError, RwLock},
};

use futures::FutureExt;

use crate::{Commit, Entry, Scan, Store, StoreError, Write, validate};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    collections: RwLock<HashMap<&'static str, Collection>>,
}

type Position = (String, String);

#[derive(Debug, Default)]
struct Collection {
    entries: BTreeMap<String, Entry>,
    order: BTreeSet<Position>,
    scopes: HashMap<String, BTreeSet<Position>>,
}

impl Collection {
    /// Stores or removes one entry; returns what was there.
    fn replace(&mut self, key: &str, entry: Option<Entry>) -> Option<Entry> {
        let old = self.entries.remove(key);
        if let Some(old) = &old {
            let position = (old.sort.clone(), old.key.clone());
            self.order.remove(&position);
            if let Some(scope) = self.scopes.get_mut(&old.scope) {
                scope.remove(&position);
            }
        }
        if let Some(entry) = entry {
            let position = (entry.sort.clone(), entry.key.clone());
            self.order.insert(position.clone());
            self.scopes
                .entry(entry.scope.clone())
                .or_default()
                .insert(position);
            self.entries.insert(entry.key.clone(), entry);
        }
        old
    }

    fn scan(&self, scan: &Scan) -> Vec<Entry> {
        let positions = match &scan.scope {
            None => Some(&self.order),
            Some(scope) => self.scopes.get(scope),
        };
        let Some(positions) = positions else {
            return Vec::new();
        };
        let bound = scan
            .after
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let found: Box<dyn Iterator<Item = &Position>> = if scan.descending {
            Box::new(
                positions
                    .range::<Position, _>((Bound::Unbounded, bound))
                    .rev(),
            )
        } else {
            Box::new(positions.range::<Position, _>((bound, Bound::Unbounded)))
        };
        found
            .take(scan.limit)
            .filter_map(|(_, key)| self.entries.get(key))
            .cloned()
            .collect()
    }
}

impl MemoryStore {
    fn apply(&self, batch: Vec<Write>) -> Result<(), StoreError> {
        validate::batch(&batch)?;
        let mut collections = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut undo = Vec::new();
        for write in batch {
            if let Err(conflict) = step(&mut collections, write, &mut undo) {
                while let Some((collection, key, old)) = undo.pop() {
                    collections
                        .entry(collection)
                        .or_default()
                        .replace(&key, old);
                }
                return Err(conflict);
            }
        }
        Ok(())
    }
}

/// Stored versions start at 1, so an update of version 0 fits nothing.
const NO_VERSION: u64 = u64::MAX;

type Undo = Vec<(&'static str, String, Option<Entry>)>;

fn step(
    collections: &mut HashMap<&'static str, Collection>,
    write: Write,
    undo: &mut Undo,
) -> Result<(), StoreError> {
    let (collection, key, new, expected) = match write {
        Write::Insert { collection, entry } => {
            (collection, entry.key.clone(), Some(entry), Some(0))
        }
        Write::Put { collection, entry } => (collection, entry.key.clone(), Some(entry), None),
        Write::Update { collection, entry } => (
            collection,
            entry.key.clone(),
            Some(entry.clone()),
            Some(if entry.version == 0 {
                NO_VERSION
            } else {
                entry.version
            }),
        ),
        Write::Delete { collection, key } => (collection, key, None, None),
    };
    let stored = collections.entry(collection).or_default();
    let version = stored.entries.get(&key).map_or(0, |entry| entry.version);
    if expected.is_some_and(|expected| expected != version) {
        return Err(StoreError::Conflict { collection, key });
    }
    let old = stored.replace(
        &key,
        new.map(|entry| Entry {
            version: version + 1,
            ..entry
        }),
    );
    undo.push((collection, key, old));
    Ok(())
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        let result = self.apply(batch);
        std::future::ready(result).boxed()
    }

    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError> {
        if !validate::is_storable(key) {
            return Ok(None);
        }
        let collections = self
            .collections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(collections
            .get(collection)
            .and_then(|c| c.entries.get(key))
            .cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        if !validate::can_match(&scan) {
            return Ok(Vec::new());
        }
        let collections = self
            .collections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(collections
            .get(scan.collection)
            .map(|c| c.scan(&scan))
            .unwrap_or_default())
    }

    async fn count(
        &self,
        collection: &'static str,
        scope: Option<&str>,
    ) -> Result<u64, StoreError> {
        if !scope.is_none_or(validate::is_storable) {
            return Ok(0);
        }
        let collections = self
            .collections
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let count = collections.get(collection).map_or(0, |c| match scope {
            None => c.entries.len(),
            Some(scope) => c.scopes.get(scope).map_or(0, BTreeSet::len),
        });
        Ok(count as u64)
    }
}
