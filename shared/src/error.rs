//! Why a skill did not produce its artifact, and whose turn it is.

use std::error::Error;

/// Outcome of a skill that did not produce its artifact.
#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    /// The input is wrong (the caller's turn). Answered as -32602 with the field; the task is `rejected`.
    #[error("{field}: expected {expected}, got {got}")]
    Rejected {
        /// JSON path of the field, for example `files[0].path`.
        field: String,
        /// What would have been accepted.
        expected: String,
        /// What was there instead, never a secret.
        got: String,
    },
    /// The caller or this agent may not do this (namespace, approval, policy). Answered as -32050.
    #[error("{0}")]
    Denied(String),
    /// A person has to approve the plan first: the task waits in `auth-required`.
    #[error("{summary} needs approval of plan {plan_digest}")]
    ApprovalRequired {
        /// SHA-256 (hex) of the plan that the approval is bound to.
        plan_digest: String,
        /// What would be done, in one line.
        summary: String,
    },
    /// The caller has to say more: the task waits in `input-required` for its next message.
    #[error("{0}")]
    InputRequired(String),
    /// Something this agent needs did not answer (nobody's fault, try again). Answered as -32054.
    #[error("{dependency} is unavailable")]
    Unavailable {
        /// Short fixed name such as `kubernetes`, `postgres`, `prometheus` or an agent.
        dependency: &'static str,
        /// What happened.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The work itself failed in a way the caller should see. Answered as -32056.
    #[error("{message}")]
    Failed {
        /// What could not be done, and with what.
        message: String,
        /// The cause, when there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The caller cancelled the task.
    #[error("canceled")]
    Canceled,
    /// The deadline passed.
    #[error("deadline exceeded")]
    DeadlineExceeded,
}

/// A task of another agent that waits for a person's approval; nothing happened yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{agent} waits for an approval of task {task_id}: {message}")]
pub struct AwaitsApproval {
    /// The agent.
    pub agent: String,
    /// Its task.
    pub task_id: String,
    /// What it says.
    pub message: String,
}

impl SkillError {
    /// The task of another agent that waits for a person's approval, when that is why a call failed.
    pub fn awaits_approval(&self) -> Option<&AwaitsApproval> {
        let Self::Failed { source, .. } = self else {
            return None;
        };
        source.as_ref()?.downcast_ref()
    }

    /// A rejected field.
    pub fn rejected(
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Rejected {
            field: field.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// A dependency that did not answer.
    pub fn unavailable(
        dependency: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            dependency,
            source: source.into(),
        }
    }

    /// Failed work without a further cause.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            source: None,
        }
    }

    /// Failed work with its cause.
    pub fn failed_with(
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// A fixed word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::Denied(_) => "denied",
            Self::ApprovalRequired { .. } => "approval_required",
            Self::InputRequired(_) => "input_required",
            Self::Unavailable { .. } => "unavailable",
            Self::Failed { .. } => "failed",
            Self::Canceled => "canceled",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }
}
