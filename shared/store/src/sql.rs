//! The statements that SQLite and PostgreSQL share.
//!
//! Both read `$1`: PostgreSQL by number, SQLite as a name that gets its number at first use. So the
//! parameters of each statement first appear in ascending order.

use crate::Scan;

pub(crate) const INSERT: &str = "INSERT INTO entry (collection, key, scope, sort, body, version) VALUES ($1, $2, $3, $4, $5, 1) \
     ON CONFLICT (collection, key) DO NOTHING";
pub(crate) const PUT: &str = "INSERT INTO entry (collection, key, scope, sort, body, version) VALUES ($1, $2, $3, $4, $5, 1) \
     ON CONFLICT (collection, key) DO UPDATE SET scope = excluded.scope, sort = excluded.sort, body = excluded.body, version = entry.version + 1";
pub(crate) const UPDATE: &str = "UPDATE entry SET scope = $1, sort = $2, body = $3, version = version + 1 \
     WHERE collection = $4 AND key = $5 AND version = $6";
pub(crate) const DELETE: &str = "DELETE FROM entry WHERE collection = $1 AND key = $2";
pub(crate) const GET: &str =
    "SELECT key, scope, sort, version, body FROM entry WHERE collection = $1 AND key = $2";
pub(crate) const COUNT: &str = "SELECT count(*) FROM entry WHERE collection = $1";
pub(crate) const COUNT_SCOPE: &str =
    "SELECT count(*) FROM entry WHERE collection = $1 AND scope = $2";

/// The statement of a scan. Its parameters: collection, then scope, then the two of `after` (as far as
/// they are given), then the limit. `no_bytes` is the database's literal for an empty body.
pub(crate) fn scan(scan: &Scan, no_bytes: &str) -> String {
    let (relation, direction) = if scan.descending {
        ("<", "DESC")
    } else {
        (">", "ASC")
    };
    let (scope, after) = (scan.scope.is_some(), scan.after.is_some());
    let of_scope = if scope { " AND scope = $2" } else { "" };
    let next = 2 + usize::from(scope);
    let behind = if after {
        format!(" AND (sort, key) {relation} (${next}, ${})", next + 1)
    } else {
        String::new()
    };
    let limit = next + 2 * usize::from(after);
    let body = if scan.keys_only { no_bytes } else { "body" };
    format!(
        "SELECT key, scope, sort, version, {body} FROM entry WHERE collection = $1{of_scope}{behind} \
         ORDER BY sort {direction}, key {direction} LIMIT ${limit}"
    )
}

/// A row limit as the databases take it.
pub(crate) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
