//! Completes expanded migrations: the contract is a migration of its own, proven, approved and run like any other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use shared::SkillError;

use super::{
    EngineError, Goal, Job,
    apply::Applied,
    facts,
    online::{Work, at_once},
    own::Errand,
    parts::{self, Expanded},
};
use crate::{
    clients::Session,
    domain::{
        Migration, MigrationState, Plan, Version,
        expand::{Change, ColumnFacts, own_script, swap},
        plan::Parts,
        sha256_hex,
        source::Script,
        staging::Retention,
        statement::classify,
    },
};

/// What a caller wants completed.
#[derive(Debug)]
pub struct CompleteRequest<'a> {
    /// Up to which version or release; everything when absent.
    pub goal: Option<Goal>,
    /// The plan that the caller saw; any plan when absent.
    pub plan_digest: Option<&'a str>,
    /// How long the old form is kept.
    pub retention: Retention,
    /// Drop everything that is retained, also before the end of its window.
    pub purge: bool,
}

/// What was completed.
#[derive(Debug)]
pub struct Completed {
    /// The contracts that this run applied.
    pub applied: Applied,
    /// What was dropped for good.
    pub purged: Vec<String>,
}

/// Proves the contracts of expanded migrations without changing the database.
///
/// # Errors
/// `Failed` while a backfill is not done or when a contract cannot be applied; as [`super::plan`] otherwise.
pub async fn plan_contracts(
    job: Job<'_>,
    request: &CompleteRequest<'_>,
) -> Result<Plan, SkillError> {
    let mut session = job.connect().await?;
    let plan = job.contracts(session.as_mut(), request).await;
    job.close(session).await;
    plan
}

/// Runs the contracts of expanded migrations. A task that runs again after a crash continues its own run.
///
/// # Errors
/// As [`plan_contracts`]; `ApprovalRequired` outside `dev`, for every contract that is not proven, and for every purge
/// before the end of a window; `Canceled` between two statements.
pub async fn complete(job: Job<'_>, request: CompleteRequest<'_>) -> Result<Completed, SkillError> {
    job.as_owner(request).await
}

#[async_trait]
impl Errand for CompleteRequest<'_> {
    type Done = Completed;

    async fn run(&self, job: &Job<'_>, session: &mut dyn Session) -> Result<Completed, SkillError> {
        job.refuse_superuser(session).await?;
        job.complete_locked(session, self).await
    }
}

