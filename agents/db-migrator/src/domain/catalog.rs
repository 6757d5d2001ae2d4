//! A database's schema as a sorted list of definitions that can be compared and fingerprinted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Tenant, sha256_hex};

/// Where the rows of a table or column are, as the database would accept it in a query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The table, quoted.
    pub table: String,
    /// The column, quoted; absent for the table itself.
    pub column: Option<String>,
    /// The column's default as an expression.
    pub default: Option<String>,
}

/// One object of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// `table`, `column`, `index`, `function` and so on.
    pub kind: String,
    /// Qualified name.
    pub name: String,
    /// Everything about it that a migration could change, as text.
    pub definition: String,
    /// Rank of a column within its table.
    pub position: Option<i64>,
    /// Where its rows are, for tables and columns.
    pub place: Option<Place>,
}

/// What happened to an object between two catalogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both, with another definition.
    Changed,
    /// In both, at another position.
    Moved,
}

/// One difference between two catalogs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What happened.
    pub change: Change,
    /// The object's kind.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let change = match self.change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Moved => "moved",
        };
        write!(f, "{change} {} {}", self.kind, self.name)
    }
}

/// All objects of a database but the ledger's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    entries: Vec<Entry>,
    /// Whose schema this is, when it is not the whole database.
    tenant: Option<Tenant>,
}

impl Catalog {
    /// A catalog of these entries.
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut entries = super::staging::visible(entries);
        entries.sort();
        Self {
            entries,
            tenant: None,
        }
    }

    /// The same of one tenant's schema: its fingerprints equal those of other tenants with the same schema.
    #[must_use]
    pub fn of(self, tenant: Option<&Tenant>) -> Self {
        Self {
            tenant: tenant.cloned(),
            ..self
        }
    }

    /// The entries, sorted by kind and name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// SHA-256 over all definitions, without the order of columns: re-adding a column moves it to the end, which no
    /// statement that names its columns notices.
    pub fn fingerprint(&self) -> String {
        self.hash(|_| None)
    }

    /// SHA-256 over all definitions and the order of columns.
    pub fn ordered_fingerprint(&self) -> String {
        self.hash(|entry| Some(entry.position.unwrap_or_default()))
    }

    fn hash(&self, position: impl Fn(&Entry) -> Option<i64>) -> String {
        let mut all = String::new();
        match &self.tenant {
            None => {
                for entry in &self.entries {
                    let definition = [&entry.kind, &entry.name, &entry.definition];
                    push(&mut all, definition.map(String::as_str), position(entry));
                }
            }
            // Without the schema's name, and perhaps its quotes, the order can be another.
            Some(tenant) => {
                let texts = self.entries.iter().map(|entry| {
                    let mut text = String::new();
                    let name = tenant.normalised(&entry.name);
                    let definition = tenant.normalised(&entry.definition);
                    push(
                        &mut text,
                        [&entry.kind, &name, &definition],
                        position(entry),
                    );
                    text
                });
                let mut texts = texts.collect::<Vec<_>>();
                texts.sort();
                all.extend(texts);
            }
        }
        sha256_hex(&all)
    }

    /// What leads from this catalog to `other`.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let (mut left, mut right) = (
            self.entries.iter().peekable(),
            other.entries.iter().peekable(),
        );
        let mut found = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return found,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(l), Some(r)) => (&l.kind, &l.name).cmp(&(&r.kind, &r.name)),
            };
            let before = order.is_le().then(|| left.next()).flatten();
            let after = order.is_ge().then(|| right.next()).flatten();
            found.extend(difference(before, after));
        }
    }

    /// The tables with their quoted columns in the order of their names.
    pub fn tables(&self) -> Vec<(String, Vec<String>)> {
        let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let places = self.entries.iter().filter_map(|entry| entry.place.as_ref());
        for place in places {
            let known = columns.entry(&place.table).or_default();
            known.extend(place.column.clone());
        }
        let tables = self.entries.iter().filter(|entry| entry.kind == "table");
        let named = tables.filter_map(|entry| entry.place.as_ref());
        named
            .map(|place| {
                let mut own = columns.remove(place.table.as_str()).unwrap_or_default();
                own.sort();
                (place.table.clone(), own)
            })
            .collect()
    }

    /// The quoted columns of a table that is there.
    pub fn table(&self, table: &str) -> Option<Vec<String>> {
        let is_it = |place: &Place| place.column.is_none() && place.table == table;
        let mut tables = self.entries.iter().filter(|entry| entry.kind == "table");
        tables
            .any(|entry| entry.place.as_ref().is_some_and(is_it))
            .then(|| self.columns(table))
    }

    /// The quoted columns of a table in the order of their names.
    pub fn columns(&self, table: &str) -> Vec<String> {
        let places = self
            .entries
            .iter()
            .filter_map(|entry| entry.place.as_ref())
            .filter(|place| place.table == table);
        let mut columns = places
            .filter_map(|place| place.column.clone())
            .collect::<Vec<_>>();
        columns.sort();
        columns
    }

    /// The entry of this kind and name.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|entry| (entry.kind.as_str(), entry.name.as_str()).cmp(&(kind, name)))
            .ok()?;
        self.entries.get(at)
    }
}

