//! Which project the cluster's rollouts and incidents belong to: GitLab's own annotation `app.gitlab.com/app` holds the
//! slug of the project's path. What has none is measured by namespace.

use std::collections::{BTreeMap, HashMap};

use gitlab::slug;

use super::facts::Facts;

/// The cluster's facts by project, and those of no project by namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// By project.
    pub projects: BTreeMap<u64, Facts>,
    /// By namespace.
    pub namespaces: BTreeMap<String, Facts>,
}

impl Assigned {
    fn of(&mut self, owner: Option<u64>, namespace: &str) -> &mut Facts {
        match owner {
            Some(id) => self.projects.entry(id).or_default(),
            None => self.namespaces.entry(namespace.to_owned()).or_default(),
        }
    }
}

/// Assigns the cluster's facts.
pub fn assign(cluster: Facts, projects: &BTreeMap<u64, String>) -> Assigned {
    let slugs: HashMap<String, u64> = projects
        .iter()
        .map(|(id, path)| (slug(path), *id))
        .collect();
    // The project that a workload named last.
    let mut owners: HashMap<(String, String), (i64, u64)> = HashMap::new();
    for word in cluster
        .rollouts
        .values()
        .filter_map(|rollout| rollout.word.as_ref())
    {
        if let Some(id) = word.app.as_ref().and_then(|app| slugs.get(app)) {
            let workload = (word.namespace.clone(), word.deployment.clone());
            let owner = owners.entry(workload).or_insert((i64::MIN, 0));
            *owner = (word.at, *id).max(*owner);
        }
    }
    let owner = |namespace: &str, deployment: &str| {
        let workload = (namespace.to_owned(), deployment.to_owned());
        owners.get(&workload).map(|(_, id)| *id)
    };
    let mut assigned = Assigned::default();
    for (key, rollout) in cluster.rollouts {
        if let Some(word) = &rollout.word {
            let owner = owner(&word.namespace, &word.deployment);
            assigned
                .of(owner, &word.namespace)
                .rollouts
                .insert(key, rollout);
        }
    }
    for (id, trouble) in cluster.troubles {
        if let Some(word) = &trouble.word {
            let owner = owner(&word.namespace, &word.deployment);
            assigned
                .of(owner, &word.namespace)
                .troubles
                .insert(id, trouble);
        }
    }
    assigned
}
