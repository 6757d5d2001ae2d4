#![doc = include_str!("../README.md")]

mod calls;
mod client;
mod error;
mod model;
#[cfg(feature = "testing")]
pub mod testing;

pub use calls::{IncidentText, mark};
pub use client::{Gitlab, Settings};
pub use error::GitlabError;
pub use model::{
    Commit, CommitStatus, Deployment, DeploymentState, Environment, FreezePeriod, Issue,
    MergeRequest, NewDeployment, Note, Project, StatusState,
};
