//! Takes over what another tool applied, or what a person says is there, without running it.

mod history;
mod record;
mod replay;
mod weigh;

use std::collections::BTreeMap;

use async_trait::async_trait;
use shared::SkillError;

use super::{Job, own::Errand};
use crate::{
    clients::Session,
    domain::{
        Migration, MigrationRecord, Plan, RunRecord, Verdict, Version,
        history::{ChecksumVerdict, DirtyDecision, Tool},
        sha256_hex,
    },
};

/// What the versions in force are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever history there is; nothing when there is none.
    Any,
    /// The history of this tool.
    Tool(Tool),
    /// A person's word: every version up to this one is there.
    Baseline(Version),
}

/// What a caller wants taken over.
#[derive(Debug, Clone)]
pub struct AdoptRequest<'a> {
    /// The migrations.
    pub source: &'a [Migration],
    /// From what.
    pub wanted: Wanted,
    /// What a person says about versions that failed.
    pub dirty: BTreeMap<Version, DirtyDecision>,
    /// The adoption that the caller saw; any when absent.
    pub plan_digest: Option<&'a str>,
    /// The release that is in force.
    pub release: Option<&'a str>,
}

/// What is taken over, and on what ground.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// Whose history it is; absent for a baseline.
    pub tool: Option<Tool>,
    /// Its table.
    pub table: Option<String>,
    /// The migrations with their proofs, as the ledger will hold them.
    pub plan: Plan,
    /// What is known about each of them beside the proof, in the same order.
    pub entries: Vec<AdoptionEntry>,
    /// What the catalog has and the migrations do not lead to, or the other way round; empty when they agree.
    pub differences: Vec<String>,
    /// Versions of the source that are then pending.
    pub pending: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// What is known about one migration that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptionEntry {
    /// Whether its file is the one that was run.
    pub checksum: ChecksumVerdict,
    /// Whether it was declared rather than run.
    pub baseline: bool,
}

impl Adoption {
    /// SHA-256 that an approval of this adoption is bound to; never equal to that of a plan.
    pub fn digest(&self) -> String {
        let tool = self.tool.map_or("baseline", Tool::name);
        sha256_hex(&format!(
            "db-migrator/adopt/v1\n{tool}\n{}\n{}",
            self.plan.digest(),
            self.refusals().join("\n")
        ))
    }

    /// Why a person has to look: files that were edited, and a catalog that the migrations do not lead to.
    pub fn refusals(&self) -> Vec<String> {
        let edited = self
            .plan
            .migrations
            .iter()
            .zip(&self.entries)
            .filter(|(_, entry)| entry.checksum == ChecksumVerdict::Differs)
            .map(|(migration, _)| {
                format!(
                    "{} {} was edited since it was applied",
                    migration.version, migration.name
                )
            });
        let drift = (!self.differences.is_empty()).then(|| {
            format!(
                "the migrations do not lead to the catalog that is there: {}",
                self.differences.join("; ")
            )
        });
        edited.chain(drift).collect()
    }

    fn summary(&self, database: &str) -> String {
        let count = self.plan.migrations.len();
        let from = self.tool.map_or("a baseline", Tool::name);
        let unproven = self
            .plan
            .migrations
            .iter()
            .filter(|migration| migration.proof.verdict == Verdict::Unproven)
            .count();
        format!(
            "adopting {count} migrations of database {database} from {from} without running them ({unproven} unproven)"
        )
    }
}

/// Says what would be taken over, without changing anything. `None` when the ledger already holds migrations, or when
/// any history would do and there is none.
///
/// # Errors
/// `Rejected` when the history does not fit the source or the request; `Unavailable` when the database does not answer.
pub async fn plan_adoption(
    job: Job<'_>,
    request: &AdoptRequest<'_>,
) -> Result<Option<Adoption>, SkillError> {
    let mut session = job.connect().await?;
    let found = job.adoption(session.as_mut(), request).await;
    job.close(session).await;
    found
}

/// Writes what is taken over into the ledger, in one transaction under the run lock; the other tool's table stays as it
/// is.
///
/// # Errors
/// As [`plan_adoption`]; `ApprovalRequired` outside `dev` and for what does not fit the catalog.
pub async fn adopt(job: Job<'_>, request: &AdoptRequest<'_>) -> Result<AdoptOutcome, SkillError> {
    job.as_owner(request).await
}

#[async_trait]
impl Errand for &AdoptRequest<'_> {
    type Done = AdoptOutcome;

    async fn run(
        &self,
        job: &Job<'_>,
        session: &mut dyn Session,
    ) -> Result<AdoptOutcome, SkillError> {
        job.refuse_superuser(session).await?;
        job.adopt_locked(session, self).await
    }
}

/// What became of a wish to take over.
#[derive(Debug)]
pub enum AdoptOutcome {
    /// The ledger already holds migrations, or any history would do and there is none.
    Nothing,
    /// It was written now.
    Done(Adoption),
    /// This very run wrote it before it was interrupted.
    Before(RunRecord, Vec<MigrationRecord>),
}

impl Job<'_> {
    async fn adopt_locked(
        &self,
        session: &mut dyn Session,
        request: &AdoptRequest<'_>,
    ) -> Result<AdoptOutcome, SkillError> {
        if let Some(own) = self
            .own_run(session)
            .await?
            .filter(|own| own.kind == "adopt")
        {
            let all = self.migrations(session).await?;
            let taken = all.into_iter().filter(|m| m.run == self.run());
            return Ok(AdoptOutcome::Before(own, taken.collect()));
        }
        let Some(adoption) = self.adoption(session, request).await? else {
            return Ok(AdoptOutcome::Nothing);
        };
        let digest = adoption.digest();
        if let Some(seen) = request.plan_digest.filter(|seen| *seen != digest) {
            return Err(SkillError::rejected(
                "plan_digest",
                format!("{digest}, the digest of the adoption as it is now"),
                seen,
            ));
        }
        if !self.database.dev || !adoption.refusals().is_empty() {
            let summary = adoption.summary(&self.database.name);
            self.context.require_approval(&digest, summary)?;
        }
        self.record_adoption(session, &adoption, request.release)
            .await?;
        Ok(AdoptOutcome::Done(adoption))
    }
}
