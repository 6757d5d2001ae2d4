//! Runs hooks at the points of a run.

mod invoke;

use shared::SkillError;
use tokio::time::Instant;

use super::{Job, ledger, script::Script};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Answer, Assessment, MigrationRecord, MigrationState, Plan,
        hooks::{Event, Hook, HookCall, Moment, Point, RunKind},
        waiting::Blocker,
    },
};
use invoke::Invocation;

impl Job<'_> {
    /// Writes the hooks of a plan into the ledger, in the transaction that writes the plan.
    pub(super) async fn declare_hooks(
        &self,
        session: &mut dyn Session,
        plan: &Plan,
    ) -> Result<(), TargetError> {
        if plan.hooks.is_empty() {
            return Ok(());
        }
        let backup = plan.backup_before().map(ToString::to_string);
        ledger::hooks::install(session).await?;
        ledger::hooks::declare(session, self.run(), &plan.hooks, backup.as_deref()).await
    }

    /// Writes the hooks of a rollback: those that came with the newest of the migrations to be reverted, replaced or
    /// joined by those of the request.
    pub(super) async fn declare_rollback_hooks(
        &self,
        session: &mut dyn Session,
        assessment: &Assessment,
        own: &[Hook],
    ) -> Result<(), SkillError> {
        let written = async {
            let mut hooks = own.to_vec();
            let known = ledger::hooks::exists(session).await?;
            if known {
                let newest = assessment.reverts.first().map(|revert| &revert.version);
                let all = ledger::migrations(session).await?;
                let run = all
                    .iter()
                    .rev()
                    .find(|migration| {
                        matches!(
                            migration.state,
                            MigrationState::Applied | MigrationState::Applying
                        ) && Some(migration.version.as_str()) == newest.map(String::as_str)
                    })
                    .map(|migration| migration.run.clone());
                let (inherited, _) = match run {
                    Some(run) => ledger::hooks::of_run(session, &run).await?,
                    None => (Vec::new(), None),
                };
                let replaced = |hook: &Hook| own.iter().any(|other| other.name == hook.name);
                hooks.extend(inherited.into_iter().filter(|hook| !replaced(hook)));
            }
            if hooks.is_empty() {
                return Ok(());
            }
            if !known {
                ledger::hooks::install(session).await?;
            }
            let backup = assessment
                .reverts
                .first()
                .filter(|_| assessment.answer == Answer::PointOfNoReturn)
                .map(|revert| revert.version.clone());
            ledger::hooks::declare(session, self.run(), &hooks, backup.as_deref()).await
        };
        written.await.map_err(|error| self.skill(error))
    }

    /// Runs the contracts of a plan, or of a run that goes on, with the hooks that came with the newest migration in
    /// force: they were approved with it.
    pub(super) async fn run_contracts(
        &self,
        session: &mut dyn Session,
        plan: Option<&Plan>,
    ) -> Result<(), SkillError> {
        if let Some(plan) = plan.filter(|plan| !plan.migrations.is_empty()) {
            self.inherit_hooks(session, plan)
                .await
                .map_err(|error| self.skill(error))?;
        }
        self.begin_hooks(session, RunKind::Complete).await?;
        self.hook(session, Point::BeforeContract, None).await?;
        self.continue_planned(session, false).await?;
        self.hook(session, Point::AfterRun, None).await
    }

    async fn inherit_hooks(
        &self,
        session: &mut dyn Session,
        plan: &Plan,
    ) -> Result<(), TargetError> {
        if !ledger::hooks::exists(session).await? {
            return Ok(());
        }
        let all = ledger::migrations(session).await?;
        let newest = all
            .iter()
            .rev()
            .find(|migration| migration.state == MigrationState::Applied);
        let Some(newest) = newest else {
            return Ok(());
        };
        let (hooks, _) = ledger::hooks::of_run(session, &newest.run).await?;
        let backup = plan.backup_before().map(ToString::to_string);
        ledger::hooks::declare(session, self.run(), &hooks, backup.as_deref()).await
    }

    /// Lays out the hooks of this run, runs those before it, and those that a crash left undone after a migration.
    pub(super) async fn begin_hooks(
        &self,
        session: &mut dyn Session,
        kind: RunKind,
    ) -> Result<(), SkillError> {
        let read = async {
            if ledger::hooks::exists(session).await? {
                ledger::hooks::of_run(session, self.run()).await
            } else {
                Ok((Vec::new(), None))
            }
        };
        let (hooks, backup) = read.await.map_err(|error| self.skill(error))?;
        let desk = &self.database.desk;
        desk.open(self.run(), kind, hooks, backup);
        if desk.hooks(self.run()).is_none() {
            return Ok(());
        }
        self.hook(session, Point::BeforeRun, None).await?;
        let done = match kind {
            RunKind::Rollback => ledger::reverted_by(session, self.run()).await,
            RunKind::Apply | RunKind::Complete => {
                ledger::migrations(session).await.map(|mut all| {
                    all.retain(|migration| {
                        migration.run == self.run() && migration.state == MigrationState::Applied
                    });
                    all
                })
            }
        };
        for migration in done.map_err(|error| self.skill(error))? {
            self.hook(session, Point::AfterStep, Some(&migration))
                .await?;
        }
        Ok(())
    }

    /// One half of a migration with the hooks around it.
    pub(super) async fn run_hooked(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), SkillError> {
        let migration = script.migration;
        let version = migration.version.as_str();
        if self.database.desk.backs_up_before(self.run(), version) {
            self.hook(session, Point::Backup, Some(migration)).await?;
        }
        self.hook(session, Point::BeforeStep, Some(migration))
            .await?;
        self.execute(session, script).await?;
        self.hook(session, Point::AfterStep, Some(migration)).await
    }

    /// Runs the hooks of one point. Without hooks it costs nothing.
    pub(super) async fn hook(
        &self,
        session: &mut dyn Session,
        point: Point,
        migration: Option<&MigrationRecord>,
    ) -> Result<(), SkillError> {
        let event = Event {
            migration: migration.map(|one| (one.version.as_str(), one.name.as_str())),
            ..Event::default()
        };
        self.hooks_at(session, point, event).await
    }

    /// Tells the hooks of a lock wait who holds the lock, at most once a second.
    pub(super) async fn hook_lock_wait(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
        blockers: &[Blocker],
    ) -> Result<(), SkillError> {
        let desk = &self.database.desk;
        let wanted = desk.hooks(self.run()).is_some_and(|(kind, hooks)| {
            hooks
                .iter()
                .any(|hook| hook.runs_at(Point::OnLockWait, kind))
        });
        if blockers.is_empty() || !wanted || !desk.may_note(Instant::now()) {
            return Ok(());
        }
        let event = Event {
            migration: Some((migration.version.as_str(), migration.name.as_str())),
            blockers: blockers.to_vec(),
            ..Event::default()
        };
        self.hooks_at(session, Point::OnLockWait, event).await
    }

    /// Tells the hooks of a failure its fixed word. Whatever becomes of them, the failure stays the answer.
    pub(super) async fn hook_failure(&self, session: &mut dyn Session, failure: &SkillError) {
        if matches!(failure, SkillError::ApprovalRequired { .. }) {
            return;
        }
        let event = Event {
            failure: Some(failure.kind()),
            ..Event::default()
        };
        if let Err(error) = self.hooks_at(session, Point::OnFailure, event).await {
            tracing::warn!(database = self.database.name, %error, "a hook on failure failed");
        }
    }

    async fn hooks_at(
        &self,
        session: &mut dyn Session,
        point: Point,
        event: Event<'_>,
    ) -> Result<(), SkillError> {
        let Some((kind, hooks)) = self.database.desk.hooks(self.run()) else {
            return Ok(());
        };
        let event = Event {
            database: &self.database.name,
            kind: kind.name(),
            ..event
        };
        let moment = Moment {
            run: self.run(),
            point,
            part: event.migration.map(|(version, _)| version),
        };
        for hook in hooks.iter().filter(|hook| hook.runs_at(point, kind)) {
            let invocation = Invocation {
                hook,
                moment,
                event: &event,
            };
            self.invoke(session, &invocation).await?;
        }
        Ok(())
    }

    /// Runs the hooks between two waves of a fleet; the first database of the wave keeps their rows.
    pub(super) async fn hook_wave(
        &self,
        hooks: &[Hook],
        kind: RunKind,
        wave: usize,
    ) -> Result<Vec<HookCall>, SkillError> {
        let mut session = self.connect().await?;
        let part = wave.to_string();
        let ran = async {
            let moment = Moment {
                run: self.run(),
                point: Point::AfterWave,
                part: Some(&part),
            };
            let event = Event {
                database: &self.database.name,
                kind: kind.name(),
                ..Event::default()
            };
            for hook in hooks
                .iter()
                .filter(|hook| hook.runs_at(Point::AfterWave, kind))
            {
                let invocation = Invocation {
                    hook,
                    moment,
                    event: &event,
                };
                self.invoke(session.as_mut(), &invocation).await?;
            }
            self.hook_calls(session.as_mut()).await
        };
        let ran = ran.await;
        self.close(session).await;
        ran
    }

    /// The invocations of this run so far.
    pub(super) async fn hook_calls(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<HookCall>, SkillError> {
        let read = async {
            if ledger::hooks::exists(session).await? {
                ledger::hooks::calls(session, self.run()).await
            } else {
                Ok(Vec::new())
            }
        };
        read.await.map_err(|error| self.skill(error))
    }
}
