//! What keys may look like, so that every store accepts and orders the same ones.

use crate::{Entry, Scan, StoreError, Write};

/// Longest key, scope or sort key in bytes: three of them fit into one PostgreSQL B-tree entry (2,704 bytes).
const MAX_BYTES: usize = 512;

/// Checks a whole batch.
pub(crate) fn batch(writes: &[Write]) -> Result<(), StoreError> {
    writes.iter().try_for_each(|write| match write {
        Write::Insert { collection, entry }
        | Write::Put { collection, entry }
        | Write::Update { collection, entry } => check(collection, entry),
        Write::Delete { collection, key } => text(collection, "key", key),
    })
}

/// Whether a scan can find anything.
pub(crate) fn can_match(scan: &Scan) -> bool {
    let after = scan.after.iter().flat_map(|(sort, key)| [sort, key]);
    scan.limit > 0
        && scan
            .scope
            .iter()
            .chain(after)
            .all(|value| is_storable(value))
}

/// Whether a key, scope or sort key can be kept.
pub(crate) fn is_storable(value: &str) -> bool {
    value.len() <= MAX_BYTES && !value.contains('\0')
}

fn check(
    collection: &'static str,
    Entry {
        key, scope, sort, ..
    }: &Entry,
) -> Result<(), StoreError> {
    text(collection, "key", key)?;
    text(collection, "scope", scope)?;
    text(collection, "sort", sort)
}

fn text(collection: &'static str, field: &'static str, value: &str) -> Result<(), StoreError> {
    if is_storable(value) {
        Ok(())
    } else {
        Err(StoreError::Unavailable(format!(
            "{field} of an entry of {collection} is longer than {MAX_BYTES} bytes or holds a NUL"
        )))
    }
}
