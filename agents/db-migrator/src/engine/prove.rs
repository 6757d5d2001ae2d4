//! Plan = proof: up, down, up on a shadow of the database.

mod migration;

use std::collections::BTreeMap;

use shared::{SkillError, ToolCall};

use super::{
    Job, ledger,
    shadow::{run, run_texts},
};
use crate::{
    clients::{Session, Shadow, TargetError},
    domain::{
        Catalog, Direction, Migration, MigrationRecord, MigrationState, Plan, PlannedMigration,
        pending::pending, plan::PlannedScript,
    },
};
use migration::Proven;

/// Proves what a source adds to a database, without changing it.
///
/// # Errors
/// `Rejected` when the source does not continue what the database has, `Failed` when a migration cannot be applied,
/// `Unavailable` when the database does not answer.
pub async fn plan(job: Job<'_>, source: &[Migration]) -> Result<Plan, SkillError> {
    let mut session = job.connect().await?;
    let plan = job.plan_with(session.as_mut(), source).await;
    job.close(session).await;
    plan
}

impl Job<'_> {
    /// [`plan`] in a session that is already there, under its lock.
    pub(super) async fn plan_with(
        &self,
        session: &mut dyn Session,
        source: &[Migration],
    ) -> Result<Plan, SkillError> {
        let (ledger, catalog) = self.reading(read_state(session)).await?;
        let plan = Plan {
            database: self.database.name.clone(),
            dialect: session.dialect(),
            fingerprint: catalog.fingerprint(),
            migrations: Vec::new(),
        };
        let missing = pending(source, &ledger).map_err(|error| {
            SkillError::rejected(
                "source",
                "a continuation of what was applied",
                error.to_string(),
            )
        })?;
        if missing.is_empty() {
            return Ok(plan);
        }
        let call = ToolCall::read(session.dialect().prove_action(), [self.resource()]);
        let in_force = ledger
            .into_iter()
            .filter(|migration| migration.state == MigrationState::Applied)
            .collect::<Vec<_>>();
        let mut shadow_run = Prover {
            job: self,
            live: session,
            in_force,
            catalog,
            source: &missing,
        };
        let proven = self.context.tool(call, shadow_run.prove_all()).await?;
        Ok(Plan {
            migrations: proven,
            ..plan
        })
    }
}

async fn read_state(
    session: &mut dyn Session,
) -> Result<(Vec<MigrationRecord>, Catalog), TargetError> {
    let ledger = if ledger::exists(session).await? {
        ledger::migrations(session).await?
    } else {
        Vec::new()
    };
    Ok((ledger, session.catalog().await?))
}

struct Prover<'a> {
    job: &'a Job<'a>,
    live: &'a mut dyn Session,
    in_force: Vec<MigrationRecord>,
    catalog: Catalog,
    source: &'a [&'a Migration],
}

/// A shadow and whether it holds the rows of its original.
struct Shadowed {
    session: Box<dyn Session>,
    unseen_rows: BTreeMap<String, u64>,
}

