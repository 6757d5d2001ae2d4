//! What is rolled back, in which order, and what must not be. No I/O.

pub mod argo;
pub mod change;
pub mod companions;
pub mod config;
pub mod delivery;
pub mod freeze;
pub mod frozen;
pub mod gitops;
pub mod guards;
pub mod helm;
pub mod hold;
pub mod journal;
pub mod lease;
pub mod member;
pub mod pause;
pub mod plan;
pub mod quarantine;
pub mod revision;
pub mod surroundings;
pub mod traffic;
pub mod workload;

pub use change::Change;
pub use companions::Companions;
pub use delivery::{Recording, Redeploy, Via};
pub use frozen::Frozen;
pub use guards::Cause;
pub use journal::{Journal, Origin, Outcome, StepState};
pub use member::Member;
pub use pause::{Pause, PauseState};
pub use plan::{
    Assessment, DatabaseAnswer, DatabaseStep, Facts, Plan, Refusal, Step, Target, decide,
};
pub use revision::{Health, Revision};
pub use surroundings::{Environment, PlannedWrite, Surroundings};
pub use traffic::Strategy;
pub use workload::{Kind, Named, Rollout, Workload, WorkloadId};
