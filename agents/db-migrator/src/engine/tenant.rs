//! What a tenant's run must leave alone, and which tenants a database has.

use shared::SkillError;

use super::Job;
use crate::{
    clients::{Session, TargetError},
    domain::{
        Migration, Tenant,
        source::Script,
        tenant::{Around, Reach, reach},
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

/// What extensions bring for everybody; their tables are shared rows, and not among it.
const BROUGHT: &str = "SELECT DISTINCT n.nspname::text, o.name FROM (SELECT 'pg_type'::regclass AS class, oid, typnamespace AS schema, typname::text AS name FROM pg_type WHERE typrelid = 0 \
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proname::text FROM pg_proc UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, '' FROM pg_operator \
    UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace, opcname::text FROM pg_opclass UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, collname::text FROM pg_collation) o \
    JOIN pg_depend d ON d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e' JOIN pg_namespace n ON n.oid = o.schema WHERE n.nspname <> 'pg_catalog'";

async fn around(session: &mut dyn Session) -> Result<Around, TargetError> {
    let brought = session.query(BROUGHT, &[]).await?;
    let brought = brought.iter().map(|row| Ok((row.text(0)?, row.text(1)?)));
    Ok(Around {
        extensions: brought.collect::<Result<_, TargetError>>()?,
        schemas: schemas(session, "%").await?,
    })
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
        let around = self.reading(around(session)).await?;
        for migration in migrations {
            if let Some((place, reach)) = reached(migration, &tenant, &around) {
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
fn reached(migration: &Migration, tenant: &Tenant, around: &Around) -> Option<(String, Reach)> {
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
            let reach = reach(&statement.text, tenant, around)?;
            Some((format!("statement {at} of its {part}"), reach))
        })
    });
    let backfill = migration.backfill.as_ref().and_then(|text| {
        let reach = reach(text, tenant, around)?;
        Some((String::from("its backfill"), reach))
    });
    scripts.chain(backfill).next()
}
