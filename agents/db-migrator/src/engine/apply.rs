//! Applies a source: lock, finish what crashed, prove, get approval, record, run.

use async_trait::async_trait;
use shared::SkillError;

use super::{
    Job,
    ledger::{self, NewRun},
    own::Errand,
    parts,
    recover::head,
    undo::FailedScript,
};
use crate::{
    clients::{Session, Transaction},
    domain::{
        Dialect, Migration, MigrationRecord, MigrationState, Plan, RunRecord,
        hooks::{Hook, HookCall, Point, RunKind},
        staging::Retention,
    },
};

/// What a caller wants applied.
#[derive(Debug, Default)]
pub struct ApplyRequest<'a> {
    /// The migrations.
    pub source: &'a [Migration],
    /// The plan that the caller saw; any plan when absent.
    pub plan_digest: Option<&'a str>,
    /// The release that the migrations come with.
    pub release: Option<&'a str>,
    /// What else happens at fixed points of the run.
    pub hooks: &'a [Hook],
    /// Digest of the plan that an approval of a fleet covers.
    pub covered: Option<&'a str>,
    /// How long what the migrations take away is kept.
    pub retention: Retention,
    /// What becomes of a script that fails half way.
    pub on_failure: FailedScript,
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// The plan, unless the run continued one from the ledger.
    pub plan: Option<Plan>,
    /// Digest of the plan that was followed.
    pub plan_digest: String,
    /// What this run applied, in order.
    pub migrations: Vec<MigrationRecord>,
    /// What an earlier run had begun and this one finished.
    pub finished: Vec<MigrationRecord>,
    /// The newest version in force.
    pub head: Option<String>,
    /// Fingerprint of the catalog.
    pub fingerprint: String,
    /// The hooks that ran.
    pub hooks: Vec<HookCall>,
}

/// Applies what a database lacks. A task that runs again after a crash continues its own run without asking twice.
///
/// # Errors
/// As [`super::plan`]; `ApprovalRequired` outside `dev` and for every plan that is not proven; `Canceled` between two
/// statements; `Failed` with the statement that the database refused.
pub async fn apply(job: Job<'_>, request: ApplyRequest<'_>) -> Result<Applied, SkillError> {
    job.as_owner(request).await
}

#[async_trait]
impl Errand for ApplyRequest<'_> {
    type Done = Applied;

    async fn run(&self, job: &Job<'_>, session: &mut dyn Session) -> Result<Applied, SkillError> {
        job.refuse_superuser(session).await?;
        let applied = job.apply_locked(session, self).await?;
        let hooks = job.hook_calls(session).await?;
        Ok(Applied { hooks, ..applied })
    }
}

