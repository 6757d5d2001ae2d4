//! Bad templates and images, under whatever name they come again.

use shared::{SkillError, digest};
use store::Write;

use super::{History, entry};
use crate::domain::{Environment, Health, Journal, Revision, quarantine::Marks};

const MARKS: &str = "quarantined_marks";

fn key(namespace: &str, mark: &str) -> String {
    format!("{namespace}/{mark}")
}

/// The marks of what a rollback left.
pub fn marks(journal: &Journal) -> Marks {
    let images = &journal.plan.images;
    let digest = digest::of_json(&journal.origin.from_template);
    Marks::of(digest, images.from.clone(), &images.to)
}

/// The writes that quarantine what a rollback left.
pub(super) fn writes(journal: &Journal) -> Vec<Write> {
    let put = |mark: String| Write::Put {
        collection: MARKS,
        entry: entry(key(&journal.plan.namespace, &mark), Vec::new()),
    };
    let commit = journal.plan.environment.as_ref().zip(journal.left_commit());
    let commit = commit.map(|(environment, sha)| Write::Put {
        collection: MARKS,
        entry: entry(commit_key(environment, sha), Vec::new()),
    });
    marks(journal).keys().map(put).chain(commit).collect()
}

fn commit_key(environment: &Environment, sha: &str) -> String {
    let Environment { project, name } = environment;
    // Keys of a store have 512 bytes at most, names of environments 255 characters.
    let name = digest::of_json(name);
    format!("gitlab/{project}/{name}/{sha}")
}

impl History {
    /// Whether a rollback left the deployment of a commit to an environment.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn has_left_commit(
        &self,
        environment: &Environment,
        sha: &str,
    ) -> Result<bool, SkillError> {
        self.has(MARKS, &commit_key(environment, sha)).await
    }

    /// The health of a revision, as far as its marks tell. A bad template stays bad under another name; an image that was
    /// seen healthy here is not to blame for what happened elsewhere.
    pub(super) async fn judged(
        &self,
        namespace: &str,
        revision: &Revision,
        seen_healthy: bool,
    ) -> Result<Health, SkillError> {
        let digest = digest::of_json(&revision.template);
        let marks = Marks::of(digest, revision.images(), &[]);
        for (at, mark) in marks.keys().enumerate() {
            let counts = at == 0 || !seen_healthy;
            if counts && self.has(MARKS, &key(namespace, &mark)).await? {
                return Ok(Health::Quarantined);
            }
        }
        Ok(if seen_healthy {
            Health::Healthy
        } else {
            Health::NeverHealthy
        })
    }
}
