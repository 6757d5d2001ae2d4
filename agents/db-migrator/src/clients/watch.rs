//! The port that looks at a session from outside while it works.

use std::fmt::Debug;

use async_trait::async_trait;

use super::TargetError;
use crate::domain::{progress::Phase, waiting::Blocker};

/// What is seen of a session at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Who holds what it waits for.
    pub blockers: Vec<Blocker>,
    /// How many sessions wait behind it.
    pub blocked: u64,
    /// What it is doing, when the database reports it.
    pub phase: Option<Phase>,
}

/// A second connection beside a session.
#[async_trait]
pub trait Watch: Debug + Send {
    /// Opens the connection, so that the first sample is quick.
    async fn open(&mut self) -> Result<(), TargetError>;

    /// Looks once.
    async fn sample(&mut self) -> Result<Sample, TargetError>;

    /// Transactions older than a second that a concurrent index build would wait for, oldest first.
    async fn old_transactions(&mut self) -> Result<Vec<Blocker>, TargetError>;

    /// Asks the server to cancel what the session runs.
    async fn cancel(&mut self) -> Result<(), TargetError>;
}
