//! What the agent knows and decides: pure functions over values, with the time as an argument.

pub mod alert;
pub mod at;
pub mod attribution;
pub mod dora;
pub mod health;
pub mod incident;
pub mod notice;
pub mod objects;
pub mod pod;
pub mod thresholds;
pub mod trigger;
pub mod world;

pub use at::At;
pub use attribution::Attribution;
pub use health::{Verdict, WorkloadHealth};
pub use incident::{Incident, Status};
pub use objects::{Container, ContainerState, Deployment, Key, Node, Pod, Probes, ReplicaSet};
pub use pod::{PodState, Reason, Signals, assess};
pub use thresholds::Thresholds;
pub use trigger::{Decision, Finding, Severity, Trigger};
pub use world::World;
