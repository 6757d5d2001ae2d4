//! DORA facts as they are kept: a log of events, folded into drawers of facts.
//!
//! An event is durable once the segment that it came in is: one insert for all events that waited at that moment.
//! Folding joins segments into drawers, which grow with the things that are known and not with the events about
//! them; folded segments are kept for a while and then removed. Since facts are joined, a reader that sees a fact
//! in a segment and in a drawer, or a fold that is done twice, changes no number.

mod codec;
mod fold;
mod intake;

use std::{collections::BTreeMap, sync::Arc};

use shared::SkillError;
use store::{Scan, Store, StoreError, Write};

use crate::domain::dora::{Facts, clock::Ms};

pub use intake::{Intake, NotKept};

/// The log.
const SEGMENTS: &str = "dora_segments";
/// Facts by project and drawer.
const DRAWERS: &str = "dora_drawers";
/// Names of projects.
const PROJECTS: &str = "dora_projects";
/// Scope of segments that are not folded.
const NEW: &str = "new";
/// Scope of segments that are.
const FOLDED: &str = "folded";
/// The facts of the cluster stand where GitLab has no project.
pub const CLUSTER: u64 = 0;
/// Entries that are read at once.
const PAGE: usize = 256;

/// What came in, as it is logged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Logged {
    /// When it came.
    #[serde(rename = "t")]
    pub received: Ms,
    /// The project, or [`CLUSTER`].
    #[serde(rename = "p")]
    pub project: u64,
    /// What it says.
    #[serde(rename = "f")]
    pub facts: Facts,
}

/// The agent's memory of what DORA metrics are made of.
#[derive(Debug, Clone)]
pub struct Archive(pub Arc<dyn Store>);

fn unavailable(error: StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

/// A view of everything that was durable when it was opened.
#[derive(Debug)]
pub struct Reader<'a> {
    archive: &'a Archive,
    /// What is not folded yet, by project.
    new: BTreeMap<u64, Facts>,
}

impl Reader<'_> {
    /// All projects by id, with their path.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn projects(&self) -> Result<BTreeMap<u64, String>, SkillError> {
        let new = self
            .new
            .iter()
            .map(|(id, facts)| (*id, facts.path.clone().unwrap_or_default()));
        let mut names: BTreeMap<u64, (Ms, String)> = new.collect();
        let mut after = None;
        loop {
            let entries = self.archive.page(PROJECTS, None, &mut after, false).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let facts: Facts = codec::unpack(&entry.body).ok_or_else(|| broken(&entry.key))?;
                let (Ok(id), Some(path)) = (entry.key.parse(), facts.path) else {
                    continue;
                };
                let name = names.entry(id).or_default();
                *name = path.max(std::mem::take(name));
            }
        }
        names.remove(&CLUSTER);
        Ok(names
            .into_iter()
            .map(|(id, (_, path))| (id, path))
            .collect())
    }

    /// Everything that is known of one project, or of the cluster.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn facts(&self, project: u64) -> Result<Facts, SkillError> {
        let mut facts = self.new.get(&project).cloned().unwrap_or_default();
        // The name is kept apart.
        facts.path = None;
        let mut after = None;
        loop {
            let scope = Some(project.to_string());
            let entries = self.archive.page(DRAWERS, scope, &mut after, false).await?;
            if entries.is_empty() {
                return Ok(facts);
            }
            for entry in entries {
                facts.absorb(codec::unpack(&entry.body).ok_or_else(|| broken(&entry.key))?);
            }
        }
    }
}

/// Facts that cannot be read again.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {0}")]
struct Broken(String);

fn broken(what: &str) -> SkillError {
    SkillError::failed_with("cannot read stored DORA facts", Broken(what.to_owned()))
}

/// The time in a sort key, so that keys order as times do.
fn sort_of(at: Ms) -> String {
    format!("{:020}", at.max(0))
}

impl Archive {
    /// The write that keeps a segment.
    fn segment(events: &[Logged], now: Ms) -> Write {
        let entry = store::Entry {
            key: uuid::Uuid::now_v7().to_string(),
            scope: NEW.to_owned(),
            sort: sort_of(now),
            version: 0,
            body: codec::pack(&events),
        };
        Write::Insert {
            collection: SEGMENTS,
            entry,
        }
    }

    /// The write that logs facts of the cluster, for a batch that keeps something else with them.
    pub fn of_cluster(facts: Facts, now: Ms) -> Write {
        let event = Logged {
            received: now,
            project: CLUSTER,
            facts,
        };
        Self::segment(&[event], now)
    }

    /// A view for reading. What is folded meanwhile is seen twice, not missed.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self) -> Result<Reader<'_>, SkillError> {
        let mut new: BTreeMap<u64, Facts> = BTreeMap::new();
        for event in self.unfolded().await? {
            new.entry(event.project).or_default().absorb(event.facts);
        }
        Ok(Reader { archive: self, new })
    }

    /// What came in and is not folded yet.
    async fn unfolded(&self) -> Result<Vec<Logged>, SkillError> {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let scope = Some(NEW.to_owned());
            let entries = self.page(SEGMENTS, scope, &mut after, false).await?;
            if entries.is_empty() {
                return Ok(events);
            }
            for entry in entries {
                let logged: Vec<Logged> =
                    codec::unpack(&entry.body).ok_or_else(|| broken(&entry.key))?;
                events.extend(logged);
            }
        }
    }

    async fn page(
        &self,
        collection: &'static str,
        scope: Option<String>,
        after: &mut Option<(String, String)>,
        keys_only: bool,
    ) -> Result<Vec<store::Entry>, SkillError> {
        let scan = Scan {
            collection,
            scope,
            after: after.take(),
            descending: false,
            keys_only,
            limit: PAGE,
        };
        let entries = self.0.scan(scan).await.map_err(unavailable)?;
        *after = entries
            .last()
            .map(|last| (last.sort.clone(), last.key.clone()));
        Ok(entries)
    }

    /// Removes folded segments that came in before this moment; gives their number.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn prune(&self, before: Ms) -> Result<usize, SkillError> {
        let (mut removed, mut after) = (0, None);
        let limit = sort_of(before);
        loop {
            let scope = Some(FOLDED.to_owned());
            let entries = self.page(SEGMENTS, scope, &mut after, true).await?;
            let old = entries.iter().take_while(|entry| entry.sort < limit);
            let writes: Vec<Write> = old
                .map(|entry| Write::Delete {
                    collection: SEGMENTS,
                    key: entry.key.clone(),
                })
                .collect();
            let last = writes.len() < PAGE;
            removed += writes.len();
            if !writes.is_empty() {
                self.0.submit(writes).await.map_err(unavailable)?;
            }
            if last {
                return Ok(removed);
            }
        }
    }

    /// Segments of the log that are kept.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn segments(&self) -> Result<u64, SkillError> {
        self.0.count(SEGMENTS, None).await.map_err(unavailable)
    }
}