impl Job<'_> {
    async fn apply_locked(
        &self,
        session: &mut dyn Session,
        request: &ApplyRequest<'_>,
    ) -> Result<Applied, SkillError> {
        let mut finished = Vec::new();
        if let Some(own) = self.own_run(session).await? {
            if own.outcome.as_deref() == Some("completed") {
                let end = self.end(session).await?;
                return Ok(self.report(end, None, own.plan_digest, Vec::new()));
            }
            finished = self.finish_earlier(session, request).await?;
            if own.outcome.is_none() {
                self.refuse_taken_back(session).await?;
                let end = self.run_planned(session, request, false).await?;
                return Ok(self.report(end, None, own.plan_digest, finished));
            }
        } else if self.has_ledger(session).await? {
            finished = self.finish_earlier(session, request).await?;
            self.purge(session, false).await?;
            self.run_backfills(session).await?;
        }
        let mut plan = self
            .plan_with(session, request.source, request.retention)
            .await?;
        plan.hooks = request.hooks.to_vec();
        let digest = plan.digest();
        if plan.migrations.is_empty() {
            return self.nothing_to_do(session, plan, request, finished).await;
        }
        if let Some(seen) = request.plan_digest.filter(|seen| *seen != digest) {
            return Err(SkillError::rejected(
                "plan_digest",
                format!("{digest}, the digest of the plan as it is now"),
                seen,
            ));
        }
        if request.on_failure == FailedScript::Revert
            && let Some(reason) = plan.unrevertible()
        {
            let expected = "a plan whose every statement has a proven inverse, or resume";
            return Err(SkillError::rejected("on_failure", expected, reason));
        }
        let covered = request.covered == Some(digest.as_str());
        if !covered && (!self.database.dev || !plan.refusals().is_empty()) {
            self.context.require_approval(&digest, plan.summary())?;
        }
        let as_planned = self.is_as_planned(session, &plan).await?;
        self.record_kind(
            session,
            "apply",
            &plan,
            (&digest, request.release, request.retention),
        )
        .await?;
        let end = self.run_planned(session, request, as_planned).await?;
        Ok(self.report(end, Some(plan), digest, finished))
    }

    /// Whether PostgreSQL's catalog is still the one that the plan was proven from. Asked before the ledger is written:
    /// afterwards the catalog would have to be read once more to tell.
    async fn is_as_planned(
        &self,
        session: &mut dyn Session,
        plan: &Plan,
    ) -> Result<bool, SkillError> {
        let first = plan.migrations.first();
        let Some(first) = first.filter(|_| session.dialect() == Dialect::Postgres) else {
            return Ok(false);
        };
        let shape = self.reading(session.shape()).await?;
        Ok(shape.fingerprint == first.fingerprint_before)
    }

    async fn finish_earlier(
        &self,
        session: &mut dyn Session,
        request: &ApplyRequest<'_>,
    ) -> Result<Vec<MigrationRecord>, SkillError> {
        match self.finish_interrupted(session).await {
            Err(error) => Err(self.after_failure(session, error, request.on_failure).await),
            finished => finished,
        }
    }

    /// Runs what the ledger holds as planned by this run, with the hooks around it. `as_planned` when the catalog was just
    /// held against the plan.
    async fn run_planned(
        &self,
        session: &mut dyn Session,
        request: &ApplyRequest<'_>,
        as_planned: bool,
    ) -> Result<End, SkillError> {
        self.begin_hooks(session, RunKind::Apply).await?;
        let done = match self.continue_planned(session, as_planned).await {
            Err(error) => Err(self.after_failure(session, error, request.on_failure).await),
            done => done,
        }?;
        self.hook(session, Point::AfterRun, None).await?;
        self.finish_applied(session, &done).await
    }

    /// Closes the row of a run that applied something. On SQLite its last commit was compared with the proof; on
    /// PostgreSQL the catalog is read once more, now that no table is locked.
    async fn finish_applied(
        &self,
        session: &mut dyn Session,
        done: &[MigrationRecord],
    ) -> Result<End, SkillError> {
        let expected = done.last().map(|last| last.fingerprint_after.clone());
        let reached = expected
            .clone()
            .filter(|_| session.dialect() == Dialect::Sqlite);
        let end = self.finish_run(session, "completed", reached).await?;
        if expected.is_some_and(|expected| expected != end.fingerprint) {
            return Err(SkillError::failed(
                "all migrations were committed, but the catalog is another than on the shadow: somebody else changed the schema meanwhile",
            ));
        }
        Ok(end)
    }

    /// A release that needs no migration is still known to the ledger, so that a rollback to it finds its version.
    async fn nothing_to_do(
        &self,
        session: &mut dyn Session,
        plan: Plan,
        request: &ApplyRequest<'_>,
        finished: Vec<MigrationRecord>,
    ) -> Result<Applied, SkillError> {
        let digest = plan.digest();
        let end = if request.release.is_some() {
            let how = (digest.as_str(), request.release, Retention::default());
            self.record_kind(session, "apply", &plan, how).await?;
            self.finish_run(session, "completed", None).await?
        } else {
            self.end(session).await?
        };
        Ok(self.report(end, Some(plan), digest, finished))
    }

    /// One transaction holds the run's row, the migrations and all their statements up and down.
    pub(super) async fn record_kind(
        &self,
        session: &mut dyn Session,
        kind: &str,
        plan: &Plan,
        (digest, release, retention): (&str, Option<&str>, Retention),
    ) -> Result<(), SkillError> {
        let caller = &self.context.caller().name;
        let new = NewRun {
            id: self.run(),
            kind,
            plan_digest: digest,
            release: release.map(str::to_owned),
            caller,
        };
        let written = async {
            session.begin(Transaction::default()).await?;
            ledger::install(session).await?;
            ledger::abandon_planned(session, "").await?;
            ledger::begin_run(session, new).await?;
            ledger::record_plan(session, self.run(), plan, release).await?;
            self.declare_hooks(session, plan).await?;
            parts::record(session, self.run(), plan, retention).await?;
            session.commit().await
        };
        written.await.map_err(|error| self.skill(error))
    }

    pub(super) async fn has_ledger(&self, session: &mut dyn Session) -> Result<bool, SkillError> {
        ledger::exists(session)
            .await
            .map_err(|error| self.skill(error))
    }

    /// The run of this task, when a crash or a failure ended it earlier.
    pub(super) async fn own_run(
        &self,
        session: &mut dyn Session,
    ) -> Result<Option<RunRecord>, SkillError> {
        if !self.has_ledger(session).await? {
            return Ok(None);
        }
        ledger::run(session, self.run())
            .await
            .map_err(|error| self.skill(error))
    }

    /// Closes the row of a run. `reached` is the fingerprint that its last commit was compared with, when it was.
    pub(super) async fn finish_run(
        &self,
        session: &mut dyn Session,
        outcome: &str,
        reached: Option<String>,
    ) -> Result<End, SkillError> {
        let closed = async {
            let end = End {
                fingerprint: match reached {
                    Some(fingerprint) => fingerprint,
                    None => session.shape().await?.fingerprint.clone(),
                },
                migrations: ledger::migrations(session).await?,
            };
            ledger::finish_run(
                session,
                self.run(),
                outcome,
                head(&end.migrations),
                &end.fingerprint,
            )
            .await?;
            Ok(end)
        };
        closed.await.map_err(|error| self.skill(error))
    }

    /// Closes the row of a run that failed or was cancelled. Best effort: a row without outcome means the same.
    pub(super) async fn note_failure(&self, session: &mut dyn Session, error: &SkillError) {
        let noted = async {
            if ledger::exists(session).await?
                && ledger::run(session, self.run())
                    .await?
                    .is_some_and(|run| run.outcome.is_none())
            {
                let fingerprint = session.catalog().await?.fingerprint();
                let head = head(&ledger::migrations(session).await?);
                ledger::finish_run(session, self.run(), error.kind(), head, &fingerprint).await?;
            }
            Ok::<_, crate::clients::TargetError>(())
        };
        if let Err(error) = noted.await {
            tracing::debug!(%error, "could not close the row of a failed run");
        }
    }

    /// Where a run that changed nothing ends.
    pub(super) async fn end(&self, session: &mut dyn Session) -> Result<End, SkillError> {
        let read = async {
            let migrations = if ledger::exists(session).await? {
                ledger::migrations(session).await?
            } else {
                Vec::new()
            };
            Ok(End {
                fingerprint: session.catalog().await?.fingerprint(),
                migrations,
            })
        };
        self.reading(read).await
    }

    pub(super) fn report(
        &self,
        end: End,
        plan: Option<Plan>,
        plan_digest: String,
        finished: Vec<MigrationRecord>,
    ) -> Applied {
        let head = head(&end.migrations);
        let own = end.migrations.into_iter().filter(|migration| {
            migration.run == self.run() && migration.state == MigrationState::Applied
        });
        Applied {
            plan,
            plan_digest,
            migrations: own.collect(),
            finished,
            head,
            fingerprint: end.fingerprint,
            hooks: Vec::new(),
        }
    }
}

/// Ledger and catalog at the end of a run.
#[derive(Debug)]
pub(super) struct End {
    migrations: Vec<MigrationRecord>,
    fingerprint: String,
}
