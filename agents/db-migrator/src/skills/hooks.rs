//! Hooks of a request and its source, checked before anything runs.

use shared::{Context, SkillError};

use super::parts::{MigrationSource, Workbench};
use crate::{
    clients::{Database, hooks::Outlets},
    domain::{
        Dialect, Migration, SourceFile,
        hooks::{self, Action, Allowed, Hook, HookError, HookSpec},
        tenant::{Around, reach},
    },
};

impl Workbench {
    /// The migrations of a source with its hooks and those of the request.
    pub(super) async fn read_hooked(
        &self,
        context: &Context,
        source: MigrationSource,
        database: &Database,
        own: Vec<HookSpec>,
    ) -> Result<(Vec<Migration>, Vec<Hook>), SkillError> {
        let dialect = database.target.dialect();
        let (migrations, files) = self.read_with_files(context, source, dialect).await?;
        let hooks = checked(&files, own, dialect, database.desk.outlets())?;
        stays_at_home(&hooks, database)?;
        Ok((migrations, hooks))
    }
}

/// Refuses SQL of hooks that reaches beyond a tenant's schema.
pub(super) fn stays_at_home(hooks: &[Hook], database: &Database) -> Result<(), SkillError> {
    let Some(tenant) = database.target.tenant() else {
        return Ok(());
    };
    for hook in hooks {
        let Action::Sql(statements) = &hook.action else {
            continue;
        };
        if let Some(reach) = statements
            .iter()
            .find_map(|sql| reach(sql, tenant, &Around::default()))
        {
            let got = format!("{}: {reach}", hook.name);
            let expected = "SQL that stays in the schema of one tenant";
            return Err(SkillError::rejected("hooks", expected, got));
        }
    }
    Ok(())
}

/// Hooks that may run, from the files of a source and a request.
pub(super) fn checked(
    files: &[SourceFile],
    own: Vec<HookSpec>,
    dialect: Dialect,
    outlets: &Outlets,
) -> Result<Vec<Hook>, SkillError> {
    let declared = hooks::read_files(files).map_err(|error| {
        let HookError {
            field,
            expected,
            got,
        } = error;
        SkillError::rejected(format!("source {field}"), expected, got)
    })?;
    let allowed = Allowed {
        url: &|url| outlets.check_url(url),
        secret: &|name| outlets.has_secret(name),
        edge: &|agent, skill| outlets.edge(agent, skill).is_some(),
    };
    hooks::check(hooks::merge(declared, own), files, dialect, allowed)
        .map_err(|error| SkillError::rejected(error.field, error.expected, error.got))
}
