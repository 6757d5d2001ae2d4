//! Plan = proof: up, down, up on a shadow of the database.

mod migration;
mod stage;
mod staged;
mod undo;

use std::collections::BTreeMap;

use shared::{SkillError, ToolCall};

use super::{EngineError, Job, ledger, online::Work, shadow::run_texts};
use crate::{
    clients::{Session, Shadow, TargetError},
    domain::{
        Catalog, Direction, Migration, MigrationRecord, MigrationState, Plan, PlannedMigration,
        expand::classified,
        pending::{last_run, pending},
        plan::PlannedScript,
        source::Script,
        staging::Retention,
    },
};
use migration::Proven;

/// Proves what a source adds to a database, without changing it.
///
/// # Errors
/// `Rejected` when the source does not continue what the database has, `Failed` when a migration cannot be applied,
/// `Unavailable` when the database does not answer.
pub async fn plan(
    job: Job<'_>,
    source: &[Migration],
    retention: Retention,
) -> Result<Plan, SkillError> {
    let mut session = job.connect().await?;
    let plan = job.plan_with(session.as_mut(), source, retention).await;
    job.close(session).await;
    plan
}

impl Job<'_> {
    /// [`plan`] in a session that is already there, under its lock.
    pub(super) async fn plan_with(
        &self,
        session: &mut dyn Session,
        source: &[Migration],
        retention: Retention,
    ) -> Result<Plan, SkillError> {
        let ledger = self.reading(read_ledger(session)).await?;
        if ledger.is_empty() {
            self.refuse_foreign_history(session).await?;
        }
        let missing = pending(source, &ledger).map_err(|error| {
            SkillError::rejected(
                "source",
                "a continuation of what was applied",
                error.to_string(),
            )
        })?;
        let mut works = Vec::new();
        for mut migration in missing {
            if let Some(earlier) = migration.version.repeats()
                && let Some(last) = last_run(&ledger, earlier)
            {
                migration.down = self.reading(earlier_text(session, last)).await?;
            }
            works.push(Work::new(&migration));
        }
        self.plan_works(session, works, retention).await
    }

    /// Proves migrations whatever their place in the order.
    pub(super) async fn plan_works(
        &self,
        session: &mut dyn Session,
        works: Vec<Work>,
        retention: Retention,
    ) -> Result<Plan, SkillError> {
        let (ledger, catalog) = self.reading(read_state(session)).await?;
        let plan = Plan {
            database: self.database.name.clone(),
            dialect: session.dialect(),
            fingerprint: catalog.fingerprint(),
            migrations: Vec::new(),
            hooks: Vec::new(),
        };
        if works.is_empty() {
            return Ok(plan);
        }
        let in_force = ledger
            .into_iter()
            .filter(|migration| migration.state == MigrationState::Applied)
            .collect::<Vec<_>>();
        let migrations = self
            .prove(session, (in_force, catalog), works, retention)
            .await?;
        Ok(Plan { migrations, ..plan })
    }

    /// Proves migrations that follow what is in force, on a shadow with this catalog.
    pub(super) async fn prove(
        &self,
        session: &mut dyn Session,
        (in_force, catalog): (Vec<MigrationRecord>, Catalog),
        works: Vec<Work>,
        retention: Retention,
    ) -> Result<Vec<PlannedMigration>, SkillError> {
        let migrations = works.iter().map(|work| &work.migration);
        self.refuse_reach(session, migrations).await?;
        let call = ToolCall::read(session.dialect().prove_action(), [self.resource()]);
        let mut shadow_run = Prover {
            job: self,
            live: session,
            in_force,
            catalog,
            works,
            retention,
        };
        self.context.tool(call, shadow_run.prove_all()).await
    }
}

/// What reverts a repeatable migration that runs again: its text of before, as the ledger holds it.
async fn earlier_text(
    session: &mut dyn Session,
    last: &MigrationRecord,
) -> Result<Option<Script>, TargetError> {
    let dialect = session.dialect();
    let steps = ledger::steps(session, last.sequence, Direction::Up).await?;
    let statements = steps.iter().map(|step| classified(&step.text, dialect));
    Ok(statements.collect::<Option<Vec<_>>>().map(Script::of))
}

async fn read_ledger(session: &mut dyn Session) -> Result<Vec<MigrationRecord>, TargetError> {
    if ledger::exists(session).await? {
        ledger::migrations(session).await
    } else {
        Ok(Vec::new())
    }
}

async fn read_state(
    session: &mut dyn Session,
) -> Result<(Vec<MigrationRecord>, Catalog), TargetError> {
    Ok((read_ledger(session).await?, session.catalog().await?))
}

struct Prover<'a> {
    job: &'a Job<'a>,
    live: &'a mut dyn Session,
    in_force: Vec<MigrationRecord>,
    catalog: Catalog,
    works: Vec<Work>,
    retention: Retention,
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
        let works = self.works.clone();
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
            self.works.clone_from(&works);
            self.renew(shadow, 0).await?;
        }
    }

    async fn prove_each(
        &mut self,
        shadow: &mut Shadowed,
        replaced: &BTreeMap<usize, String>,
    ) -> Result<Vec<Proven>, SkillError> {
        let mut all: Vec<Proven> = Vec::new();
        let job = *self.job;
        let total = self.works.len();
        for at in 0..total {
            let Some(migration) = self.works.get(at).map(|work| &work.migration) else {
                break;
            };
            job.context.check_canceled()?;
            job.context.progress(
                &format!("proving {} {}", migration.version, migration.name),
                at as u64,
                total as u64,
            );
            let plain = self
                .prove_one(shadow, at, replaced.get(&at).map(String::as_str))
                .await
                .map_err(|error| error.into_skill(&job))?;
            let proven = self
                .prove_staged(shadow, at, plain)
                .await
                .map_err(|error| error.into_skill(&job))?;
            let proven = self
                .prove_undo(shadow, at, proven)
                .await
                .map_err(|error| error.into_skill(&job))?;
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
        for at in 0..count {
            self.up(shadow, at).await?;
        }
        Ok(())
    }

    async fn up(&mut self, shadow: &mut Shadowed, at: usize) -> Result<PlannedScript, SkillError> {
        let job = *self.job;
        let work = self
            .works
            .get_mut(at)
            .ok_or_else(|| SkillError::failed("a plan has no such migration"))?;
        let name = format!("{} {}", work.migration.version, work.migration.name);
        work.up(shadow.session.as_mut())
            .await
            .map_err(|error| match error {
                EngineError::Target(TargetError::Sql { code, message }) => {
                    SkillError::failed(format!("{name} fails on the shadow: {message} ({code})"))
                }
                other => other.into_skill(&job),
            })
    }
}
