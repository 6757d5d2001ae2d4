//! A GitLab whose deploy jobs bring the releases of a scene, and which hears of them.

use std::path::PathBuf;

use anyhow::ensure;
use gitlab::testing::RecordingGitlab;
use meshctl::agents::Resources;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Scene;
use crate::mesh::HOOK_TOKEN;

/// Number of the project.
const PROJECT: u64 = 30;
/// Its path.
const PATH: &str = "shop/web";
/// The environment that it deploys to.
const ENVIRONMENT: &str = "production/eu";

/// The marks that deploy jobs leave on a workload, and the commits that they deployed.
#[derive(Debug, Clone)]
pub struct Source {
    /// Slug of the project.
    pub app: String,
    /// Slug of the environment.
    pub env: String,
    /// The commits of the first and of the second version.
    pub commits: [String; 2],
    /// The database whose schema each version brings along: 0001 and 0002.
    pub database: Option<String>,
}

/// A GitLab with one project.
#[derive(Debug)]
pub struct Delivery {
    /// What it holds and what it was asked.
    pub gitlab: RecordingGitlab,
    /// Where the releases come from.
    pub source: Source,
    token: PathBuf,
    _folder: TempDir,
}

impl Delivery {
    /// Starts one with a commit for each of the two versions; merge request 7 brought the second.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let gitlab = RecordingGitlab::start("glpat-secret").await?;
        let folder = tempfile::tempdir()?;
        let token = folder.path().join("token");
        std::fs::write(&token, "glpat-secret")?;
        let commits = ["a91957a8", "0ff3ae19"].map(|start| format!("{start}{}", "4".repeat(32)));
        let project = PROJECT.to_string();
        gitlab.numbered_project(PROJECT, PATH);
        gitlab.environment(&project, ENVIRONMENT, "production-eu");
        gitlab.commit(&project, &commits[0], Some(6));
        gitlab.commit(&project, &commits[1], Some(7));
        let source = Source {
            app: "shop-web".into(),
            env: "production-eu".into(),
            commits,
            database: None,
        };
        Ok(Self {
            gitlab,
            source,
            token,
            _folder: folder,
        })
    }

    /// What a mesh needs to use it.
    pub fn resources(&self) -> Resources {
        Resources {
            gitlab: Some((self.gitlab.url(), self.token.clone())),
            ..Resources::default()
        }
    }

    /// A deploy job of a version runs: GitLab knows it, and tells monitoring-agent.
    ///
    /// # Errors
    /// When the webhook is not taken.
    pub async fn deploys(&self, scene: &Scene, version: usize) -> anyhow::Result<()> {
        let sha = &self.source.commits[version - 1];
        let id = self.gitlab.deployed(&PROJECT.to_string(), ENVIRONMENT, sha);
        let now = OffsetDateTime::now_utc().format(&Rfc3339)?;
        let body = json!({
            "object_kind": "deployment", "status": "running", "status_changed_at": now, "deployment_id": id,
            "environment": ENVIRONMENT, "environment_slug": self.source.env, "environment_tier": "production",
            "commit_url": format!("{}/{PATH}/-/commit/{sha}", self.gitlab.url()),
            "project": {"id": PROJECT, "path_with_namespace": PATH},
        });
        let port = scene.mesh.ground.ports["monitoring-agent"].webhooks;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client
            .post(format!("http://127.0.0.1:{port}/webhooks/gitlab"))
            .header("X-Gitlab-Event", "Deployment Hook")
            .header("X-Gitlab-Event-UUID", format!("deployment-{id}"))
            .header("X-Gitlab-Token", HOOK_TOKEN)
            .json(&body)
            .send()
            .await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }

    /// The deployments that were recorded without a job.
    pub fn recorded(&self) -> Vec<Value> {
        let mut all = self.gitlab.deployments(&PROJECT.to_string());
        all.retain(|one| one["deployable"].is_null());
        all
    }

    /// The note on the merge request that brought the second version.
    pub fn notes(&self) -> Vec<Value> {
        self.gitlab.notes(&PROJECT.to_string(), 7)
    }

    /// The incidents.
    pub fn issues(&self) -> Vec<Value> {
        self.gitlab.issues(&PROJECT.to_string())
    }

    /// The freezes.
    pub fn freezes(&self) -> Vec<Value> {
        self.gitlab.freezes(&PROJECT.to_string())
    }
}
