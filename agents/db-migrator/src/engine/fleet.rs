//! Carries one plan through a fleet, wave by wave. The ledger of each member says what is left to do, so the same call
//! goes on where an earlier one stopped.

mod waves;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream};
use shared::SkillError;

use super::{FailedScript, Goal, Job, assess_rollback, ledger, plan};
use crate::{
    clients::Database,
    domain::{
        Answer, Assessment, Migration, MigrationState, Plan,
        fleet::{self, FleetReport, MemberPlan, MemberReport, Outcome},
        hooks::{self, Hook, RunKind},
        staging::Retention,
    },
};

/// One database of a fleet, with the source in its dialect.
#[derive(Debug)]
pub struct Member<'a> {
    /// The database.
    pub database: &'a Database,
    /// The migrations; empty for a rollback.
    pub source: &'a [Migration],
    /// The hooks.
    pub hooks: &'a [Hook],
}

/// What is done to all of them.
#[derive(Debug)]
pub enum Work<'a> {
    /// Applies the members' sources.
    Apply {
        /// The release that they come with.
        release: Option<&'a str>,
        /// How long what the migrations take away is kept.
        retention: Retention,
        /// What becomes of a script that fails half way.
        on_failure: FailedScript,
    },
    /// Rolls them back.
    Rollback {
        /// Where to.
        goal: &'a Goal,
    },
}

/// A call for a fleet.
#[derive(Debug)]
pub struct FleetRequest<'a> {
    /// The fleet's name.
    pub name: &'a str,
    /// Its members in the order of the waves.
    pub members: Vec<Member<'a>>,
    /// What is done.
    pub work: Work<'a>,
    /// Digest of the fleet plan that the caller saw; any when absent.
    pub plan_digest: Option<&'a str>,
    /// Members of a wave that run at the same time.
    pub concurrency: usize,
    /// Pause after each wave, before its hooks.
    pub soak: Duration,
}

impl Work<'_> {
    const fn kind(&self) -> RunKind {
        match self {
            Self::Apply { .. } => RunKind::Apply,
            Self::Rollback { .. } => RunKind::Rollback,
        }
    }
}

/// What a member would do.
#[derive(Debug, Default)]
struct Prospect {
    digest: Option<String>,
    versions: Vec<String>,
    head: Option<String>,
    /// Why a person must look at it.
    warning: Option<String>,
    /// How its run of this very task ended before a restart.
    ended: Option<String>,
    plan: Option<Plan>,
}

/// A fleet's plan: the report, and the plan of the first member that has one.
#[derive(Debug)]
pub struct FleetPlan {
    /// Its members.
    pub report: FleetReport,
    /// Why a person must look at it, a sentence a member.
    pub warnings: Vec<String>,
    /// The plan of the first member that has something to do.
    pub first: Option<Plan>,
}

/// Plans for every member, without changing any.
///
/// # Errors
/// As [`super::plan`] and [`super::assess_rollback`], with the member's name.
pub async fn plan_fleet(job: Job<'_>, request: &FleetRequest<'_>) -> Result<FleetPlan, SkillError> {
    let prospects = job.prospects(request).await?;
    let digest = request.digest(&prospects);
    let reports = |outcome: fn(&Prospect) -> Outcome| request.reports(&prospects, outcome);
    let members = reports(|prospect| {
        if prospect.digest.is_some() {
            Outcome::Planned
        } else {
            Outcome::UpToDate
        }
    });
    Ok(FleetPlan {
        report: FleetReport {
            fleet: request.name.to_owned(),
            plan_digest: digest,
            waves: fleet::waves(members.len()).len(),
            complete: members
                .iter()
                .all(|member| member.outcome == Outcome::UpToDate),
            stopped: None,
            members,
        },
        warnings: prospects
            .iter()
            .filter_map(|one| one.warning.clone())
            .collect(),
        first: prospects.into_iter().find_map(|one| one.plan),
    })
}

