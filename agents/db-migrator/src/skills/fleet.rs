//! Requests that name a fleet instead of a database.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, SkillError};

use super::{
    hooks::{checked, stays_at_home},
    parts::{Decision, MigrationSource, PlanReport, Workbench},
};
use crate::{
    clients::Database,
    domain::{
        Dialect, Migration, Risk,
        fleet::{FleetReport, Outcome},
        hooks::{Hook, HookSpec},
        sha256_hex,
        staging::Retention,
    },
    engine::{self, FailedScript, FleetPlan, FleetRequest, Goal, Job, Member, Work},
};

/// Members of a wave that run at the same time, unless the request says otherwise.
const CONCURRENCY: u32 = 4;
/// Most that it may say: each holds two connections and a shadow.
const MAX_CONCURRENCY: u32 = 32;
/// Longest pause between two waves, in seconds: the longest run of a task is 30 minutes.
const MAX_SOAK: u32 = 600;

/// How a fleet is walked through.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Members of a wave that run at the same time; default 4, at most 32.
    pub concurrency: Option<u32>,
    /// Pause after each wave in seconds, before its `after_wave` hooks; default 0, at most 600.
    pub soak_seconds: Option<u32>,
}

impl Pace {
    fn checked(self) -> Result<(usize, Duration), SkillError> {
        let concurrency = self.concurrency.unwrap_or(CONCURRENCY);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            let got = concurrency.to_string();
            return Err(SkillError::rejected("pace.concurrency", "1 to 32", got));
        }
        let soak = self.soak_seconds.unwrap_or(0);
        if soak > MAX_SOAK {
            let got = soak.to_string();
            return Err(SkillError::rejected("pace.soak_seconds", "0 to 600", got));
        }
        Ok((concurrency as usize, Duration::from_secs(soak.into())))
    }
}

/// A fleet's members with what is done to them, once for each dialect.
pub(super) struct FleetWork<'a> {
    name: &'a str,
    members: Vec<Database>,
    by_dialect: BTreeMap<&'static str, (Vec<Migration>, Vec<Hook>)>,
    concurrency: usize,
    soak: Duration,
}

impl<'a> FleetWork<'a> {
    /// Reads source and hooks for every dialect of the members.
    pub(super) async fn read(
        (bench, context): (&Workbench, &Context),
        (name, members): (&'a str, Vec<Database>),
        source: Option<MigrationSource>,
        hooks: Vec<HookSpec>,
        pace: Option<Pace>,
    ) -> Result<Self, SkillError> {
        let (concurrency, soak) = pace.unwrap_or_default().checked()?;
        let mut by_dialect: BTreeMap<_, (Vec<Migration>, Vec<Hook>)> = BTreeMap::new();
        for member in &members {
            let dialect = member.target.dialect();
            if let Some((_, hooks)) = by_dialect.get(dialect.name()) {
                stays_at_home(hooks, member)?;
                continue;
            }
            let read = if let Some(source) = &source {
                bench
                    .read_hooked(context, source.clone(), member, hooks.clone())
                    .await?
            } else {
                let outlets = member.desk.outlets();
                (Vec::new(), checked(&[], hooks.clone(), dialect, outlets)?)
            };
            stays_at_home(&read.1, member)?;
            by_dialect.insert(dialect.name(), read);
        }
        Ok(Self {
            name,
            members,
            by_dialect,
            concurrency,
            soak,
        })
    }

    fn request<'b>(&'b self, work: Work<'b>, plan_digest: Option<&'b str>) -> FleetRequest<'b> {
        let members = self.members.iter().map(|database| {
            let read = self.by_dialect.get(database.target.dialect().name());
            Member {
                database,
                source: read.map_or(&[], |(source, _)| source),
                hooks: read.map_or(&[], |(_, hooks)| hooks),
            }
        });
        FleetRequest {
            name: self.name,
            members: members.collect(),
            work,
            plan_digest,
            concurrency: self.concurrency,
            soak: self.soak,
        }
    }

    fn job<'b>(
        &'b self,
        bench: &'b Workbench,
        context: &'b Context,
    ) -> Result<Job<'b>, SkillError> {
        self.members
            .first()
            .map(|database| bench.job(context, database))
            .ok_or_else(|| SkillError::rejected("fleet", "a fleet with members", self.name))
    }

    /// The plan of the whole fleet, without changing any member.
    pub(super) async fn plan(
        &self,
        bench: &Workbench,
        context: &Context,
        work: Work<'_>,
    ) -> Result<FleetPlan, SkillError> {
        let request = self.request(work, None);
        Box::pin(engine::plan_fleet(self.job(bench, context)?, &request)).await
    }

    /// Carries it out.
    pub(super) async fn run(
        &self,
        bench: &Workbench,
        context: &Context,
        (work, plan_digest): (Work<'_>, Option<&str>),
    ) -> Result<FleetReport, SkillError> {
        let request = self.request(work, plan_digest);
        Box::pin(engine::run_fleet(self.job(bench, context)?, request)).await
    }

    /// A fleet's plan in the form of a database's.
    pub(super) fn report(&self, plan: FleetPlan) -> PlanReport {
        let FleetPlan {
            report,
            warnings,
            first,
        } = plan;
        let dialect = self.members.first().map(|first| first.target.dialect());
        let some = report
            .members
            .iter()
            .any(|one| one.outcome == Outcome::Planned);
        let first = first.map(|first| PlanReport::new(&first, warnings.is_empty()));
        let refused = first
            .as_ref()
            .is_some_and(|first| first.decision == Decision::Refused);
        PlanReport {
            adoption: None,
            database: report.fleet.clone(),
            dialect: dialect.unwrap_or(Dialect::Postgres),
            decision: match (some, refused) {
                (false, _) => Decision::UpToDate,
                (true, false) => Decision::Accepted,
                (true, true) => Decision::Refused,
            },
            refusals: first
                .as_ref()
                .map_or_else(Vec::new, |first| first.refusals.clone()),
            approval_needed: !warnings.is_empty(),
            plan_digest: report.plan_digest.clone(),
            fingerprint: fingerprint(&report),
            risk: first.as_ref().map_or(Risk::Low, |first| first.risk),
            hooks: first
                .as_ref()
                .map_or_else(Vec::new, |first| first.hooks.clone()),
            migrations: first.map_or_else(Vec::new, |first| first.migrations),
            fleet: Some(report),
        }
    }
}

/// One text for where all members stand.
pub(super) fn fingerprint(report: &FleetReport) -> String {
    let heads = report.members.iter().map(|member| {
        let head = member.head.as_deref().unwrap_or("0");
        format!("{}={head}", member.database)
    });
    sha256_hex(&heads.collect::<Vec<_>>().join("\n"))
}

/// Apply with this release, and keep what it takes away for so long.
pub(super) const fn applying(
    release: Option<&str>,
    retention: Retention,
    on_failure: FailedScript,
) -> Work<'_> {
    Work::Apply {
        release,
        retention,
        on_failure,
    }
}

/// Roll back to this goal.
pub(super) const fn reverting(goal: &Goal) -> Work<'_> {
    Work::Rollback { goal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_pace_out_of_bounds() {
        let field = |concurrency, soak_seconds| {
            let pace = Pace {
                concurrency,
                soak_seconds,
            };
            match pace.checked() {
                Err(SkillError::Rejected { field, .. }) => field,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(field(Some(0), None), "pace.concurrency");
        assert_eq!(field(Some(33), None), "pace.concurrency");
        assert_eq!(field(None, Some(601)), "pace.soak_seconds");
        assert_eq!(field(None, None), "Ok((4, 0ns))");
    }
}