impl Job<'_> {
    async fn complete_locked(
        &self,
        session: &mut dyn Session,
        request: &CompleteRequest<'_>,
    ) -> Result<Completed, SkillError> {
        if !self.has_ledger(session).await? {
            return Err(SkillError::failed(
                "nothing was applied to this database yet",
            ));
        }
        let own = self.own_run(session).await?;
        if own
            .as_ref()
            .is_some_and(|own| own.outcome.as_deref() == Some("completed"))
        {
            let digest = own.map(|own| own.plan_digest).unwrap_or_default();
            return self.completed(session, None, digest, Vec::new()).await;
        }
        self.finish_interrupted(session).await?;
        if let Some(own) = own.filter(|own| own.outcome.is_none()) {
            self.run_contracts(session, None).await?;
            let purged = self.purge(session, request.purge).await?;
            self.finish_run(session, "completed", None).await?;
            return self.completed(session, None, own.plan_digest, purged).await;
        }
        self.run_backfills(session).await?;
        let plan = self.contracts(session, request).await?;
        let digest = if request.purge {
            sha256_hex(&format!("purge/{}", plan.digest()))
        } else {
            plan.digest()
        };
        if let Some(seen) = request
            .plan_digest
            .filter(|seen| *seen != plan.digest() && *seen != digest)
        {
            return Err(SkillError::rejected(
                "plan_digest",
                format!("{}, the digest of the plan as it is now", plan.digest()),
                seen,
            ));
        }
        let works = !plan.migrations.is_empty();
        if request.purge {
            let summary = format!(
                "completing {} and dropping for good everything that is retained",
                self.database.name
            );
            self.context.require_approval(&digest, summary)?;
        } else if works && (!self.database.dev || !plan.refusals().is_empty()) {
            self.context.require_approval(&digest, plan.summary())?;
        }
        self.record_kind(
            session,
            "complete",
            &plan,
            (&digest, None, request.retention),
        )
        .await?;
        self.run_contracts(session, Some(&plan)).await?;
        let purged = self.purge(session, request.purge).await?;
        self.finish_run(session, "completed", None).await?;
        self.completed(session, Some(plan), digest, purged).await
    }

    async fn completed(
        &self,
        session: &mut dyn Session,
        plan: Option<Plan>,
        digest: String,
        purged: Vec<String>,
    ) -> Result<Completed, SkillError> {
        let end = self.end(session).await?;
        Ok(Completed {
            applied: self.report(end, plan, digest, Vec::new()),
            purged,
        })
    }

    /// The contracts that are due, proven.
    async fn contracts(
        &self,
        session: &mut dyn Session,
        request: &CompleteRequest<'_>,
    ) -> Result<Plan, SkillError> {
        let due = self.due(session, request.goal.as_ref()).await?;
        let mut works = Vec::new();
        for expanded in &due {
            let work = self
                .contract_of(session, expanded)
                .await
                .map_err(|error| error.into_skill(self))?;
            works.push(work);
        }
        self.plan_works(session, works, request.retention).await
    }

    /// Expanded migrations up to the goal whose backfill is done.
    async fn due(
        &self,
        session: &mut dyn Session,
        goal: Option<&Goal>,
    ) -> Result<Vec<Expanded>, SkillError> {
        let migrations = self.migrations(session).await?;
        let until = match goal {
            None => None,
            Some(goal) => Some(self.target(session, goal).await?),
        };
        let completed = migrations
            .iter()
            .filter(|migration| migration.state == MigrationState::Applied)
            .filter_map(|migration| migration.version.contracted())
            .collect::<Vec<_>>();
        let expanded = self.reading(parts::expanded(session)).await?;
        let mut due = Vec::new();
        for one in expanded
            .into_iter()
            .filter(|one| one.expansion.has_contract())
        {
            let version = Version::recorded(one.version.clone());
            if completed.contains(&version) || until.as_ref().is_some_and(|until| version > *until)
            {
                continue;
            }
            let backfills = self
                .reading(parts::backfills(session, Some(one.sequence)))
                .await?;
            if let Some(open) = backfills.iter().find(|backfill| backfill.state != "done") {
                return Err(SkillError::failed(format!(
                    "{} {} cannot be completed: its backfill has written {} of about {} rows; apply_migration or complete_migration \
                     without dry_run continues it",
                    one.version, one.name, open.rows_done, open.rows_total
                )));
            }
            due.push(one);
        }
        Ok(due)
    }

    /// The contract as a migration, with facts as they are now.
    async fn contract_of(
        &self,
        session: &mut dyn Session,
        expanded: &Expanded,
    ) -> Result<Work, EngineError> {
        let version = Version::recorded(expanded.version.clone()).contract();
        let (mut up, mut down, mut retained) = (Vec::new(), Vec::new(), Vec::new());
        for change in &expanded.expansion.changes {
            let facts = changed_column(session, expanded, change).await?;
            let contract = swap::contract(change, &facts, version.as_str());
            up.extend(contract.up);
            down.splice(0..0, contract.down);
            retained.extend(contract.retained);
        }
        let (up, down) = if up.is_empty() {
            let authored = &expanded.expansion;
            let back = authored.contract_down.as_ref();
            (
                script(&authored.contract, session)?,
                back.map(|down| script(down, session)).transpose()?,
            )
        } else {
            (own_script(up), Some(own_script(down)))
        };
        let checksum = sha256_hex(&Script::of(up.statements.clone()).text);
        Ok(Work {
            migration: Migration {
                version,
                name: expanded.name.clone(),
                checksum,
                up,
                down,
                contract: None,
                contract_down: None,
                backfill: None,
                original: String::new(),
                may_run_late: false,
            },
            parts: Parts {
                retained,
                ..Parts::default()
            },
            back: BTreeMap::new(),
            authored: None,
        })
    }
}

/// What hangs on a column that exists twice, right before the contract.
async fn changed_column(
    session: &mut dyn Session,
    expanded: &Expanded,
    change: &Change,
) -> Result<ColumnFacts, EngineError> {
    let refused = |reason: String| {
        EngineError::Skill(SkillError::failed(format!(
            "{} {} cannot be completed: {reason}",
            expanded.version, expanded.name
        )))
    };
    let column = change.old.trim_matches('"').replace("\"\"", "\"");
    let facts = facts::column(session, &change.table, &column).await?;
    let facts = facts.ok_or_else(|| refused(format!("{}.{} is gone", change.table, change.old)))?;
    if facts.obstacles.is_empty() {
        Ok(facts)
    } else {
        Err(refused(facts.obstacles.join("; ")))
    }
}

/// Statements of the ledger as a script that runs like a file.
fn script(texts: &[String], session: &dyn Session) -> Result<Script, EngineError> {
    let mut script = at_once(Vec::new());
    for text in texts {
        let statement = classify(text.clone(), session.dialect())
            .map_err(|error| EngineError::Skill(SkillError::failed(error.to_string())))?;
        script.statements.push(statement);
    }
    script.text = texts.join(";\n");
    Ok(script)
}
