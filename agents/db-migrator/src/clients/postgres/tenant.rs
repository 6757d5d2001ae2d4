//! The schema of a tenant: whether it is there, and the same in a scratch database.

use tokio_postgres::Client;

use super::{TargetError, query};
use crate::{clients::Session, domain::Tenant};

/// The default privileges of a schema that this role may give.
const PRESETS: &str = "SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT %s ON %s TO %s%s', pg_get_userbyid(d.defaclrole), n.nspname, \
    x.privilege_type, CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END, \
    CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
    FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) x WHERE n.nspname = $1 AND pg_has_role(d.defaclrole, 'MEMBER')";

/// Whether the schema is there. It is made with the tenant, not by a migration.
pub(super) async fn refuse_absent(client: &Client, tenant: &Tenant) -> Result<(), TargetError> {
    const SCHEMA: &str = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let found = query(client, SCHEMA, &[tenant.schema().into()]).await?;
    if found.is_empty() {
        Err(TargetError::NoSchema(tenant.schema().to_owned()))
    } else {
        Ok(())
    }
}

/// The extensions of a database in the order in which they were made.
const EXTENSIONS: &str = "SELECT format('CREATE SCHEMA IF NOT EXISTS %I; CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I VERSION %L', n.nspname, e.extname, n.nspname, e.extversion) \
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid";

/// Makes the schema in an empty scratch database, with the default privileges that its objects get, and the extensions
/// whose types and functions they use.
pub(super) async fn furnish(
    client: &Client,
    tenant: &Tenant,
    live: &mut dyn Session,
) -> Result<(), TargetError> {
    let schema = tenant.quoted();
    client
        .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
        .await?;
    for row in live.query(EXTENSIONS, &[]).await? {
        if let Err(error) = client.batch_execute(&row.text(0)?).await {
            // What uses it fails on the shadow, with its name.
            tracing::warn!(%error, "an extension could not be made in a scratch database");
        }
    }
    for row in live.query(PRESETS, &[tenant.schema().into()]).await? {
        client.batch_execute(&row.text(0)?).await?;
    }
    Ok(())
}