/// Carries it out. A member that fails ends the call after the members that run beside it.
///
/// # Errors
/// `ApprovalRequired` once for the whole fleet; `Rejected` when the plan is not the one that was seen; as [`plan_fleet`].
pub async fn run_fleet(job: Job<'_>, request: FleetRequest<'_>) -> Result<FleetReport, SkillError> {
    let prospects = job.prospects(&request).await?;
    let digest = request.digest(&prospects);
    if let Some(seen) = request.plan_digest.filter(|seen| *seen != digest) {
        let expected = format!("{digest}, the digest of the fleet's plan as it is now");
        return Err(SkillError::rejected("plan_digest", expected, seen));
    }
    let warnings: Vec<_> = prospects
        .iter()
        .filter_map(|one| one.warning.as_deref())
        .collect();
    if !warnings.is_empty() {
        let summary = format!(
            "{} of fleet {}, {} databases ({})",
            request.work.kind().name(),
            request.name,
            prospects.iter().filter(|one| one.digest.is_some()).count(),
            warnings
                .iter()
                .take(3)
                .copied()
                .collect::<Vec<_>>()
                .join("; ")
        );
        job.context.require_approval(&digest, summary)?;
    }
    let mut members = request.reports(&prospects, |prospect| match &prospect.ended {
        Some(word) if word == "completed" => Outcome::Completed,
        Some(_) => Outcome::Failed,
        None if prospect.digest.is_none() => Outcome::UpToDate,
        None => Outcome::NotStarted,
    });
    let stopped = job.run_waves(&request, &prospects, &mut members).await;
    let done =
        |member: &MemberReport| matches!(member.outcome, Outcome::Completed | Outcome::UpToDate);
    Ok(FleetReport {
        fleet: request.name.to_owned(),
        plan_digest: digest,
        waves: fleet::waves(members.len()).len(),
        complete: members.iter().all(done),
        stopped,
        members,
    })
}

impl FleetRequest<'_> {
    fn digest(&self, prospects: &[Prospect]) -> String {
        let members = self.members.iter().zip(prospects);
        let plans: Vec<_> = members
            .map(|(member, prospect)| MemberPlan {
                database: member.database.name.clone(),
                plan_digest: prospect.digest.clone(),
            })
            .collect();
        fleet::digest(self.name, self.work.kind().name(), &plans)
    }

    fn reports(
        &self,
        prospects: &[Prospect],
        outcome: impl Fn(&Prospect) -> Outcome,
    ) -> Vec<MemberReport> {
        let waves = fleet::waves(self.members.len());
        let wave_of = |at: usize| waves.iter().position(|wave| wave.contains(&at));
        let all = self.members.iter().zip(prospects).enumerate();
        all.map(|(at, (member, prospect))| {
            let outcome = outcome(prospect);
            MemberReport {
                database: member.database.name.clone(),
                wave: wave_of(at).map_or(0, |wave| wave + 1),
                outcome,
                head: prospect.head.clone(),
                versions: prospect.versions.clone(),
                plan_digest: prospect.digest.clone(),
                error: (outcome == Outcome::Failed)
                    .then(|| "its run of this task failed before a restart".to_owned()),
            }
        })
        .collect()
    }
}

