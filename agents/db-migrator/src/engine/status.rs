//! Reads where a database stands, without its lock: rolling pods must not wait behind a long migration.

use shared::SkillError;

use super::{
    Job, ledger,
    parts::{self, Progress},
    recover::head,
};
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
    /// Migrations in force that have backfills or a contract.
    pub expansions: Vec<ExpansionStatus>,
}

/// How far a migration in parts is.
#[derive(Debug, Clone)]
pub struct ExpansionStatus {
    /// Its place in the ledger.
    pub sequence: i64,
    /// Whether its contract is in force, or it has none and its backfill is done.
    pub completed: bool,
    /// Where its backfills stand.
    pub backfills: Vec<Progress>,
}

impl ExpansionStatus {
    /// The state of its backfills in one word.
    pub fn backfill(&self) -> &'static str {
        let all = |state: &str| self.backfills.iter().all(|one| one.state == state);
        match self.backfills.len() {
            0 => "none",
            _ if all("done") => "done",
            _ if all("pending") => "pending",
            _ => "running",
        }
    }
}

/// Reads the status, and compares with a source when there is one.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn status(job: Job<'_>, source: &[Migration]) -> Result<Status, SkillError> {
    let mut session = job.connect().await?;
    let read = job.reading(read(session.as_mut())).await;
    job.close(session).await;
    let (all, runs, fingerprint, expansions) = read?;
    let (missing, conflict) = match pending(source, &all) {
        Ok(missing) => (missing, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let pending = missing
        .into_iter()
        .map(|migration| (migration.version.to_string(), migration.name))
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
        expansions,
    })
}

async fn read(session: &mut dyn Session) -> Result<Read, TargetError> {
    let fingerprint = session.catalog().await?.fingerprint();
    if !ledger::exists(session).await? {
        return Ok((Vec::new(), Vec::new(), fingerprint, Vec::new()));
    }
    let migrations = ledger::migrations(session).await?;
    let expansions = expansions(session, &migrations).await?;
    let runs = ledger::runs(session).await?;
    Ok((migrations, runs, fingerprint, expansions))
}

type Read = (
    Vec<MigrationRecord>,
    Vec<RunRecord>,
    String,
    Vec<ExpansionStatus>,
);

async fn expansions(
    session: &mut dyn Session,
    migrations: &[MigrationRecord],
) -> Result<Vec<ExpansionStatus>, TargetError> {
    let expanded = parts::expanded(session).await?;
    let all = parts::backfills(session, None).await?;
    let contracted = migrations
        .iter()
        .filter(|migration| migration.state == MigrationState::Applied)
        .filter_map(|migration| migration.version.contracted())
        .map(|version| version.to_string())
        .collect::<Vec<_>>();
    let status = |one: parts::Expanded| {
        let own = all
            .iter()
            .filter(|backfill| backfill.migration == one.sequence);
        let backfills = own.cloned().collect::<Vec<_>>();
        let done = backfills.iter().all(|backfill| backfill.state == "done");
        ExpansionStatus {
            sequence: one.sequence,
            completed: if one.expansion.has_contract() {
                contracted.contains(&one.version)
            } else {
                done
            },
            backfills,
        }
    };
    Ok(expanded.into_iter().map(status).collect())
}
