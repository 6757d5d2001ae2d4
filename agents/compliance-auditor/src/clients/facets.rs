//! How records are found again: one index entry for each way to ask, in the order of time.

use audit::{Record, record::hash};
use store::{Entry, Write};

/// Collection of index entries: scope = facet, sort = time, body = key of the record.
pub(super) const FACETS: &str = "record_facets";

/// Longest value that stands in an index as it is; longer ones by their digest.
const MAX_VALUE: usize = 160;

/// A way to ask for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet<'a> {
    /// All of them.
    All,
    /// By the name of the agent that made them.
    Agent(&'a str),
    /// By action.
    Action(&'a str),
    /// By decision.
    Decision(&'a str),
    /// By trace id.
    Trace(&'a str),
    /// By task id.
    Task(&'a str),
    /// By one of the resources.
    Resource(&'a str),
}

impl Facet<'_> {
    /// The scope of its index entries.
    pub(super) fn scope(self) -> String {
        let (name, value) = match self {
            Self::All => return String::from("all"),
            Self::Agent(value) => ("agent", value),
            Self::Action(value) => ("action", value),
            Self::Decision(value) => ("decision", value),
            Self::Trace(value) => ("trace", value),
            Self::Task(value) => ("task", value),
            Self::Resource(value) => ("resource", value),
        };
        if value.len() <= MAX_VALUE {
            format!("{name}={value}")
        } else {
            format!("{name}#{}", hash(value.as_bytes()))
        }
    }
}

/// Whether a decision has an index: not those that nearly all records have.
pub fn is_telling(decision: &str) -> bool {
    !matches!(decision, "ok" | "started")
}

/// The index entries of a record that is stored under `key`.
pub(super) fn writes(record: &Record, key: &str) -> impl Iterator<Item = Write> {
    let mut scopes = vec![
        Facet::All.scope(),
        Facet::Agent(record.agent_name()).scope(),
        Facet::Action(&record.action).scope(),
    ];
    scopes.extend(is_telling(&record.decision).then(|| Facet::Decision(&record.decision).scope()));
    scopes.extend(
        record
            .trace_id
            .as_deref()
            .map(|id| Facet::Trace(id).scope()),
    );
    scopes.extend(record.task_id.as_deref().map(|id| Facet::Task(id).scope()));
    scopes.extend(
        record
            .resources
            .iter()
            .map(|resource| Facet::Resource(resource).scope()),
    );
    scopes.sort_unstable();
    scopes.dedup();
    let (key, time) = (key.to_owned(), record.time.clone());
    scopes.into_iter().map(move |scope| {
        let entry = Entry {
            key: format!("{key} {}", short(&scope)),
            sort: time.clone(),
            version: 0,
            body: key.clone().into_bytes(),
            scope,
        };
        Write::Put {
            collection: FACETS,
            entry,
        }
    })
}

/// A facet in the key of an entry: short, and as good as unique within one record.
fn short(scope: &str) -> String {
    hash(scope.as_bytes()).chars().take(32).collect()
}
