//! Why GitLab did not do as asked.

use std::path::PathBuf;

/// Why a call failed. No variant holds a token or the text of an answer beyond its message.
#[derive(Debug, thiserror::Error)]
pub enum GitlabError {
    /// The file with the token cannot be read.
    #[error("cannot read the GitLab token from {0}")]
    Token(PathBuf, #[source] std::io::Error),
    /// The token cannot stand in a header.
    #[error("the GitLab token in {0} is no token")]
    NoToken(PathBuf),
    /// The address is none.
    #[error("the GitLab address is no http or https URL")]
    Address,
    /// GitLab does not know the token, or it is not allowed to do this.
    #[error("GitLab refused the token ({0})")]
    Denied(u16),
    /// There is no such thing, or the token may not see it.
    #[error("GitLab has no {0}")]
    NotFound(&'static str),
    /// GitLab refused the request.
    #[error("GitLab refused to {what} ({status}): {message}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// GitLab's reason, at most 300 characters.
        message: String,
    },
    /// GitLab is busy or broken, also after tries.
    #[error("GitLab is busy ({0})")]
    Busy(u16),
    /// GitLab was not reached or broke off.
    #[error("cannot reach GitLab")]
    Unreachable(#[source] reqwest::Error),
    /// The answer is not what GitLab documents.
    #[error("cannot read what GitLab answered to {0}")]
    Unreadable(&'static str, #[source] serde_json::Error),
}

impl GitlabError {
    /// Whether the same call may go well later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unreachable(_))
    }
}
