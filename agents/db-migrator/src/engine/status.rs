//! Reads where a database stands, without its lock: rolling pods must not wait behind a long migration.

use shared::SkillError;

use super::{Job, ledger, recover::head};
use crate::{
    clients::{Session, TargetError},
    domain::{Migration, MigrationRecord, MigrationState, RunRecord, pending::pending},
};

/// Where a database stands.
#[derive(Debug)]
pub struct Status {
    /// Everything in the ledger but what was reverted or never began.
    pub migrations: Vec<MigrationRecord>,
    /// The newest version in force.
    pub head: Option<String>,
    /// The last run.
    pub last_run: Option<RunRecord>,
    /// All runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// Fingerprint that the last run left; absent before the first.
    pub expected_fingerprint: Option<String>,
    /// Versions and names of the source that are not in force.
    pub pending: Vec<(String, String)>,
    /// Why the source does not continue what the database has.
    pub conflict: Option<String>,
}

/// Reads the status, and compares with a source when there is one.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn status(job: Job<'_>, source: &[Migration]) -> Result<Status, SkillError> {
    let mut session = job.connect().await?;
    let read = job.reading(read(session.as_mut())).await;
    job.close(session).await;
    let (all, runs, fingerprint) = read?;
    let (missing, conflict) = match pending(source, &all) {
        Ok(missing) => (missing, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let pending = missing
        .into_iter()
        .map(|migration| (migration.version.to_string(), migration.name.clone()))
        .collect();
    let head = head(&all);
    let gone = [MigrationState::Reverted, MigrationState::Abandoned];
    Ok(Status {
        migrations: all
            .into_iter()
            .filter(|migration| !gone.contains(&migration.state))
            .collect(),
        head,
        expected_fingerprint: runs.iter().rev().find_map(|run| run.fingerprint.clone()),
        last_run: runs.last().cloned(),
        runs,
        fingerprint,
        pending,
        conflict,
    })
}

async fn read(
    session: &mut dyn Session,
) -> Result<(Vec<MigrationRecord>, Vec<RunRecord>, String), TargetError> {
    let fingerprint = session.catalog().await?.fingerprint();
    if !ledger::exists(session).await? {
        return Ok((Vec::new(), Vec::new(), fingerprint));
    }
    Ok((
        ledger::migrations(session).await?,
        ledger::runs(session).await?,
        fingerprint,
    ))
}
