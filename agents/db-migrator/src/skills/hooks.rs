//! Hooks of a request and its source, checked before anything runs.

use shared::{Context, SkillError};

use super::parts::{MigrationSource, Workbench};
use crate::{
    clients::{Database, hooks::Outlets},
    domain::{
        Dialect, Migration, SourceFile,
        hooks::{self, Allowed, Hook, HookError, HookSpec},
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
        Ok((migrations, hooks))
    }
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
