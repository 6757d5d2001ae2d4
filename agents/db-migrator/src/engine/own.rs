//! Owns a database for a run, and comes back after its connection broke.

use std::time::Duration;

use async_trait::async_trait;
use shared::SkillError;
use tokio::time::Instant;

use super::Job;
use crate::clients::Session;

/// Connections that a run opens after its first one broke: with the pauses enough for a failover of some 20 s.
const RETURNS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// How often a run lost its connection. What it did last is then read from the ledger: under the run lock, on a server
/// that takes writes, the former backend is gone, and a commit either happened or did not.
#[derive(Debug, Default)]
struct Returns(u32);

impl Returns {
    fn pause(&self) -> Duration {
        (FIRST_PAUSE * (1 << self.0.min(8))).min(LAST_PAUSE)
    }
}

/// What a run does once it owns its database. It may be begun again on another connection, so it reads from the ledger
/// how far it came.
#[async_trait]
pub(super) trait Errand: Sync {
    type Done: Send;

    async fn run(&self, job: &Job<'_>, session: &mut dyn Session)
    -> Result<Self::Done, SkillError>;
}

impl Job<'_> {
    /// Owns the database for an errand, again while the connection breaks, and notes how it failed.
    pub(super) async fn as_owner<E: Errand>(&self, errand: E) -> Result<E::Done, SkillError> {
        let mut returns = Returns::default();
        loop {
            let mut session = self.own(&mut returns).await?;
            let done = errand.run(self, session.as_mut()).await;
            let mut again = false;
            if let Err(error) = &done {
                let may_return = session.may_return();
                again = self.comes_back(may_return, error, &mut returns).await;
                if !again {
                    self.hook_failure(session.as_mut(), error).await;
                    self.note_failure(session.as_mut(), error).await;
                }
            }
            self.close(session).await;
            if !again {
                return done;
            }
        }
    }

    /// A session that holds the run lock. After a loss it tries again while the server is away or is a standby.
    async fn own(&self, returns: &mut Returns) -> Result<Box<dyn Session>, SkillError> {
        loop {
            let owned = self.own_once().await;
            let away = matches!(owned, Err(SkillError::Unavailable { .. }));
            if !(away && returns.0 > 0 && self.returns(returns).await) {
                return owned;
            }
        }
    }

    async fn own_once(&self) -> Result<Box<dyn Session>, SkillError> {
        let target = &self.database.target;
        let connected = target.connect_to_own(self.run()).await;
        let mut session = connected.map_err(|error| self.skill(error))?;
        self.context.progress("waiting for the run lock", 0, 0);
        match session.lock(self.run(), self.until()).await {
            Ok(()) => Ok(session),
            Err(error) => {
                self.close(session).await;
                Err(self.skill(error))
            }
        }
    }

    /// Whether a run that ended like this lost its connection, and there is time to return.
    async fn comes_back(
        &self,
        may_return: bool,
        error: &SkillError,
        returns: &mut Returns,
    ) -> bool {
        let broke = matches!(error, SkillError::Unavailable { dependency, .. } if *dependency == self.database.target.dialect().name());
        if !(broke && may_return) {
            return false;
        }
        let comes = self.returns(returns).await;
        if comes {
            tracing::warn!(
                database = self.database.name,
                "a connection broke: the run goes on from the ledger"
            );
        }
        comes
    }

    async fn returns(&self, returns: &mut Returns) -> bool {
        let pause = returns.pause();
        returns.0 += 1;
        returns.0 <= RETURNS
            && Instant::now() + pause < self.until()
            && self.pause(pause).await.is_ok()
    }
}
