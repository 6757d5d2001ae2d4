//! Folding: joins new segments into the drawers of their projects.

use std::collections::BTreeMap;

use shared::SkillError;
use store::{Entry, Scan, StoreError, Write};

use super::{
    Archive, DRAWERS, FOLDED, Logged, NEW, PROJECTS, SEGMENTS, broken, codec, unavailable,
};
use crate::domain::dora::Facts;

/// Segments that are read at once.
const SEGMENTS_AT_ONCE: usize = 64;
/// Events after which a fold takes no more segments: some 60 MB of facts. Without any order a fold touches every
/// drawer, however few events it has, so few and large folds are the cheap ones.
const EVENTS_AT_ONCE: usize = 100_000;
/// The drawer that holds a project's name.
const NAME: &str = "name";

/// What a fold did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Segments.
    pub segments: usize,
    /// Events in them.
    pub events: usize,
}

impl Archive {
    /// Folds some new segments. Nothing is done when another replica was faster with one of them; the next call
    /// takes what is left.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn fold(&self) -> Result<Folded, SkillError> {
        let mut done = Folded::default();
        let mut projects: BTreeMap<u64, Facts> = BTreeMap::new();
        let mut writes = Vec::new();
        let mut after = None;
        while done.events < EVENTS_AT_ONCE {
            let entries = self.new_segments(&mut after).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let events: Vec<Logged> =
                    codec::unpack(&entry.body).ok_or_else(|| broken(&entry.key))?;
                done.segments += 1;
                done.events += events.len();
                for event in events {
                    projects
                        .entry(event.project)
                        .or_default()
                        .absorb(event.facts);
                }
                writes.push(folded(entry));
            }
        }
        if writes.is_empty() {
            return Ok(done);
        }
        for (project, facts) in projects {
            for (drawer, facts) in facts.drawers() {
                writes.push(self.put(project, &drawer, facts).await?);
            }
        }
        match self.0.submit(writes).await {
            Ok(()) => Ok(done),
            Err(StoreError::Conflict { .. }) => Ok(Folded::default()),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn new_segments(
        &self,
        after: &mut Option<(String, String)>,
    ) -> Result<Vec<Entry>, SkillError> {
        let scan = Scan {
            collection: SEGMENTS,
            scope: Some(NEW.to_owned()),
            after: after.take(),
            limit: SEGMENTS_AT_ONCE,
            ..Scan::default()
        };
        let entries = self.0.scan(scan).await.map_err(unavailable)?;
        *after = entries
            .last()
            .map(|last| (last.sort.clone(), last.key.clone()));
        Ok(entries)
    }

    /// The write that joins facts into a drawer.
    async fn put(&self, project: u64, drawer: &str, mut facts: Facts) -> Result<Write, SkillError> {
        let (collection, key, scope) = if drawer == NAME {
            (PROJECTS, project.to_string(), String::new())
        } else {
            (DRAWERS, format!("{project}/{drawer}"), project.to_string())
        };
        let known = self.0.get(collection, &key).await.map_err(unavailable)?;
        let version = known.as_ref().map(|entry| entry.version);
        if let Some(known) = known {
            facts.absorb(codec::unpack(&known.body).ok_or_else(|| broken(&known.key))?);
        }
        let entry = Entry {
            sort: key.clone(),
            key,
            scope,
            version: version.unwrap_or_default(),
            body: codec::pack(&facts),
        };
        Ok(match version {
            None => Write::Insert { collection, entry },
            Some(_) => Write::Update { collection, entry },
        })
    }
}

/// The write that marks a segment as folded; it fails when another replica was faster.
fn folded(entry: Entry) -> Write {
    Write::Update {
        collection: SEGMENTS,
        entry: Entry {
            scope: FOLDED.to_owned(),
            ..entry
        },
    }
}
