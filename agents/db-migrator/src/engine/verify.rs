//! Reads whether a database is as its ledger says, and replays the ledger to name what differs.

use shared::{SkillError, ToolCall};

use super::{Job, ledger, shadow::run_texts};
use crate::{
    clients::{Session, Shadow, TargetError},
    domain::{
        Catalog, Dialect, Direction, Migration, MigrationState,
        catalog::Difference,
        drift::{Facts, Finding, Rights, SchemaState, judge},
        pending::pending,
    },
};

/// Names that one question lists.
const LISTED: usize = 20;

/// What was found.
#[derive(Debug)]
pub struct Verified {
    /// The answer.
    pub state: SchemaState,
    /// The evidence beside the catalog.
    pub findings: Vec<Finding>,
    /// What leads from the catalog of the ledger to that of the database; absent when it could not be found out.
    pub differences: Option<Vec<Difference>>,
    /// Why the differences could not be found out.
    pub unknown: Option<String>,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// Fingerprint that the last run left.
    pub expected: Option<String>,
    /// The role's rights; absent for SQLite.
    pub rights: Option<Rights>,
    /// Versions of the source that are not in force.
    pub pending: Vec<String>,
    /// Why the source does not continue what the database has.
    pub conflict: Option<String>,
}

/// Verifies a database without changing it and without its lock.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn verify(job: Job<'_>, source: &[Migration]) -> Result<Verified, SkillError> {
    let mut session = job.connect().await?;
    let verified = job.verify_with(session.as_mut(), source).await;
    job.close(session).await;
    verified
}

