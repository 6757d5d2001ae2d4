//! What is rolled back, in which order, and what must not be. No I/O.

pub mod change;
pub mod journal;
pub mod member;
pub mod plan;
pub mod revision;
pub mod workload;

pub use change::Change;
pub use journal::{Journal, Origin, Outcome, StepState};
pub use member::Member;
pub use plan::{
    Assessment, DatabaseAnswer, DatabaseStep, Facts, Plan, Refusal, Step, Target, decide,
};
pub use revision::{Health, Revision};
pub use workload::{Kind, Named, Rollout, Workload, WorkloadId};