impl Prover<'_> {
    async fn prove_all(&mut self) -> Result<Vec<PlannedMigration>, SkillError> {
        let mut shadow = self.open().await?;
        let proven = self.prove_on(&mut shadow).await;
        shadow
            .session
            .close()
            .await
            .map_err(|error| self.job.skill(error))?;
        proven
    }

    async fn prove_on(
        &mut self,
        shadow: &mut Shadowed,
    ) -> Result<Vec<PlannedMigration>, SkillError> {
        let mut replaced = BTreeMap::new();
        loop {
            let mut proven = self.prove_each(shadow, &replaced).await?;
            let chained = proven.len() > 1
                && proven
                    .last()
                    .is_some_and(|last| last.planned.proof.verdict.is_proven());
            let broken = if chained {
                self.prove_chain(shadow, &mut proven).await?
            } else {
                None
            };
            // An inverse from the catalogs may hold where the author's does not: once more from the start.
            let Some((at, reason)) = broken else {
                return Ok(proven.into_iter().map(|proven| proven.planned).collect());
            };
            replaced.insert(at, reason);
            self.renew(shadow, 0).await?;
        }
    }

    async fn prove_each(
        &mut self,
        shadow: &mut Shadowed,
        replaced: &BTreeMap<usize, String>,
    ) -> Result<Vec<Proven>, SkillError> {
        let mut all: Vec<Proven> = Vec::new();
        let total = self.source.len();
        for (at, migration) in self.source.iter().enumerate() {
            self.job.context.check_canceled()?;
            self.job.context.progress(
                &format!("proving {} {}", migration.version, migration.name),
                at as u64,
                total as u64,
            );
            let proven = self
                .prove_one(shadow, at, replaced.get(&at).map(String::as_str))
                .await?;
            let spoiled = proven.spoiled;
            all.push(proven);
            if spoiled && at + 1 < total {
                self.renew(shadow, at + 1).await?;
            }
        }
        Ok(all)
    }

    /// A shadow with the same catalog as the database, and its rows where they are not too many.
    async fn open(&mut self) -> Result<Shadowed, SkillError> {
        let target = self.job.database.target.clone();
        let mut last = TargetError::NoShadow("there is no way to make one".into());
        for kind in target.shadows() {
            match self.open_as(*kind).await {
                Ok(Some(shadow)) => return Ok(shadow),
                Ok(None) => {}
                Err(error @ TargetError::Unreachable(_)) => return Err(self.job.skill(error)),
                Err(error) => last = error,
            }
        }
        Err(self.job.skill(last))
    }

    /// `None` when the ledger alone does not lead to the catalog of the database.
    async fn open_as(&mut self, kind: Shadow) -> Result<Option<Shadowed>, TargetError> {
        let mut session = self
            .job
            .database
            .target
            .shadow(kind, self.job.run(), self.live)
            .await?;
        if kind == Shadow::Copy {
            return Ok(Some(Shadowed {
                session,
                unseen_rows: BTreeMap::new(),
            }));
        }
        let replayed = self.replay(session.as_mut()).await;
        if !matches!(replayed, Ok(true)) {
            session.close().await?;
            return replayed.map(|_| None);
        }
        let tables = self.catalog.tables();
        let unseen_rows = if session.fill(&tables).await? {
            BTreeMap::new()
        } else {
            self.unseen(&tables).await?
        };
        Ok(Some(Shadowed {
            session,
            unseen_rows,
        }))
    }

    /// Rows of the database's tables when they were too many to copy: at least one where there is any.
    async fn unseen(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<BTreeMap<String, u64>, TargetError> {
        let mut found = BTreeMap::new();
        for (table, _) in tables {
            let rows = self
                .live
                .query(
                    &format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 100000) AS sample"),
                    &[],
                )
                .await?;
            let rows = rows
                .first()
                .ok_or(TargetError::Unreadable("a row"))?
                .integer(0)?;
            if let Some(rows) = u64::try_from(rows).ok().filter(|rows| *rows > 0) {
                found.insert(table.clone(), rows);
            }
        }
        Ok(found)
    }

    async fn replay(&mut self, session: &mut dyn Session) -> Result<bool, TargetError> {
        for migration in &self.in_force {
            let steps = ledger::steps(self.live, migration.sequence, Direction::Up).await?;
            let all = steps
                .iter()
                .map(|step| step.text.as_str())
                .collect::<Vec<_>>();
            run_texts(session, &all, migration.atomic.0).await?;
        }
        Ok(session.catalog().await?.fingerprint() == self.catalog.fingerprint())
    }

    /// A fresh shadow with the first `count` migrations applied: a bad down spoiled the old one.
    async fn renew(&mut self, shadow: &mut Shadowed, count: usize) -> Result<(), SkillError> {
        let fresh = self.open().await?;
        let old = std::mem::replace(shadow, fresh);
        old.session
            .close()
            .await
            .map_err(|error| self.job.skill(error))?;
        for migration in self.source.iter().take(count) {
            self.up(shadow, migration).await?;
        }
        Ok(())
    }

    async fn up(
        &mut self,
        shadow: &mut Shadowed,
        migration: &Migration,
    ) -> Result<PlannedScript, SkillError> {
        run(shadow.session.as_mut(), &migration.up)
            .await
            .map_err(|error| match error {
                TargetError::Sql { code, message } => SkillError::failed(format!(
                    "{} {} fails on the shadow: {message} ({code})",
                    migration.version, migration.name
                )),
                other => self.job.skill(other),
            })
    }
}
