//! All that is known of a project, and its parts in drawers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    clock::Ms,
    fact::{Deploying, First, Issue, Join, Merge, Push, Rollout, Trouble},
};

/// All that is known of one project, or of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Path of the project, with the moment it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<(Ms, String)>,
    /// Deployments by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deployments: BTreeMap<u64, Deploying>,
    /// Jobs that deploy, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<u64, Deploying>,
    /// Merge requests by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merges: BTreeMap<u64, Merge>,
    /// Pushes by `BRANCH AFTER BEFORE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pushes: BTreeMap<String, Push>,
    /// Incident issues by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub issues: BTreeMap<u64, Issue>,
    /// Releases by tag.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<String, First>,
    /// Rollouts by `UID/REVISION`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rollouts: BTreeMap<String, Rollout>,
    /// Incidents of this agent by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, Trouble>,
}

impl Facts {
    /// Takes in what the other one knows.
    pub fn absorb(&mut self, other: Self) {
        let Self {
            path,
            deployments,
            jobs,
            merges,
            pushes,
            issues,
            releases,
            rollouts,
            troubles,
        } = other;
        self.path.join(path);
        self.deployments.join(deployments);
        self.jobs.join(jobs);
        self.merges.join(merges);
        self.pushes.join(pushes);
        self.issues.join(issues);
        self.releases.join(releases);
        self.rollouts.join(rollouts);
        self.troubles.join(troubles);
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same facts in drawers of limited size: what is known of one thing is always put into the same drawer.
    pub fn drawers(self) -> BTreeMap<String, Self> {
        let mut drawers: BTreeMap<String, Self> = BTreeMap::new();
        let Self {
            path,
            deployments,
            jobs,
            merges,
            pushes,
            issues,
            releases,
            rollouts,
            troubles,
        } = self;
        if path.is_some() {
            drawers.entry("name".to_owned()).or_default().path = path;
        }
        by_number(&mut drawers, "deployments", deployments, |d| {
            &mut d.deployments
        });
        by_number(&mut drawers, "jobs", jobs, |d| &mut d.jobs);
        by_number(&mut drawers, "merges", merges, |d| &mut d.merges);
        by_number(&mut drawers, "issues", issues, |d| &mut d.issues);
        for (key, push) in pushes {
            // One hex digit of the head: 16 drawers.
            let head = key.split(' ').nth(1).and_then(|sha| sha.get(..1));
            let name = format!("pushes/{}", head.unwrap_or_default());
            drawers.entry(name).or_default().pushes.insert(key, push);
        }
        for (tag, at) in releases {
            drawers
                .entry("releases".to_owned())
                .or_default()
                .releases
                .insert(tag, at);
        }
        for (key, rollout) in rollouts {
            let name = format!("rollouts/{}", key.get(..2).unwrap_or_default());
            drawers
                .entry(name)
                .or_default()
                .rollouts
                .insert(key, rollout);
        }
        for (id, trouble) in troubles {
            let name = format!("troubles/{}", id.get(..6).unwrap_or_default());
            drawers
                .entry(name)
                .or_default()
                .troubles
                .insert(id, trouble);
        }
        drawers
    }
}

/// Things with neighbouring numbers share a drawer: 2^9 of them.
const DRAWER_BITS: u32 = 9;

fn by_number<T>(
    drawers: &mut BTreeMap<String, Facts>,
    kind: &str,
    things: BTreeMap<u64, T>,
    part: impl Fn(&mut Facts) -> &mut BTreeMap<u64, T>,
) {
    for (id, thing) in things {
        let drawer = drawers
            .entry(format!("{kind}/{}", id >> DRAWER_BITS))
            .or_default();
        part(drawer).insert(id, thing);
    }
}
