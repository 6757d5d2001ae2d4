//! Runs backfills in batches: every batch is a transaction that also says how far it came.

use std::time::Duration;

use shared::{SkillError, ToolCall};
use tokio::time::{Instant, sleep};

use super::{
    EngineError, Job,
    parts::{self, Expanded, Progress},
};
use crate::{
    clients::{Session, TargetError, Transaction, Value},
    domain::{
        Dialect,
        expand::{
            Backfill,
            backfill::{Load, Range, eta, next_batch, overload, rest},
        },
    },
};

/// How long a batch waits for a row lock of an application before it lets go of its own: others wait for those meanwhile.
const BATCH_LOCK_TIMEOUT_MS: u64 = 10;
/// Batches of one audited call: a million rows are about ten calls.
const BATCHES_A_CALL: u32 = 100;
/// Pauses while the server has too much to bear.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Tries of one batch against locks that others hold.
const BATCH_ATTEMPTS: u32 = 200;

impl Job<'_> {
    /// Runs every backfill of migrations in force to its end, from where it stopped. Canceled between two batches.
    pub(super) async fn run_backfills(&self, session: &mut dyn Session) -> Result<(), SkillError> {
        let expanded = self.reading(parts::expanded(session)).await?;
        for migration in expanded
            .iter()
            .filter(|one| !one.expansion.backfills.is_empty())
        {
            let progress = self
                .reading(parts::backfills(session, Some(migration.sequence)))
                .await?;
            let mut worked = false;
            for (backfill, progress) in migration.expansion.backfills.iter().zip(progress) {
                if progress.state != "done" {
                    worked = true;
                    let mut run = Run {
                        job: self,
                        migration,
                        backfill,
                        progress,
                        began: Instant::now(),
                        done_before: 0,
                        wal: None,
                    };
                    run.done_before = run.progress.rows_done;
                    run.finish(session).await?;
                }
            }
            if worked {
                self.measured_again(session, migration.sequence).await?;
            }
        }
        Ok(())
    }

    /// What a backfill wrote is no application's data: a later rollback does not count it as written since.
    async fn measured_again(
        &self,
        session: &mut dyn Session,
        sequence: i64,
    ) -> Result<(), SkillError> {
        super::measure::measure_again(session, sequence)
            .await
            .map_err(|error| self.skill(error))
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    migration: &'a Expanded,
    backfill: &'a Backfill,
    progress: Progress,
    began: Instant,
    done_before: u64,
    /// Position of the write-ahead log at the last look.
    wal: Option<(Instant, i64)>,
}

