#![doc = include_str!("../README.md")]

pub mod clients;
pub mod domain;
pub mod engine;
mod metrics;
pub mod skills;
#[cfg(test)]
mod tests;

pub use metrics::Metrics;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clients::{
    DatabaseSpec, Databases, OciRegistries, Workspace,
    databases::{FleetSpec, PlaceholderSpec, parse_lines},
    hooks::{AllowedHost, Outlets, SecretFile},
};
use skills::{
    ApplyMigration, AssessRollback, CompleteMigration, LintMigration, MigrationStatus,
    PlanMigration, RollbackMigration, VerifySchema, Workbench,
};

/// Runs schema migrations whose rollback is proven before it is needed.
#[derive(Debug, clap::Parser)]
#[command(name = "db-migrator", version)]
pub struct Cli {
    /// What all agents share.
    #[command(flatten)]
    pub shared: shared::Args,

    /// A database that requests may name: NAME=sqlite:PATH or NAME=postgres://USER@HOST/DB, with `,dev` when proven
    /// migrations need no approval there, `,schema=SCHEMA` for one schema of it and `,tenants=PATTERN` for all like it, as
    /// NAME/SCHEMA. Repeatable; several in the variable are separated by `;`.
    #[arg(
        long,
        value_name = "NAME=URL[,dev]",
        env = "DB_MIGRATOR_DATABASES",
        hide_env_values = true,
        value_delimiter = ';'
    )]
    pub database: Vec<DatabaseSpec>,

    /// A file with one such specification a line, for URLs with passwords; lines that start with # are skipped.
    #[arg(long, value_name = "FILE", env = "DB_MIGRATOR_DATABASES_FILE")]
    pub databases_file: Option<PathBuf>,

    /// Databases that requests may name together, the canary first: NAME=DATABASE,... where * stands for any text, and
    /// DATABASE/PATTERN for its tenants.
    /// Repeatable; several in the variable are separated by `;`.
    #[arg(
        long,
        value_name = "NAME=DATABASE,...",
        env = "DB_MIGRATOR_FLEETS",
        value_delimiter = ';'
    )]
    pub fleet: Vec<FleetSpec>,

    /// The value of a placeholder of Flyway's layout. Repeatable; several in the variable are separated by `;`.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "DB_MIGRATOR_PLACEHOLDERS",
        hide_env_values = true,
        value_delimiter = ';'
    )]
    pub placeholder: Vec<PlaceholderSpec>,

    /// A host that HTTP hooks may post to; any port when there is none. Repeatable; none by default.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "DB_MIGRATOR_HOOK_ALLOW",
        value_delimiter = ';'
    )]
    pub hook_allow: Vec<AllowedHost>,

    /// A file whose text an HTTP hook may send as its Authorization header, by this name. Repeatable.
    #[arg(
        long,
        value_name = "NAME=FILE",
        env = "DB_MIGRATOR_HOOK_SECRETS",
        value_delimiter = ';'
    )]
    pub hook_secret: Vec<SecretFile>,

    /// The folder that `source.path` of requests is below.
    #[arg(
        long,
        value_name = "DIR",
        env = "DB_MIGRATOR_WORKSPACE",
        default_value = "."
    )]
    pub workspace: PathBuf,

    /// A registry that `source.oci` of requests may name, as HOST or HOST:PORT. Repeatable; without any, none may.
    #[arg(
        long,
        value_name = "HOST",
        env = "DB_MIGRATOR_OCI_ALLOW",
        value_delimiter = ','
    )]
    pub oci_allow: Vec<String>,

    /// The same for a registry that is reached without TLS.
    #[arg(
        long,
        value_name = "HOST",
        env = "DB_MIGRATOR_OCI_ALLOW_HTTP",
        value_delimiter = ','
    )]
    pub oci_allow_http: Vec<String>,

    /// Credentials of these registries in a file as docker writes it (`config.json`).
    #[arg(long, value_name = "FILE", env = "DB_MIGRATOR_OCI_CREDENTIALS")]
    pub oci_credentials: Option<PathBuf>,
}

impl Cli {
    /// All databases of flags and file; a flag wins over a line of the file.
    fn databases(&self) -> anyhow::Result<Databases> {
        let mut specs = match &self.databases_file {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                parse_lines(&text).map_err(|(line, error)| {
                    anyhow::anyhow!("{} line {line}: {error}", path.display())
                })?
            }
        };
        specs.extend(self.database.iter().cloned());
        let databases = Databases::new(specs).with_placeholders(self.placeholder.iter().cloned());
        Ok(databases.with_fleets(self.fleet.iter().cloned())?)
    }

    /// What hooks may reach: allowed hosts, named secrets, and the edges of the manifest.
    fn outlets(&self, fleet: &manifest::Fleet) -> anyhow::Result<Arc<Outlets>> {
        let secrets = self.hook_secret.iter().map(SecretFile::read);
        let own = manifest::Caller::agent(<Self as shared::Daemon>::NAME);
        // Names of agents live as long as the process: a call wants them so.
        let edges = fleet.edges().callees(&own).map(|(agent, skills)| {
            let agent: &'static str = Box::leak(agent.to_owned().into_boxed_str());
            (agent, skills.iter().cloned().collect())
        });
        Ok(Arc::new(Outlets::new(
            self.hook_allow.clone(),
            secrets.collect::<anyhow::Result<Vec<_>>>()?,
            edges.collect(),
        )))
    }

    fn registries(&self) -> anyhow::Result<OciRegistries> {
        let docker = match &self.oci_credentials {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
            ),
        };
        let (tls, plain) = (self.oci_allow.clone(), self.oci_allow_http.clone());
        OciRegistries::new(tls, plain, docker.as_deref())
            .context("cannot use the credentials of registries")
    }
}

impl shared::Daemon for Cli {
    const NAME: &'static str = "db-migrator";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: shared::AgentBuilder) -> anyhow::Result<shared::AgentBuilder> {
        let metrics = agent.registry(Metrics::register);
        let outlets = self.outlets(&agent.fleet())?;
        let databases = Arc::new(self.databases()?.with_outlets(&outlets));
        let workbench = Workbench {
            databases: databases.clone(),
            registries: self.registries()?,
            workspace: Workspace::new(self.workspace),
            metrics,
        };
        tokio::spawn(async move { databases.look_ahead().await });
        Ok(agent
            .skill(MigrationStatus(workbench.clone()))
            .skill(PlanMigration(workbench.clone()))
            .skill(LintMigration(workbench.clone()))
            .skill(ApplyMigration(workbench.clone()))
            .skill(CompleteMigration(workbench.clone()))
            .skill(AssessRollback(workbench.clone()))
            .skill(RollbackMigration(workbench.clone()))
            .skill(VerifySchema(workbench)))
    }
}
