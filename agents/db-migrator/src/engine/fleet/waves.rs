//! Walks through the waves of a fleet.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, future::BoxFuture, stream};
use shared::SkillError;
use tokio::time::sleep;

use super::{FleetRequest, Member, Prospect, Work};
use crate::{
    domain::{
        MigrationRecord,
        fleet::{self, MemberReport, Outcome},
        hooks::Point,
    },
    engine::{ApplyRequest, Job, RollbackRequest, apply, rollback},
};

impl Job<'_> {
    /// Runs the waves; the reason when later ones were not started.
    pub(super) async fn run_waves(
        &self,
        request: &FleetRequest<'_>,
        prospects: &[Prospect],
        members: &mut [MemberReport],
    ) -> Option<String> {
        let waves = fleet::waves(members.len());
        for (at, wave) in waves.iter().enumerate() {
            let failed = members
                .iter()
                .find(|member| member.outcome == Outcome::Failed);
            if let Some(failed) = failed {
                return Some(format!("{} failed", failed.database));
            }
            if self.context.check_canceled().is_err() {
                return Some("the task was canceled".into());
            }
            let busy = self
                .run_wave(request, prospects, members, wave.clone())
                .await;
            let last = at + 1 == waves.len();
            let healthy = members
                .iter()
                .all(|member| member.outcome != Outcome::Failed);
            if busy
                && healthy
                && !last
                && let Err(error) = self.between(request, wave.start, at + 1).await
            {
                return Some(error.to_string());
            }
        }
        let failed = members
            .iter()
            .find(|member| member.outcome == Outcome::Failed);
        failed.map(|failed| format!("{} failed", failed.database))
    }

    /// Pauses, then asks the hooks whether the next wave may begin.
    async fn between(
        &self,
        request: &FleetRequest<'_>,
        first: usize,
        wave: usize,
    ) -> Result<(), SkillError> {
        if !request.soak.is_zero() {
            self.context.progress(&format!("wave {wave} soaks"), 0, 0);
            tokio::select! {
                () = sleep(request.soak) => {}
                () = self.context.canceled() => return Err(SkillError::Canceled),
            }
        }
        let Some(member) = request.members.get(first) else {
            return Ok(());
        };
        let kind = request.work.kind();
        if member
            .hooks
            .iter()
            .any(|hook| hook.runs_at(Point::AfterWave, kind))
        {
            let job = self.of(member.database);
            job.hook_wave(member.hooks, kind, wave).await?;
        }
        Ok(())
    }

    /// Runs what of a wave is left; whether that was anything.
    async fn run_wave(
        &self,
        request: &FleetRequest<'_>,
        prospects: &[Prospect],
        members: &mut [MemberReport],
        wave: std::ops::Range<usize>,
    ) -> bool {
        let failed = AtomicBool::new(false);
        let mut runs: Vec<BoxFuture<'_, Option<MemberReport>>> = Vec::new();
        let slots = members.iter_mut().zip(&request.members).zip(prospects);
        let mut waiting = Vec::new();
        for ((slot, member), prospect) in slots.skip(wave.start).take(wave.len()) {
            if slot.outcome == Outcome::NotStarted {
                let (job, failed) = (self.of(member.database), &failed);
                let report = slot.clone();
                runs.push(Box::pin(async move {
                    if failed.load(Ordering::Acquire) || job.context.check_canceled().is_err() {
                        return None;
                    }
                    let report = job
                        .run_member(&request.work, member, prospect, report)
                        .await;
                    failed.fetch_or(report.outcome == Outcome::Failed, Ordering::AcqRel);
                    Some(report)
                }));
                waiting.push(slot);
            }
        }
        let busy = !runs.is_empty();
        let reports: Vec<_> = stream::iter(runs)
            .buffered(request.concurrency)
            .collect()
            .await;
        for (slot, report) in waiting.into_iter().zip(reports) {
            if let Some(report) = report {
                *slot = report;
            }
        }
        busy
    }

    async fn run_member(
        &self,
        work: &Work<'_>,
        member: &Member<'_>,
        prospect: &Prospect,
        report: MemberReport,
    ) -> MemberReport {
        let covered = prospect.digest.as_deref();
        let ran = match work {
            Work::Apply {
                release,
                retention,
                on_failure,
            } => {
                let request = ApplyRequest {
                    source: member.source,
                    plan_digest: covered.filter(|_| prospect.plan.is_some()),
                    release: *release,
                    hooks: member.hooks,
                    covered,
                    retention: *retention,
                    on_failure: *on_failure,
                };
                let applied = Box::pin(apply(*self, request)).await;
                applied.map(|applied| (applied.head, versions(&applied.migrations)))
            }
            Work::Rollback { goal } => {
                let request = RollbackRequest {
                    goal: (*goal).clone(),
                    hooks: member.hooks,
                    covered,
                };
                let reverted = Box::pin(rollback(*self, request)).await;
                reverted.map(|done| (done.head, versions(&done.reverted)))
            }
        };
        match ran {
            Ok((head, versions)) => MemberReport {
                outcome: Outcome::Completed,
                head,
                versions,
                ..report
            },
            Err(SkillError::ApprovalRequired { .. }) => MemberReport {
                outcome: Outcome::Failed,
                error: Some("its plan changed since the fleet was planned".into()),
                ..report
            },
            Err(error) => MemberReport {
                outcome: Outcome::Failed,
                error: Some(error.to_string()),
                ..report
            },
        }
    }
}

fn versions(migrations: &[MigrationRecord]) -> Vec<String> {
    let versions = migrations.iter().map(|one| one.version.to_string());
    versions.collect()
}
