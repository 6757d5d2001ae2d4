//! The parts of webhook bodies that are read; everything else in them is passed over.

use std::borrow::Cow;

use serde::Deserialize;

type Text<'a> = Cow<'a, str>;

/// What all bodies may have.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow, default)]
    pub(super) object_kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) project: Option<Project<'a>>,
    #[serde(default)]
    pub(super) project_id: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Project<'a> {
    #[serde(default)]
    pub(super) id: Option<u64>,
    #[serde(borrow, default)]
    pub(super) path_with_namespace: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "GitLab names the field")]
pub(super) struct Deployment<'a> {
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) status_changed_at: Text<'a>,
    pub(super) deployment_id: u64,
    #[serde(default)]
    pub(super) deployable_id: Option<u64>,
    #[serde(borrow)]
    pub(super) environment: Text<'a>,
    #[serde(borrow, default)]
    pub(super) environment_tier: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) environment_slug: Option<Text<'a>>,
    #[serde(borrow, default, rename = "ref")]
    pub(super) git_ref: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) commit_url: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Pipeline<'a> {
    #[serde(borrow)]
    pub(super) object_attributes: PipelineAttributes<'a>,
    #[serde(borrow, default)]
    pub(super) builds: Vec<Build<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PipelineAttributes<'a> {
    #[serde(borrow, rename = "ref")]
    pub(super) git_ref: Text<'a>,
    #[serde(borrow)]
    pub(super) sha: Text<'a>,
    #[serde(borrow)]
    pub(super) created_at: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct Build<'a> {
    pub(super) id: u64,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) started_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) finished_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) environment: Option<Environment<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Environment<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) action: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) deployment_tier: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Job<'a> {
    pub(super) build_id: u64,
    #[serde(borrow)]
    pub(super) build_status: Text<'a>,
    #[serde(borrow, default)]
    pub(super) build_created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) build_started_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) build_finished_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) sha: Text<'a>,
    #[serde(borrow, rename = "ref")]
    pub(super) git_ref: Text<'a>,
    #[serde(borrow, default)]
    pub(super) environment: Option<Environment<'a>>,
}

/// A merge request, issue or other work item.
#[derive(Deserialize)]
pub(super) struct Work<'a> {
    #[serde(borrow)]
    pub(super) object_attributes: Attributes<'a>,
    #[serde(borrow, default)]
    pub(super) labels: Vec<Label<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Attributes<'a> {
    #[serde(default)]
    pub(super) iid: Option<u64>,
    #[serde(borrow, default)]
    pub(super) title: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) updated_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) closed_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) state: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) action: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) issue_type: Option<Text<'a>>,
    #[serde(default)]
    pub(super) duplicated_to_id: Option<u64>,
    #[serde(default)]
    pub(super) moved_to_id: Option<u64>,
    #[serde(borrow, default)]
    pub(super) target_branch: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) source_branch: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) merge_commit_sha: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) last_commit: Option<Commit<'a>>,
    #[serde(borrow, default)]
    pub(super) labels: Vec<Label<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Label<'a> {
    #[serde(borrow, default)]
    pub(super) title: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Commit<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Pushed<'a> {
    #[serde(borrow)]
    pub(super) before: Text<'a>,
    #[serde(borrow)]
    pub(super) after: Text<'a>,
    #[serde(borrow, rename = "ref")]
    pub(super) git_ref: Text<'a>,
    #[serde(borrow, default)]
    pub(super) commits: Vec<Commit<'a>>,
    #[serde(default)]
    pub(super) total_commits_count: u64,
}

#[derive(Deserialize)]
pub(super) struct Release<'a> {
    #[serde(borrow)]
    pub(super) tag: Text<'a>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) released_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) action: Option<Text<'a>>,
}
