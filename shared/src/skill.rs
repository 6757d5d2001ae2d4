//! A skill: a typed function from input to artifact.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, SkillError};

/// What a run of a skill may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Reads only; may be run again at any time.
    Read,
    /// Changes the world. The input has `dry_run` (default true) and `idempotency_key`
    /// (required when `dry_run` is false); the runtime enforces both.
    /// After a crash the runtime runs an unfinished task again, so the skill must find its own
    /// half-done work (ledger, journal) and continue it.
    Mutate,
}

/// One capability of an agent. Registering it yields the A2A skill in the card, the direct JSON-RPC
/// method, the scope, the span name, the metric label, the audit action and the `rpc.discover` entry.
pub trait Skill: Send + Sync + 'static {
    /// Name everywhere, `snake_case`.
    const ID: &'static str;
    /// Title for people, a few words.
    const NAME: &'static str;
    /// One or two sentences: what goes in, what comes out.
    const DESCRIPTION: &'static str;
    /// Search words in the agent card.
    const TAGS: &'static [&'static str];
    /// What a run may change.
    const EFFECT: Effect = Effect::Read;
    /// Whether the input may hold secrets: it is then dropped from the task as soon as the task ends.
    const SENSITIVE_INPUT: bool = false;
    /// Media types of the files that a message may bring beside the input, see [`Context::files`]; none by default.
    const INPUT_FILES: &'static [&'static str] = &[];

    /// Typed input. Derive `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The artifact.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// Runs the skill: gather, decide, act.
    fn run(
        &self,
        context: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, SkillError>> + Send;
}
