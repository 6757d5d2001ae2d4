//! Span attribute names in one place. Sources: OpenTelemetry RPC conventions 1.44 (`rpc.*`, `jsonrpc.*`),
//! the A2A and `GenAI` agent conventions (`a2a.*`, `gen_ai.*`), OSSA v0.2.9 semantic conventions (`ossa.*`).
//! `tracing` needs literals inside its macros; these constants name what [`super::traces`] sets from values.

/// Name of the agent that serves the span.
pub const OSSA_AGENT_NAME: &str = "ossa.agent.name";
/// `agent://` URI of the agent that serves the span.
pub const OSSA_AGENT_ID: &str = "ossa.agent.id";
/// Version of the agent that serves the span.
pub const OSSA_AGENT_VERSION: &str = "ossa.agent.version";
/// The A2A task.
pub const A2A_TASK_ID: &str = "a2a.task.id";
/// State the task reached.
pub const A2A_TASK_STATE: &str = "a2a.task.state";
/// Error code as a string, when there is one.
pub const RPC_STATUS_CODE: &str = "rpc.status_code";
/// Bounded word for what went wrong.
pub const ERROR_TYPE: &str = "error.type";
