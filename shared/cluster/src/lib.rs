#![doc = include_str!("../README.md")]

mod cluster;
mod error;
mod live;
mod scoped;
mod snapshot;
mod source;
mod watch;
mod write;

pub use cluster::Cluster;
pub use error::ClusterError;
pub use snapshot::SnapshotError;
pub use source::{ClusterArgs, ClusterSource, ParseClusterSourceError};
pub use watch::Event;
pub use write::{Options, Patch};

pub use {k8s_openapi, kube};
