//! Which release stands behind a revision in the cluster: the GitLab project, its environment and the commit.

use std::collections::BTreeMap;

use gitlab::{project_of, slug};

use super::{
    clock::Ms,
    fact::{RolloutWord, Sha},
    facts::Facts,
};

/// The place of a workload in GitLab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The project.
    pub project: u64,
    /// Slug of the environment.
    pub environment: Option<String>,
    /// The commit, when the image names it.
    pub sha: Option<Sha>,
}

/// The project of a workload, by the annotations of its rollouts; its own revision first, then the latest one.
pub fn origin(
    cluster: &Facts,
    (namespace, deployment, revision): (&str, &str, Option<u64>),
    projects: &BTreeMap<u64, String>,
) -> Option<Origin> {
    let of = |word: &&RolloutWord| word.namespace == namespace && word.deployment == deployment;
    let rollouts = cluster.rollouts.values();
    let known = rollouts.filter_map(|rollout| Some((rollout.revision, rollout.word.as_ref()?)));
    let known = known.filter(|(_, word)| of(word));
    let (number, word) = known.max_by_key(|(number, word)| (Some(*number) == revision, word.at))?;
    let app = word.app.as_ref()?;
    let project = project_of(app, projects.iter().map(|(id, path)| (*id, path.as_str())))?;
    Some(Origin {
        project,
        environment: word.env.clone(),
        sha: word
            .sha
            .filter(|_| revision.is_none_or(|revision| revision == number)),
    })
}

/// The environment's name and the commit of the last deployment to it that began before a revision became current.
pub fn deployed(project: &Facts, environment: &str, at: Ms) -> Option<(String, Sha)> {
    let places = project.deployments.values().filter_map(|one| {
        let place = one.place.as_ref()?;
        let own = place
            .slug
            .clone()
            .unwrap_or_else(|| slug(&place.environment));
        let began = one.began().or_else(|| one.last().map(|(_, at)| at))?;
        (own == environment && began <= at).then_some((began, place))
    });
    let (_, place) = places.max_by_key(|(began, _)| *began)?;
    Some((place.environment.clone(), place.sha?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dora::fact::{Deploying, Place, Rollout, Span, Status};

    const SHA: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";

    fn cluster() -> Facts {
        let mut facts = Facts::default();
        for revision in 1..3 {
            let word = RolloutWord {
                at: 1_000 * i64::try_from(revision).unwrap(),
                namespace: "shop".into(),
                deployment: "web".into(),
                app: Some("shop-web".into()),
                env: Some("production".into()),
                sha: (revision == 1).then(|| SHA.parse().unwrap()),
                template: revision.to_string(),
            };
            let rollout = Rollout {
                revision,
                word: Some(word),
                ..Rollout::default()
            };
            facts.rollouts.insert(format!("u/{revision}"), rollout);
        }
        facts
    }

    #[test]
    fn a_workload_belongs_to_the_project_that_its_annotations_name() {
        let projects = BTreeMap::from([(4, "shop/api".to_owned()), (5, "Shop/Web".to_owned())]);
        let found =
            |deployment, revision| origin(&cluster(), ("shop", deployment, revision), &projects);
        let first = found("web", Some(1)).unwrap();
        assert_eq!((first.project, first.sha), (5, Some(SHA.parse().unwrap())));
        assert_eq!(found("web", Some(2)).unwrap().sha, None);
        // The commit of another revision is not that of this one.
        assert_eq!(found("web", Some(9)).unwrap().sha, None);
        assert_eq!(found("api", Some(1)), None);
        assert_eq!(
            origin(&cluster(), ("shop", "web", None), &BTreeMap::new()),
            None
        );
    }

    #[test]
    fn the_last_deployment_that_began_names_the_commit() {
        let mut facts = Facts::default();
        for (id, began) in [(1, 0), (2, 100_000)] {
            let place = Place {
                at: began,
                environment: "Production".into(),
                slug: Some("production".into()),
                tier: "production".into(),
                sha: format!("{id:040}").parse().ok(),
                git_ref: None,
                job: None,
            };
            let seen = [
                (Status::Running, Span(began, began)),
                (Status::Success, Span(began + 10, began + 10)),
            ];
            let deploying = Deploying {
                place: Some(place),
                seen: seen.into(),
            };
            facts.deployments.insert(id, deploying);
        }
        let commit = |at| deployed(&facts, "production", at).map(|(_, sha)| sha.to_string());
        assert_eq!(commit(5), Some(format!("{:040}", 1)));
        assert_eq!(commit(100_005), Some(format!("{:040}", 2)));
        assert_eq!(commit(-1), None);
        assert_eq!(deployed(&facts, "staging", 5), None);
    }
}