impl<'a> Job<'a> {
    fn of<'b>(&self, database: &'b Database) -> Job<'b>
    where
        'a: 'b,
    {
        Job { database, ..*self }
    }

    async fn prospects(&self, request: &FleetRequest<'_>) -> Result<Vec<Prospect>, SkillError> {
        let done = AtomicUsize::new(0);
        let total = request.members.len();
        let looked = request.members.iter().map(|member| {
            let (job, done) = (self.of(member.database), &done);
            let looked: BoxFuture<'_, _> = Box::pin(async move {
                job.context.check_canceled()?;
                let prospect = job.prospect(member, &request.work).await;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                job.context.progress(
                    &format!("planned {}", member.database.name),
                    done as u64,
                    total as u64,
                );
                prospect.map_err(|error| named(&member.database.name, error))
            });
            looked
        });
        let looked: Vec<_> = looked.collect();
        let all: Vec<_> = stream::iter(looked)
            .buffered(request.concurrency)
            .collect()
            .await;
        all.into_iter().collect()
    }

    async fn prospect(&self, member: &Member<'_>, work: &Work<'_>) -> Result<Prospect, SkillError> {
        let (own, head, applied) = self.standing().await?;
        let head = head.filter(|_| !applied.is_empty());
        // A run of this very task was approved with the fleet's digest, of which its recorded digest is a part.
        if let Some(own) = own {
            return Ok(Prospect {
                digest: Some(own.plan_digest),
                versions: applied
                    .into_iter()
                    .filter(|(_, run)| *run == own.id)
                    .map(|(version, _)| version)
                    .collect(),
                head,
                ended: own.outcome,
                ..Prospect::default()
            });
        }
        match work {
            Work::Apply { retention, .. } => {
                let mut plan = Box::pin(plan(*self, member.source, *retention)).await?;
                plan.hooks = member.hooks.to_vec();
                let some = !plan.migrations.is_empty();
                let wants_person = some && (!self.database.dev || !plan.refusals().is_empty());
                Ok(Prospect {
                    digest: some.then(|| plan.digest()),
                    versions: plan
                        .migrations
                        .iter()
                        .map(|one| one.version.to_string())
                        .collect(),
                    head,
                    warning: wants_person.then(|| plan.summary()),
                    ended: None,
                    plan: some.then_some(plan),
                })
            }
            Work::Rollback { .. } if applied.is_empty() => Ok(Prospect::default()),
            Work::Rollback { goal } => {
                let assessment = assess_rollback(*self, goal).await?;
                Ok(self.rollback_prospect(member, assessment, head))
            }
        }
    }

    fn rollback_prospect(
        &self,
        member: &Member<'_>,
        assessment: Assessment,
        head: Option<String>,
    ) -> Prospect {
        let some = !assessment.reverts.is_empty();
        let wants_person = some && !self.is_free(&assessment, member.hooks);
        let lossy = assessment.answer != Answer::Reversible;
        let warning = format!(
            "reverting database {}{}",
            self.database.name,
            if lossy {
                ": past the point of no return"
            } else {
                ""
            }
        );
        Prospect {
            digest: some.then(|| hooks::digest(assessment.plan_digest, member.hooks)),
            versions: assessment
                .reverts
                .into_iter()
                .map(|revert| revert.version)
                .collect(),
            head,
            warning: wants_person.then_some(warning),
            ..Prospect::default()
        }
    }

    /// This task's own run, the head, and the versions in force with their runs.
    async fn standing(&self) -> Result<Standing, SkillError> {
        let mut session = self.connect().await?;
        let read = async {
            if !ledger::exists(session.as_mut()).await? {
                return Ok((None, None, Vec::new()));
            }
            let own = ledger::run(session.as_mut(), self.run()).await?;
            let migrations = ledger::migrations(session.as_mut()).await?;
            let head = super::recover::head(&migrations);
            let applied = migrations
                .into_iter()
                .filter(|migration| migration.state == MigrationState::Applied)
                .map(|migration| (migration.version.to_string(), migration.run));
            Ok((own, head, applied.collect()))
        };
        let standing = self.reading(read).await;
        self.close(session).await;
        standing
    }
}

type Standing = (
    Option<crate::domain::RunRecord>,
    Option<String>,
    Vec<(String, String)>,
);

/// The error with the member's name in front.
fn named(database: &str, error: SkillError) -> SkillError {
    match error {
        SkillError::Rejected {
            field,
            expected,
            got,
        } => SkillError::rejected(field, expected, format!("{got} (database {database})")),
        error @ (SkillError::Canceled | SkillError::Unavailable { .. } | SkillError::Denied(_)) => {
            error
        }
        other => SkillError::failed(format!("{database}: {other}")),
    }
}
