//! What migrations took away and still keep: what it means for a rollback, and its end.

use shared::{SkillError, ToolCall};

use super::{
    Job,
    parts::{self, Held},
};
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Assessment, Dialect,
        staging::{Standing, weigh},
    },
};

/// How long dropping something for good waits for a lock.
const LOCK_TIMEOUT_MS: u64 = 100;
/// Most rows that are counted of what a rollback could not restore.
const MAX_COUNTED: u32 = 100_000;

/// Everything that migrations in force retain, with the rows that could not come back.
pub(super) async fn standings(session: &mut dyn Session) -> Result<Vec<Standing>, TargetError> {
    let mut standings = Vec::new();
    for held in parts::held(session).await? {
        let mut standing = held.standing;
        if let Some(lost) = held.object.lost.filter(|_| standing.purged.is_none()) {
            let bounded = lost.replacen("SELECT count(*) FROM", "SELECT 1 FROM", 1);
            let sql = format!("SELECT count(*) FROM ({bounded} LIMIT {MAX_COUNTED}) AS sample");
            // A later migration took the table or column away: while it is in force, nobody writes there.
            let rows = match session.query(&sql, &[]).await {
                Err(error) if is_gone(&error) => 0,
                rows => rows?
                    .first()
                    .ok_or(TargetError::Unreadable("a row"))?
                    .integer(0)?,
            };
            standing.lost = u64::try_from(rows).unwrap_or_default();
        }
        standings.push(standing);
    }
    Ok(standings)
}

/// Whether a table or column of a query is not there.
fn is_gone(error: &TargetError) -> bool {
    let TargetError::Sql { code, message } = error else {
        return false;
    };
    matches!(code.as_str(), "42P01" | "42703" | "3F000") || message.contains("no such ")
}

impl Job<'_> {
    /// Adds to an assessment what the retained objects mean for it.
    pub(super) async fn weigh_retained(
        &self,
        session: &mut dyn Session,
        assessment: &mut Assessment,
    ) -> Result<(), SkillError> {
        if assessment.reverts.is_empty() {
            return Ok(());
        }
        weigh(assessment, &self.reading(standings(session)).await?);
        Ok(())
    }

    /// Drops for good what is past its window, or everything that is retained. Returns what was dropped.
    pub(super) async fn purge(
        &self,
        session: &mut dyn Session,
        everything: bool,
    ) -> Result<Vec<String>, SkillError> {
        let held = self.reading(parts::held(session)).await?;
        let due = held
            .into_iter()
            .filter(|held| held.standing.purged.is_none() && (everything || held.standing.over));
        let mut dropped = Vec::new();
        for held in due {
            self.context.check_canceled()?;
            let call = ToolCall::write(
                session.dialect().execute_action(),
                [
                    self.resource(),
                    format!("migrations/{}", held.standing.version),
                    format!("retained/{}", held.ordinal),
                ],
            );
            match self.audited(call, drop_for_good(session, &held)).await {
                Ok(()) => dropped.push(held.object.what),
                // Somebody reads the table: the next run tries again.
                Err(super::EngineError::Target(TargetError::LockTimeout)) if !everything => {
                    session
                        .rollback()
                        .await
                        .map_err(|error| self.skill(error))?;
                }
                Err(error) => {
                    if let Err(second) = session.rollback().await {
                        tracing::debug!(error = %second, "a purge ended with its connection");
                    }
                    return Err(error.into_skill(self));
                }
            }
        }
        Ok(dropped)
    }
}

async fn drop_for_good(session: &mut dyn Session, held: &Held) -> Result<(), TargetError> {
    session
        .begin(Transaction {
            lock_timeout_ms: LOCK_TIMEOUT_MS,
            ..Transaction::default()
        })
        .await?;
    for statement in &held.object.purge {
        match session.execute(statement).await {
            // SQLite has no IF EXISTS for columns; a later migration took the table with it.
            Err(TargetError::Sql { message, .. })
                if session.dialect() == Dialect::Sqlite && message.contains("no such") => {}
            done => done?,
        }
    }
    parts::purged(session, held).await?;
    session.commit().await
}
