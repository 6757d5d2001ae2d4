//! What all eight agents have in common: skills, the A2A endpoint, the runtime, telemetry.

pub mod context;
pub mod error;
pub mod skill;
pub mod testing;

pub use context::{Context, ToolCall};
pub use error::SkillError;
pub use skill::{Effect, Skill};
