#![doc = include_str!("../README.md")]

pub mod a2a;
pub mod access;
pub mod agent;
pub mod approvals;
pub mod args;
mod backplane;
pub mod builder;
pub mod context;
pub mod converse;
mod delivery;
pub mod digest;
mod engine;
pub mod error;
pub mod files;
mod listeners;
mod loops;
mod push;
pub mod readiness;
pub mod registry;
mod shutdown;
pub mod skill;
mod streams;
mod tasks;
pub mod telemetry;
pub mod testing;
mod trail;
mod upkeep;

pub use agent::{Bound, Daemon, bind, bind_on, main};
pub use args::Args;
pub use builder::AgentBuilder;
pub use context::{Context, ToolCall};
pub use error::{AwaitsApproval, SkillError};
pub use files::InputFile;
pub use skill::{Effect, Skill};
