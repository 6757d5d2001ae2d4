//! Why usage could not be read.

use std::path::PathBuf;

/// Usage could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The agent was started without a source.
    #[error("no usage source: start the agent with --prometheus URL or --metrics DIR")]
    NotConfigured,
    /// The question is too big to answer.
    #[error(
        "{got} {what} exceed the limit of {limit}: ask for one workload, a shorter window or a longer step"
    )]
    TooMuch {
        /// What there was too much of.
        what: &'static str,
        /// How much there was.
        got: usize,
        /// How much is read.
        limit: usize,
    },
    /// Prometheus did not answer.
    #[error("cannot reach prometheus")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Prometheus answered with an error.
    #[error("prometheus answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// A recording cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A recording is not OpenMetrics text with timestamps.
    #[error("{path} line {line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}
