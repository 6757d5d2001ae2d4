use kube::core::Status;

use crate::snapshot::SnapshotError;

/// Why a cluster did not do what was asked.
///
/// `action` names the call ("list pods in shop"); no variant carries an object.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server or its configuration cannot be reached now; the same call may succeed later.
    #[error("cannot {action}")]
    Unavailable {
        /// The call.
        action: String,
        /// What went wrong underneath.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer within the deadline of a call.
    #[error("cannot {action}: no answer within {seconds} s")]
    TimedOut {
        /// The call.
        action: String,
        /// The deadline in seconds.
        seconds: u64,
    },
    /// The API server refuses this identity (401 or 403).
    #[error("not allowed to {action}: {message}")]
    Denied {
        /// The call.
        action: String,
        /// The server's own sentence.
        message: String,
    },
    /// The object to change does not exist, or the server does not know its kind.
    #[error("cannot {action}: not found")]
    NotFound {
        /// The call.
        action: String,
    },
    /// The object changed since it was read, or exists already.
    #[error("cannot {action}: {message}")]
    Conflict {
        /// The call.
        action: String,
        /// The server's own sentence.
        message: String,
    },
    /// The API server understood the call and finds it wrong (400, 405, 413, 415, 422).
    #[error("cannot {action}: {message}")]
    Invalid {
        /// The call.
        action: String,
        /// The server's own sentence, or ours about a name.
        message: String,
    },
    /// The answer is not the object that was asked for.
    #[error("cannot {action}: the answer is not a {kind}")]
    Decode {
        /// The call.
        action: String,
        /// The kind that was expected.
        kind: String,
    },
    /// A write was asked of a snapshot.
    #[error("cannot {action}: a snapshot is read-only")]
    ReadOnly {
        /// The call.
        action: String,
    },
    /// The snapshot's folder cannot be read as objects.
    #[error("cannot read the snapshot")]
    Snapshot(#[from] SnapshotError),
}

impl ClusterError {
    /// Says whether the same call may succeed later without a change of ours.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut { .. })
    }

    /// Gives a fixed word for metrics: one of nine.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timed_out",
            Self::Denied { .. } => "denied",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::Decode { .. } => "decode",
            Self::ReadOnly { .. } => "read_only",
            Self::Snapshot(_) => "snapshot",
        }
    }

    pub(crate) fn from_kube(action: &str, error: kube::Error) -> Self {
        let action = action.to_owned();
        match error {
            kube::Error::Api(status) => Self::from_status(action, *status),
            source => Self::Unavailable {
                action,
                source: Box::new(source),
            },
        }
    }

    pub(crate) fn from_status(action: String, status: Status) -> Self {
        let message = status.message.clone();
        match status.code {
            401 | 403 => Self::Denied { action, message },
            404 => Self::NotFound { action },
            409 => Self::Conflict { action, message },
            400 | 405 | 406 | 413 | 415 | 422 => Self::Invalid { action, message },
            _ => Self::Unavailable {
                action,
                source: Box::new(status),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_the_servers_answers_by_whose_turn_it_is() {
        for (code, kind, retryable) in [
            (401, "denied", false),
            (403, "denied", false),
            (404, "not_found", false),
            (409, "conflict", false),
            (410, "unavailable", true),
            (422, "invalid", false),
            (429, "unavailable", true),
            (500, "unavailable", true),
            (503, "unavailable", true),
        ] {
            let status = Status::failure("no", "Reason").with_code(code);
            let error = ClusterError::from_status("list pods".to_owned(), status);
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{code}"
            );
        }
    }
}
