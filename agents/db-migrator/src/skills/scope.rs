//! What a request is about: a database, a tenant of one, a fleet, or tenants of one database together.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, SkillError};

use super::parts::{Workbench, bounded};
use crate::{
    clients::{Database, databases::Fleet},
    domain::fleet::matches,
    engine,
};

/// Most tenants of one request.
const MAX_TENANTS: usize = 10_000;

/// Tenants of the request's database: exactly one of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// These schemas in this order, the canary first.
    pub schemas: Option<Vec<String>>,
    /// All schemas like this pattern of SQL, such as `tenant_%`, in the order of their names.
    pub like: Option<String>,
}

/// How a request names what it is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub(super) database: Option<String>,
    pub(super) fleet: Option<String>,
    pub(super) tenants: Option<Tenants>,
}

/// One database or many.
pub(super) enum Scope {
    Database(Database),
    Fleet(String, Vec<Database>),
}

impl Workbench {
    /// What a request is about: exactly one of `database` and `fleet`.
    pub(super) async fn scope(&self, context: &Context, named: Named) -> Result<Scope, SkillError> {
        match (named.database, named.fleet, named.tenants) {
            (Some(name), None, None) => Ok(Scope::Database(self.database(&name)?)),
            (Some(name), None, Some(tenants)) => {
                let members = self.tenants(context, &name, tenants).await?;
                Ok(Scope::Fleet(name, members))
            }
            (None, Some(name), None) => {
                let found = self.databases.fleet(&name).ok_or_else(|| {
                    let expected = format!("one of: {}", self.databases.fleet_names());
                    SkillError::rejected("fleet", expected, bounded(&name))
                })?;
                let members = self.members(context, found).await?;
                Ok(Scope::Fleet(name, members))
            }
            (None, _, Some(_)) => Err(SkillError::rejected(
                "tenants",
                "a database beside it",
                "none",
            )),
            _ => Err(SkillError::rejected(
                "database",
                "either database or fleet",
                "both or neither",
            )),
        }
    }

    async fn tenants(
        &self,
        context: &Context,
        name: &str,
        tenants: Tenants,
    ) -> Result<Vec<Database>, SkillError> {
        let database = self.database(name)?;
        let schemas = match (tenants.schemas, tenants.like) {
            (Some(schemas), None) => schemas,
            (None, Some(like)) => {
                let all = self.schemas(context, &database, &like).await?;
                let ours = |schema: &String| database.tenant(schema).is_some();
                all.into_iter().filter(ours).collect()
            }
            _ => {
                return Err(SkillError::rejected(
                    "tenants",
                    "either schemas or like",
                    "both or neither",
                ));
            }
        };
        if schemas.is_empty() || schemas.len() > MAX_TENANTS {
            return Err(SkillError::rejected(
                "tenants",
                format!("1 to {MAX_TENANTS} schemas"),
                schemas.len().to_string(),
            ));
        }
        let mut members: Vec<Database> = Vec::new();
        for schema in schemas {
            let member = database.tenant(&schema).ok_or_else(|| {
                let expected = match &database.tenants {
                    Some(pattern) => format!("schemas like {pattern}"),
                    None => format!("a database with tenants=PATTERN; {name} has none"),
                };
                SkillError::rejected("tenants.schemas", expected, bounded(&schema))
            })?;
            if members.iter().any(|known| known.name == member.name) {
                let expected = "each schema once";
                return Err(SkillError::rejected(
                    "tenants.schemas",
                    expected,
                    bounded(&schema),
                ));
            }
            members.push(member);
        }
        Ok(members)
    }

    /// The schemas that a database has now.
    async fn schemas(
        &self,
        context: &Context,
        database: &Database,
        like: &str,
    ) -> Result<Vec<String>, SkillError> {
        engine::tenants(self.job(context, database), like).await
    }

    /// The members of a fleet, with the tenants that there are now.
    async fn members(&self, context: &Context, fleet: &Fleet) -> Result<Vec<Database>, SkillError> {
        let mut members: Vec<Database> = Vec::new();
        for member in &fleet.members {
            let found = match member.split_once('/') {
                None => self.databases.target(member).into_iter().collect(),
                Some((name, pattern)) => {
                    let database = self.database(name)?;
                    let all = self.schemas(context, &database, "%").await?;
                    let fits = all.iter().filter(|schema| matches(pattern, schema));
                    fits.filter_map(|schema| database.tenant(schema))
                        .collect::<Vec<_>>()
                }
            };
            for one in found {
                if !members.iter().any(|known| known.name == one.name) {
                    members.push(one);
                }
            }
        }
        if members.is_empty() {
            return Err(SkillError::rejected(
                "fleet",
                "a fleet with members",
                bounded(&fleet.name),
            ));
        }
        Ok(members)
    }
}