impl Run<'_> {
    async fn finish(&mut self, session: &mut dyn Session) -> Result<(), SkillError> {
        let mut slice = 1;
        while self.progress.state != "done" {
            self.job.context.check_canceled()?;
            let resources = [
                self.job.resource(),
                format!("migrations/{}", self.migration.version),
                format!("backfills/{}-{slice}", self.progress.ordinal),
            ];
            let call = ToolCall::write(session.dialect().execute_action(), resources);
            let job = *self.job;
            job.context.tool(call, self.batches(session)).await?;
            slice += 1;
        }
        Ok(())
    }

    /// Up to a hundred batches.
    async fn batches(&mut self, session: &mut dyn Session) -> Result<(), SkillError> {
        let lost = |job: &Job<'_>, error: EngineError| error.into_skill(job);
        if self.progress.state == "pending" {
            self.begin(session)
                .await
                .map_err(|error| lost(self.job, error.into()))?;
        }
        for _ in 0..BATCHES_A_CALL {
            if self.progress.state == "done" {
                break;
            }
            self.job.context.check_canceled()?;
            self.throttle(session).await?;
            self.say();
            let started = Instant::now();
            self.batch(session)
                .await
                .map_err(|error| lost(self.job, error))?;
            let took = started.elapsed();
            self.progress.batch = next_batch(self.progress.batch, took);
            sleep(rest(took)).await;
        }
        Ok(())
    }

    fn say(&self) {
        let (done, total) = (self.progress.rows_done, self.progress.rows_total);
        let left = eta(
            done - self.done_before,
            total.saturating_sub(self.done_before),
            self.began.elapsed(),
        );
        let left = left.map_or_else(String::new, |left| {
            format!(", about {} s left", left.as_secs())
        });
        self.job.context.progress(
            &format!(
                "backfill of {} {}: {done} of about {total} rows{left}",
                self.migration.version, self.migration.name
            ),
            done,
            total,
        );
    }

    /// Takes the upper bound: rows that come later are written in both forms already.
    async fn begin(&mut self, session: &mut dyn Session) -> Result<(), TargetError> {
        let rows = session.query(&self.backfill.upper(), &[]).await?;
        self.progress.upper = rows.first().map(|row| self.key(row)).transpose()?;
        self.progress.rows_total = rows_of(session, &self.backfill.table).await?;
        let state = if self.progress.upper.is_some() {
            "running"
        } else {
            "done"
        };
        state.clone_into(&mut self.progress.state);
        parts::note(session, &self.progress).await
    }

    fn key(&self, row: &crate::clients::Row) -> Result<Vec<String>, TargetError> {
        (0..self.backfill.key.len())
            .map(|column| row.text(column))
            .collect()
    }

    /// The range that is left and the parameters for it.
    fn range(&self, end: &[String]) -> (Range, Vec<Value>) {
        let last = self.progress.last.iter().flatten();
        let values = last.chain(end).map(|part| part.as_str().into()).collect();
        let range = if self.progress.last.is_some() {
            Range::Between
        } else {
            Range::Until
        };
        (range, values)
    }

    async fn batch(&mut self, session: &mut dyn Session) -> Result<(), EngineError> {
        let upper = self.progress.upper.clone().unwrap_or_default();
        let mut attempt = 0_u32;
        loop {
            let tried = self.attempt(session, &upper).await;
            let Err(error) = tried else { return Ok(()) };
            if let Err(second) = session.rollback().await {
                tracing::debug!(error = %second, "a batch ended with its connection");
            }
            attempt += 1;
            let pause = FIRST_PAUSE.mul_f64(f64::from(attempt.min(10)) / 10.0);
            let again = matches!(error, TargetError::LockTimeout)
                && attempt < BATCH_ATTEMPTS
                && Instant::now() + pause < self.job.until();
            if !again {
                return Err(error.into());
            }
            self.job.context.check_canceled()?;
            // Fewer rows meet fewer locks.
            self.progress.batch = (self.progress.batch / 2).max(1);
            sleep(pause).await;
        }
    }

    async fn attempt(
        &mut self,
        session: &mut dyn Session,
        upper: &[String],
    ) -> Result<(), TargetError> {
        let (range, values) = self.range(upper);
        let boundary = session
            .query(&self.backfill.boundary(range, self.progress.batch), &values)
            .await?;
        let boundary = boundary.first().map(|row| self.key(row)).transpose()?;
        let ends = boundary.is_none();
        let end = boundary.unwrap_or_else(|| upper.to_vec());
        session
            .begin(Transaction {
                lock_timeout_ms: BATCH_LOCK_TIMEOUT_MS,
                ..Transaction::default()
            })
            .await?;
        if session.dialect() == Dialect::Postgres {
            // Rows and key are lost or kept together, so that nothing depends on the moment they reach the disk.
            session
                .execute("SET LOCAL synchronous_commit = off")
                .await?;
        }
        let (range, values) = self.range(&end);
        let written = write(session, &self.backfill.batch(range), &values).await?;
        let next = Progress {
            state: if ends { "done" } else { "running" }.to_owned(),
            last: Some(end),
            rows_done: self.progress.rows_done + written,
            ..self.progress.clone()
        };
        parts::note(session, &next).await?;
        session.commit().await?;
        self.progress = next;
        Ok(())
    }

    /// Waits while replicas lag, sessions wait for locks, or too much log is written.
    async fn throttle(&mut self, session: &mut dyn Session) -> Result<(), SkillError> {
        if session.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let load = self
                .load(session)
                .await
                .map_err(|error| self.job.skill(error))?;
            let Some(reason) = overload(load) else {
                return Ok(());
            };
            self.job.context.check_canceled()?;
            if Instant::now() + pause > self.job.until() {
                return Err(SkillError::failed(format!(
                    "the backfill paused until its deadline: {reason}; run the task again to continue"
                )));
            }
            self.job.context.progress(
                &format!("backfill of {} pauses: {reason}", self.migration.version),
                self.progress.rows_done,
                self.progress.rows_total,
            );
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn load(&mut self, session: &mut dyn Session) -> Result<Load, TargetError> {
        const LOAD: &str = "SELECT (SELECT coalesce(max(extract(epoch FROM replay_lag) * 1000), 0)::bigint FROM pg_stat_replication), \
            (SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()), \
            CASE WHEN pg_is_in_recovery() THEN 0 ELSE (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint END";
        let rows = session.query(LOAD, &[]).await?;
        let row = rows.first().ok_or(TargetError::Unreadable("a row"))?;
        let (at, position) = (Instant::now(), row.integer(2)?);
        let written = self
            .wal
            .replace((at, position))
            .map_or(0, |(since, before)| {
                let millis =
                    u64::try_from(at.duration_since(since).as_millis()).unwrap_or(u64::MAX);
                // Over less than a moment a rate says nothing.
                let bytes = u64::try_from(position - before).unwrap_or_default();
                if millis < 10 {
                    0
                } else {
                    bytes.saturating_mul(1_000) / millis
                }
            });
        Ok(Load {
            lag: Duration::from_millis(u64::try_from(row.integer(0)?).unwrap_or_default()),
            waiting: row.integer(1)?,
            wal: written,
        })
    }
}

/// Runs an update and says how many rows it wrote.
async fn write(session: &mut dyn Session, sql: &str, values: &[Value]) -> Result<u64, TargetError> {
    let rows = if session.dialect() == Dialect::Sqlite {
        session.query(sql, values).await?;
        session.query("SELECT changes()", &[]).await?
    } else {
        let counted = format!("WITH written AS ({sql} RETURNING 1) SELECT count(*) FROM written");
        session.query(&counted, values).await?
    };
    let written = rows
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?;
    Ok(u64::try_from(written).unwrap_or_default())
}

/// About how many rows a table has.
async fn rows_of(session: &mut dyn Session, table: &str) -> Result<u64, TargetError> {
    let count = format!("SELECT count(*) FROM {table}");
    let rows = if session.dialect() == Dialect::Sqlite {
        session.query(&count, &[]).await?
    } else {
        let estimate = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)";
        let rows = session.query(estimate, &[table.into()]).await?;
        match rows.first().map(|row| row.integer(0)) {
            // Never analysed: counting is right, and such a table is small or new.
            Some(Ok(known)) if known > 0 => rows,
            _ => session.query(&count, &[]).await?,
        }
    };
    let known = rows
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?;
    Ok(u64::try_from(known).unwrap_or_default())
}