/// Every part after its length, so that no two entries give the same text.
fn push(text: &mut String, parts: [&str; 3], position: Option<i64>) {
    let position = position.map(|at| at.to_string()).unwrap_or_default();
    for part in parts.into_iter().chain([position.as_str()]) {
        text.push_str(&part.len().to_string());
        text.push(':');
        text.push_str(part);
    }
}

fn difference(before: Option<&Entry>, after: Option<&Entry>) -> Option<Difference> {
    let (change, entry) = match (before, after) {
        (Some(before), None) => (Change::Removed, before),
        (None, Some(after)) => (Change::Added, after),
        (Some(before), Some(after)) if before.definition != after.definition => {
            (Change::Changed, after)
        }
        (Some(before), Some(after)) if before.position != after.position => (Change::Moved, after),
        _ => return None,
    };
    Some(Difference {
        change,
        kind: entry.kind.clone(),
        name: entry.name.clone(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn column(table: &str, name: &str, definition: &str, position: i64) -> Entry {
        let place = Place {
            table: table.into(),
            column: Some(name.into()),
            default: None,
        };
        Entry {
            kind: "column".into(),
            name: format!("{table}.{name}"),
            definition: definition.into(),
            position: Some(position),
            place: Some(place),
        }
    }

    pub(crate) fn table(name: &str) -> Entry {
        let place = Place {
            table: name.into(),
            column: None,
            default: None,
        };
        Entry {
            kind: "table".into(),
            name: name.into(),
            definition: String::new(),
            position: None,
            place: Some(place),
        }
    }

    #[test]
    fn ignores_the_order_of_columns_in_one_fingerprint_only() {
        let left = Catalog::new(vec![column("t", "a", "int", 1), column("t", "b", "int", 2)]);
        let right = Catalog::new(vec![column("t", "b", "int", 1), column("t", "a", "int", 2)]);
        assert_eq!(left.fingerprint(), right.fingerprint());
        assert_ne!(left.ordered_fingerprint(), right.ordered_fingerprint());
        assert_eq!(
            left.differences(&right)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["moved column t.a", "moved column t.b"]
        );
    }

    #[test]
    fn lists_differences_in_order() {
        let left = Catalog::new(vec![
            table("t"),
            column("t", "a", "int", 1),
            column("t", "b", "int", 2),
        ]);
        let right = Catalog::new(vec![table("t"), table("u"), column("t", "a", "text", 1)]);
        let shown = left
            .differences(&right)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert_eq!(
            shown,
            ["changed column t.a", "removed column t.b", "added table u"]
        );
        assert_eq!(
            left.tables(),
            [("t".to_owned(), vec!["a".to_owned(), "b".to_owned()])]
        );
    }

    #[test]
    fn does_not_confuse_neighbouring_texts() {
        let entry = |name: &str, definition: &str| Entry {
            kind: "x".into(),
            name: name.into(),
            definition: definition.into(),
            position: None,
            place: None,
        };
        assert_ne!(
            Catalog::new(vec![entry("ab", "c")]).fingerprint(),
            Catalog::new(vec![entry("a", "bc")]).fingerprint()
        );
    }
}
