#![doc = include_str!("../README.md")]

mod calls;
mod client;
mod error;
mod jobs;
mod model;
mod places;
#[cfg(feature = "testing")]
pub mod testing;

pub use calls::{IncidentText, mark};
pub use client::{Gitlab, Settings};
pub use error::GitlabError;
pub use jobs::{Job, JobState, PipelineOfJob};
pub use model::{
    Commit, CommitStatus, Deployment, DeploymentState, Environment, FreezePeriod, Issue,
    MergeRequest, NewDeployment, Note, Project, StatusState,
};
pub use places::{APP_ANNOTATION, ENV_ANNOTATION, KnownProject, project_of, slug};
