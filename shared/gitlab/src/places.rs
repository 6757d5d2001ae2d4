//! Where a workload is deployed from: the annotations that GitLab's deploy jobs set on it, and what they name.

use crate::{Environment, Gitlab, GitlabError, Project};
use serde::Deserialize;

/// Annotation with the slug of the project that deployed an object.
pub const APP_ANNOTATION: &str = "app.gitlab.com/app";
/// Annotation with the slug of the environment that an object belongs to.
pub const ENV_ANNOTATION: &str = "app.gitlab.com/env";
/// Most projects of one token that are looked through.
const MOST_PROJECTS: usize = 2_000;
/// Most environments of one project that are looked through.
const MOST_ENVIRONMENTS: usize = 1_000;

/// A project that the token is a member of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownProject {
    /// Number.
    pub id: u64,
    /// Path, `shop/web`.
    pub path_with_namespace: String,
}

/// GitLab's slug of a project's path: lower case, everything else than a-z and 0-9 a hyphen, at most 63 characters,
/// without hyphens at the ends.
pub fn slug(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let text: String = text.chars().map(plain).take(63).collect();
    text.trim_matches('-').to_owned()
}

/// The project whose path has this slug; none when several have it, since nobody can tell which one is meant.
pub fn project_of<'a>(
    app: &str,
    projects: impl IntoIterator<Item = (u64, &'a str)>,
) -> Option<u64> {
    let mut fitting = projects.into_iter().filter(|(_, path)| slug(path) == app);
    let (id, _) = fitting.next()?;
    fitting.next().is_none().then_some(id)
}

impl Gitlab {
    /// The projects that the token is a member of.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn projects(&self) -> Result<Vec<KnownProject>, GitlabError> {
        let mut url = self.api(&["projects"]);
        url.query_pairs_mut()
            .append_pair("membership", "true")
            .append_pair("simple", "true")
            .append_pair("order_by", "id")
            .append_pair("sort", "asc");
        self.list("list projects", url, MOST_PROJECTS).await
    }

    /// The environments of a project.
    ///
    /// # Errors
    /// What GitLab answered.
    pub async fn environments(&self, project: &Project) -> Result<Vec<Environment>, GitlabError> {
        let url = self.url(project, &["environments"]);
        self.list("list environments", url, MOST_ENVIRONMENTS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_names_one_project_or_none() {
        assert_eq!(slug("Shop/Web_Front.end/"), "shop-web-front-end");
        let projects = [
            (4, "shop/api"),
            (5, "Shop/Web"),
            (6, "ops/a-b"),
            (7, "ops/a.b"),
        ];
        assert_eq!(project_of("shop-web", projects), Some(5));
        assert_eq!(project_of("ops-a-b", projects), None, "ambiguous");
        assert_eq!(project_of("shop", projects), None);
    }
}
