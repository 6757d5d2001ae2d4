//! What a tenant's run must leave alone, and which tenants a database has.

use shared::SkillError;

use super::Job;
use crate::{
    clients::{Session, TargetError},
    domain::{
        Migration, Tenant,
        source::Script,
        tenant::{Reach, reach},
    },
};

/// Schemas in the order of their names, which the server's own collation would not keep everywhere.
const SCHEMAS: &str = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname LIKE $1 AND nspname !~ '^pg_(toast|temp)' ORDER BY nspname";

/// The schemas of a database that are like a pattern of SQL and can be a tenant's.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn tenants(job: Job<'_>, like: &str) -> Result<Vec<String>, SkillError> {
    let mut session = job.connect().await?;
    let found = job.reading(schemas(session.as_mut(), like)).await;
    job.close(session).await;
    let fits = |schema: &String| Tenant::new(schema).is_ok();
    Ok(found?.into_iter().filter(fits).collect())
}

async fn schemas(session: &mut dyn Session, like: &str) -> Result<Vec<String>, TargetError> {
    let rows = session.query(SCHEMAS, &[like.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

impl Job<'_> {
    /// Refuses what reaches beyond the tenant's schema, before anything is proven.
    pub(super) async fn refuse_reach(
        &self,
        session: &mut dyn Session,
        migrations: impl Iterator<Item = &Migration> + Send,
    ) -> Result<(), SkillError> {
        let Some(tenant) = session.tenant().cloned() else {
            return Ok(());
        };
        let others = self.reading(schemas(session, "%")).await?;
        for migration in migrations {
            if let Some((place, reach)) = reached(migration, &tenant, &others) {
                return Err(SkillError::rejected(
                    "source",
                    "SQL that stays in the schema of one tenant",
                    format!("{} {}, {place}: {reach}", migration.version, migration.name),
                ));
            }
        }
        Ok(())
    }
}

/// The first statement of a migration that reaches beyond its tenant, and where it stands.
fn reached(migration: &Migration, tenant: &Tenant, others: &[String]) -> Option<(String, Reach)> {
    let parts = [
        ("up", Some(&migration.up)),
        ("down", migration.down.as_ref()),
        ("contract", migration.contract.as_ref()),
        ("down of the contract", migration.contract_down.as_ref()),
    ];
    let scripts = parts.into_iter().filter_map(|(part, script)| {
        let script: &Script = script?;
        let mut all = (1..).zip(&script.statements);
        all.find_map(|(at, statement)| {
            let reach = reach(&statement.text, tenant, others)?;
            Some((format!("statement {at} of its {part}"), reach))
        })
    });
    let backfill = migration.backfill.as_ref().and_then(|text| {
        let reach = reach(text, tenant, others)?;
        Some((String::from("its backfill"), reach))
    });
    scripts.chain(backfill).next()
}
