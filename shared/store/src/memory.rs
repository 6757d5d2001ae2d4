//! The store for tests and benchmarks: same behaviour, no durability.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use futures::FutureExt;

use crate::{Commit, Entry, Scan, Store, StoreError, Write, validate};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    collections: RwLock<HashMap<&'static str, Collection>>,
}

/// Where an entry stands in order: sort key and key, joined by the one byte that neither has and that sorts first.
type Position = Arc<str>;

fn position(sort: &str, key: &str) -> Position {
    [sort, "\0", key].concat().into()
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    position: Position,
}

#[derive(Debug, Default)]
struct Collection {
    entries: HashMap<String, Stored>,
    order: BTreeMap<Position, Arc<str>>,
    scopes: HashMap<String, BTreeMap<Position, Arc<str>>>,
}

impl Collection {
    /// Stores or removes one entry; returns what was there.
    fn replace(&mut self, key: &str, entry: Option<Entry>) -> Option<Entry> {
        let old = self.entries.remove(key);
        if let Some(Stored { entry, position }) = &old {
            self.order.remove(position);
            if let Some(scope) = self.scopes.get_mut(&entry.scope) {
                scope.remove(position);
                if scope.is_empty() {
                    self.scopes.remove(&entry.scope);
                }
            }
        }
        if let Some(entry) = entry {
            let position = position(&entry.sort, &entry.key);
            let key: Arc<str> = entry.key.as_str().into();
            self.order.insert(position.clone(), key.clone());
            if let Some(scope) = self.scopes.get_mut(&entry.scope) {
                scope.insert(position.clone(), key);
            } else {
                let first = BTreeMap::from([(position.clone(), key)]);
                self.scopes.insert(entry.scope.clone(), first);
            }
            self.entries
                .insert(entry.key.clone(), Stored { entry, position });
        }
        old.map(|old| old.entry)
    }

    fn scan(&self, scan: &Scan) -> Vec<Entry> {
        let positions = match &scan.scope {
            None => Some(&self.order),
            Some(scope) => self.scopes.get(scope),
        };
        let Some(positions) = positions else {
            return Vec::new();
        };
        let after = scan.after.as_ref().map(|(sort, key)| position(sort, key));
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = Bound::Unbounded;
        let found: Box<dyn Iterator<Item = _>> = if scan.descending {
            Box::new(positions.range((all, bound)).rev())
        } else {
            Box::new(positions.range((bound, all)))
        };
        found
            .take(scan.limit)
            .filter_map(|(_, key)| self.entries.get(&**key))
            .map(|stored| match &stored.entry {
                entry if scan.keys_only => Entry {
                    key: entry.key.clone(),
                    scope: entry.scope.clone(),
                    sort: entry.sort.clone(),
                    version: entry.version,
                    body: Vec::new(),
                },
                entry => entry.clone(),
            })
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
    let version = stored
        .entries
        .get(&key)
        .map_or(0, |stored| stored.entry.version);
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
            .map(|stored| stored.entry.clone()))
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
            Some(scope) => c.scopes.get(scope).map_or(0, BTreeMap::len),
        });
        Ok(count as u64)
    }
}
