//! What the agent knows and decides: pure functions over values, with the time as an argument.

pub mod alert;
pub mod at;
pub mod attribution;
pub mod change;
pub mod dora;
pub mod health;
pub mod incident;
pub mod messages;
pub mod notice;
pub mod objects;
pub mod pod;
pub mod postmortem;
pub mod requests;
pub mod slo;
pub mod surroundings;
pub mod template;
pub mod thresholds;
pub mod trigger;
pub mod world;

pub use at::At;
pub use attribution::Attribution;
pub use change::Change;
pub use health::{Verdict, WorkloadHealth};
pub use incident::{Incident, Status};
pub use messages::{Refusal, Warning};
pub use objects::{
    Container, ContainerState, Current, Key, Pod, Probes, Revision, Workload, WorkloadKind,
};
pub use pod::{PodState, Reason, Signals, assess};
pub use requests::Requests;
pub use surroundings::{Node, NodeTrouble, Surrounding, Surroundings};
pub use template::Template;
pub use thresholds::Thresholds;
pub use trigger::{Decision, Finding, Severity, Trigger};
pub use world::World;