impl Job<'_> {
    async fn verify_with(
        &self,
        session: &mut dyn Session,
        source: &[Migration],
    ) -> Result<Verified, SkillError> {
        let (facts, live) = self
            .reading(facts(session, self.database.superuser))
            .await?;
        let (state, findings) = judge(&facts);
        let changed = facts
            .expected
            .as_ref()
            .is_some_and(|it| *it != facts.fingerprint);
        let (differences, unknown) = if changed {
            let call = ToolCall::read(session.dialect().prove_action(), [self.resource()]);
            let replayed = async { Ok(self.replayed(session, &facts).await) };
            match self.context.tool(call, replayed).await? {
                Ok(expected) => (Some(expected.differences(&live)), None),
                Err(why) => (None, Some(why)),
            }
        } else {
            (Some(Vec::new()), None)
        };
        let (missing, conflict) = match pending(source, &facts.migrations) {
            Ok(missing) => (missing, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Ok(Verified {
            state,
            findings,
            differences,
            unknown,
            pending: missing.iter().map(|one| one.version.to_string()).collect(),
            conflict,
            fingerprint: facts.fingerprint,
            expected: facts.expected,
            rights: facts.rights,
        })
    }

    /// The catalog to which the migrations in force lead on an empty shadow; else why that is not known.
    async fn replayed(&self, live: &mut dyn Session, facts: &Facts) -> Result<Catalog, String> {
        let target = &self.database.target;
        let shadow = target.shadow(Shadow::Empty, self.run(), live).await;
        let mut shadow = shadow.map_err(|error| error.to_string())?;
        let replayed = async {
            for migration in &facts.migrations {
                if migration.state == MigrationState::Applied {
                    let steps = ledger::steps(live, migration.sequence, Direction::Up).await?;
                    let texts: Vec<_> = steps.iter().map(|step| step.text.as_str()).collect();
                    run_texts(shadow.as_mut(), &texts, migration.atomic.0).await?;
                }
            }
            shadow.catalog().await
        };
        let replayed = replayed.await;
        self.close(shadow).await;
        let catalog = replayed.map_err(|error| error.to_string())?;
        if facts.expected.as_ref() == Some(&catalog.fingerprint()) {
            return Ok(catalog);
        }
        Err("the migrations of the ledger do not lead to the catalog that the last run left: the schema did not begin empty".into())
    }

    /// Refuses to apply migrations as a superuser, whom no right and no policy stops.
    pub(super) async fn refuse_superuser(
        &self,
        session: &mut dyn Session,
    ) -> Result<(), SkillError> {
        if self.database.dev || self.database.superuser || session.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let superuser = flag(
            session,
            "SELECT rolsuper::int::bigint FROM pg_roles WHERE rolname = session_user",
        );
        if superuser.await.map_err(|error| self.skill(error))? {
            return Err(SkillError::Denied(format!(
                "the role of database {} is a superuser: use one of its own (README, Permissions), or say superuser=allow in its specification",
                self.database.name
            )));
        }
        Ok(())
    }
}

async fn flag(session: &mut dyn Session, sql: &str) -> Result<bool, TargetError> {
    let rows = session.query(sql, &[]).await?;
    let row = rows.first().ok_or(TargetError::Unreadable("a row"))?;
    Ok(row.integer(0)? > 0)
}

async fn names(session: &mut dyn Session, sql: &str) -> Result<Vec<String>, TargetError> {
    let rows = session
        .query(&format!("{sql} ORDER BY 1 LIMIT {LISTED}"), &[])
        .await?;
    rows.iter().map(|row| row.text(0)).collect()
}

async fn facts(
    session: &mut dyn Session,
    superuser_allowed: bool,
) -> Result<(Facts, Catalog), TargetError> {
    let catalog = session.catalog().await?;
    let mut facts = Facts {
        fingerprint: catalog.fingerprint(),
        superuser_allowed,
        ..Facts::default()
    };
    if ledger::exists(session).await? {
        facts.managed = true;
        facts.migrations = ledger::migrations(session).await?;
        facts.runs = ledger::runs(session).await?;
        let mut left = facts.runs.iter().rev();
        facts.expected = left.find_map(|run| run.fingerprint.clone());
    }
    if session.dialect() == Dialect::Postgres {
        read_server(session, &mut facts).await?;
    }
    Ok((facts, catalog))
}

/// The schemas of a whole database.
const OURS: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'";

async fn read_server(session: &mut dyn Session, facts: &mut Facts) -> Result<(), TargetError> {
    let ours = session.tenant().map_or_else(
        || OURS.to_owned(),
        |tenant| format!("n.nspname = {}", tenant.literal()),
    );
    let indexes = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND {ours}"
    );
    facts.invalid_indexes = names(session, &indexes).await?;
    let constraints = format!(
        "SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT k.convalidated AND {ours}"
    );
    facts.unvalidated = names(session, &constraints).await?;
    let detaching = format!(
        "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE inhdetachpending AND {ours}"
    );
    facts.detaching = names(session, &detaching).await?;
    let version = "SELECT current_setting('server_version_num')::bigint";
    facts.server = session
        .query(version, &[])
        .await?
        .first()
        .map(|row| row.integer(0))
        .transpose()?;
    for _ in 0..2 {
        let rows = session
            .query("SELECT pg_backend_pid()::bigint", &[])
            .await?;
        let backend = rows.first().map(|row| row.integer(0)).transpose()?;
        facts.pooled |= backend != Some(session.backend());
    }
    facts.rights = Some(rights(session, &ours).await?);
    Ok(())
}

async fn rights(session: &mut dyn Session, ours: &str) -> Result<Rights, TargetError> {
    const ROLE: &str = "SELECT current_user::text, rolsuper::int::bigint, (rolsuper OR rolcreatedb)::int::bigint, \
        has_database_privilege(current_database(), 'CREATE')::int::bigint FROM pg_roles WHERE rolname = session_user";
    let rows = session.query(ROLE, &[]).await?;
    let row = rows.first().ok_or(TargetError::Unreadable("a role"))?;
    let foreign = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE') AND {ours}"
    );
    let foreign_tables = names(session, &foreign).await?;
    Ok(Rights {
        role: row.text(0)?,
        superuser: row.integer(1)? > 0,
        creates_databases: row.integer(2)? > 0,
        creates_schemas: row.integer(3)? > 0,
        foreign_tables,
    })
}
