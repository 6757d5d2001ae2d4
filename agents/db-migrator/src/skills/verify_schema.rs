//! `verify_schema`: whether a database is as its ledger says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::parts::{INPUT_FILES, MigrationSource, Workbench};
use crate::{
    domain::{
        Dialect,
        drift::{Finding, Rights, SchemaState},
    },
    engine::{self, Verified},
};

/// Differences that an answer lists; their number is always given.
const MAX_LISTED: usize = 200;

/// Detects drift without changing anything.
#[derive(Debug, Clone)]
pub struct VerifySchema(pub Workbench);

/// What to verify.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySchemaInput {
    /// Name of a configured database.
    pub database: String,
    /// Migrations to compare the ledger with.
    pub source: Option<MigrationSource>,
}

/// The answer with its evidence.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifySchemaOutput {
    /// The database's name.
    pub database: String,
    /// `sqlite` or `postgres`.
    pub dialect: Dialect,
    /// `in_sync`, `drifted` or `unmanaged`.
    pub answer: SchemaState,
    /// Number of differences between the catalog of the ledger and that of the database; absent when unknown.
    pub difference_count: Option<u64>,
    /// The differences by kind and name, the first 200, for example `added index orders_by_status`.
    pub differences: Vec<String>,
    /// Why the differences could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences_unknown: Option<String>,
    /// What else was found, the gravest first.
    pub findings: Vec<Finding>,
    /// The rights of the configured role; absent for SQLite.
    pub rights: Option<Rights>,
    /// Versions of the source that are not in force.
    pub pending: Vec<String>,
    /// Why the source does not continue what the database has.
    pub source_conflict: Option<String>,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// Fingerprint that the last run left.
    pub expected_fingerprint: Option<String>,
}

impl Skill for VerifySchema {
    const ID: &'static str = "verify_schema";
    const NAME: &'static str = "Verify a schema";
    const DESCRIPTION: &'static str = "Compares a database with what its ledger leads to and names what was added, removed or changed behind its back; lists invalid \
        indexes, unvalidated constraints, unfinished runs and missing rights. Changes nothing.";
    const TAGS: &'static [&'static str] = &["database", "schema", "drift", "verification"];
    const INPUT_FILES: &'static [&'static str] = INPUT_FILES;

    type Input = VerifySchemaInput;
    type Output = VerifySchemaOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let database = self.0.database(&input.database)?;
        let dialect = database.target.dialect();
        let source = match MigrationSource::given(input.source, context) {
            Some(source) => self.0.read(context, source, dialect).await?,
            None => Vec::new(),
        };
        let verified = engine::verify(self.0.job(context, &database), &source).await?;
        Ok(output(database.name.clone(), dialect, verified))
    }
}

fn output(database: String, dialect: Dialect, verified: Verified) -> VerifySchemaOutput {
    let Verified {
        state,
        findings,
        differences,
        unknown,
        fingerprint,
        expected,
        rights,
        pending,
        conflict,
    } = verified;
    let listed = differences.iter().flatten().take(MAX_LISTED);
    VerifySchemaOutput {
        database,
        dialect,
        answer: state,
        difference_count: differences.as_ref().map(|all| all.len() as u64),
        differences: listed.map(ToString::to_string).collect(),
        differences_unknown: unknown,
        findings,
        rights,
        pending,
        source_conflict: conflict,
        fingerprint,
        expected_fingerprint: expected,
    }
}
