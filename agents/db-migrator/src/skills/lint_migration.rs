//! `lint_migration`: what is dangerous about a source.

use std::collections::BTreeMap;

use a2a::types::Artifact;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{Context, Skill, SkillError};

use super::parts::{INPUT_FILES, MigrationSource, Workbench};
use crate::{
    domain::{
        Dialect, Migration, MigrationRecord, SourceFile, Tool, Version,
        lint::{
            self, Choice, Facts, Finding, LintReport, LintScript, Quiet, Severity, gitlab, sarif,
            table, text,
        },
        pending::{PendingError, pending},
        source,
    },
    engine,
};

/// The oldest and newest server that rules know.
const SERVERS: std::ops::RangeInclusive<u32> = 14..=18;
/// The server that a lint without a database is for, unless it says otherwise: the oldest that is tested.
const DEFAULT_SERVER: u32 = 15;

/// Looks for what is dangerous in migrations.
#[derive(Debug, Clone)]
pub struct LintMigration(pub Workbench);

/// What to lint, and how to tell.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LintMigrationInput {
    /// Name of a configured database: then table sizes, rows and what is in force count, and only what is pending is
    /// reported.
    pub database: Option<String>,
    /// The migrations.
    #[serde(default)]
    pub source: MigrationSource,
    /// Without a database: `postgres` (the default) or `sqlite`.
    pub dialect: Option<Dialect>,
    /// Without a database: major version of the PostgreSQL server, 14 to 18; 15 unless given.
    pub server_version: Option<u32>,
    /// How to tell.
    #[serde(default)]
    pub format: LintFormat,
    /// Other rules than usual.
    #[serde(default)]
    pub rules: RuleChoice,
    /// With a database: run what is pending up, down and up on a shadow, and report what that proves.
    #[serde(default)]
    pub prove: bool,
}

/// How findings are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LintFormat {
    /// In `findings`.
    #[default]
    Findings,
    /// As GitLab's Code Quality report, in `report`.
    Codequality,
    /// As SARIF 2.1.0, in `report`.
    Sarif,
    /// As text for a terminal, in `report` and as an artifact of its own.
    Table,
}

/// Other rules than usual, by their names.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleChoice {
    /// Rules that are off unless named here.
    #[serde(default)]
    pub enable: Vec<String>,
    /// Rules that are not wanted.
    #[serde(default)]
    pub disable: Vec<String>,
    /// Other severities by rule.
    #[serde(default)]
    pub severity: BTreeMap<String, Severity>,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LintMigrationOutput {
    /// The database's name.
    pub database: Option<String>,
    /// Which SQL was expected.
    pub dialect: Dialect,
    /// The PostgreSQL server it was for.
    pub server_version: Option<u32>,
    /// Number of migrations looked at.
    pub files: usize,
    /// Number of statements looked at.
    pub statements: usize,
    /// How many findings of each severity.
    pub counts: BTreeMap<Severity, usize>,
    /// What was found and is not reported.
    pub quiet: Quiet,
    /// The findings by file and place, in the format `findings`.
    pub findings: Vec<Finding>,
    /// The findings in any other format.
    pub report: Option<Value>,
}

impl Skill for LintMigration {
    const ID: &'static str = "lint_migration";
    const NAME: &'static str = "Lint migrations";
    const DESCRIPTION: &'static str = "Looks for what locks, breaks or loses in migrations, by the rules of squawk, its peers and our own; with a database it knows \
        table sizes, rows and what is in force. Answers with findings, a GitLab Code Quality report, SARIF or a text. Changes nothing.";
    const TAGS: &'static [&'static str] = &["database", "migration", "lint", "gitlab", "sarif"];
    const INPUT_FILES: &'static [&'static str] = INPUT_FILES;

    type Input = LintMigrationInput;
    type Output = LintMigrationOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let choice = choice(&input.rules)?;
        let (dialect, server) = self.server(&input)?;
        let (folder, named) = (input.source.path.clone(), input.source.layout);
        let values = input.source.placeholders(&self.0)?;
        let files = input.source.gather(&self.0, context).await?;
        let files = source::filled(files, named, &values)
            .map_err(|error| SkillError::rejected("source", "SQL files", error.to_string()))?;
        let mut scripts = LintScript::of(&files);
        if scripts.is_empty() {
            return Err(SkillError::rejected("source", "SQL files", "none"));
        }
        let facts = match &input.database {
            None => Facts {
                server_version: server,
                ..Facts::default()
            },
            Some(name) => {
                let asked = Asked {
                    name,
                    files: &files,
                    layout: named,
                    prove: input.prove,
                };
                self.observe(context, &asked, &mut scripts).await?
            }
        };
        let mut report = lint::lint(&scripts, dialect, &facts, &choice);
        if let Some(finding) = unreadable(&files, dialect, named) {
            report.findings.insert(0, finding);
        }
        if let Some(folder) = &folder {
            report.in_folder(folder);
        }
        if input.format == LintFormat::Table {
            let artifact = Artifact {
                artifact_id: "lint-table".into(),
                name: Some("Lint".into()),
                parts: vec![a2a::types::Part::text(text::table(&report))],
                description: Some("The findings, for a terminal.".into()),
                metadata: None,
                extensions: Vec::new(),
            };
            context.artifact(artifact, false, true)?;
        }
        Ok(LintMigrationOutput {
            database: input.database,
            dialect,
            server_version: (dialect == Dialect::Postgres).then_some(facts.server_version),
            ..output(report, input.format)
        })
    }
}

/// What to ask a database.
struct Asked<'a> {
    name: &'a str,
    files: &'a [SourceFile],
    layout: Option<Tool>,
    prove: bool,
}

impl LintMigration {
    fn server(&self, input: &LintMigrationInput) -> Result<(Dialect, u32), SkillError> {
        let version = input.server_version.unwrap_or(DEFAULT_SERVER);
        if !SERVERS.contains(&version) {
            return Err(SkillError::rejected(
                "server_version",
                "14 to 18",
                version.to_string(),
            ));
        }
        match &input.database {
            Some(name) => {
                if input.server_version.is_some() || input.dialect.is_some() {
                    return Err(SkillError::rejected(
                        "server_version",
                        "neither it nor dialect beside a database, which says both",
                        "both",
                    ));
                }
                Ok((self.0.database(name)?.target.dialect(), version))
            }
            None if input.prove => Err(SkillError::rejected(
                "prove",
                "a database to prove on",
                "no database",
            )),
            None => Ok((input.dialect.unwrap_or(Dialect::Postgres), version)),
        }
    }

    /// Asks the database, and marks the scripts that are in force there.
    async fn observe(
        &self,
        context: &Context,
        asked: &Asked<'_>,
        scripts: &mut [LintScript],
    ) -> Result<Facts, SkillError> {
        let database = self.0.database(asked.name)?;
        let dialect = database.target.dialect();
        let job = self.0.job(context, &database);
        // A source that cannot be read as migrations is reported as such; the rest is linted all the same.
        let migrations = source::read_as(asked.files, dialect, asked.layout)
            .map(|source| source.migrations)
            .unwrap_or_default();
        let status = engine::status(job, &migrations).await?;
        let due = pending(&migrations, &status.migrations).ok();
        for script in &mut *scripts {
            script.applied = script.version.as_ref().is_some_and(|version| {
                let in_force = status.migrations.iter().any(|one| one.version == *version);
                in_force || is_done(version, &migrations, due.as_deref())
            });
        }
        let conflict = conflict(&migrations, &status.migrations);
        if let Some((version, ..)) = &conflict {
            for script in scripts.iter_mut().filter(|script| {
                script
                    .version
                    .as_ref()
                    .is_some_and(|own| own.as_str() == version)
            }) {
                script.applied = false;
            }
        }
        let questions = lint::questions(scripts, dialect);
        let proofs = if asked.prove && conflict.is_none() && !migrations.is_empty() {
            engine::lint_proofs(job, &migrations).await?
        } else {
            Vec::new()
        };
        Ok(Facts {
            in_force: engine::lint_in_force(&status),
            conflict,
            proofs,
            ..engine::lint_facts(job, &questions).await?
        })
    }
}

fn choice(rules: &RuleChoice) -> Result<Choice, SkillError> {
    let lists = [
        ("rules.enable", rules.enable.iter().collect::<Vec<_>>()),
        ("rules.disable", rules.disable.iter().collect()),
        ("rules.severity", rules.severity.keys().collect()),
    ];
    for (field, names) in lists {
        if let Some(unknown) = names.iter().find(|name| table::find(name).is_none()) {
            let shown = unknown.chars().take(64).collect::<String>();
            return Err(SkillError::rejected(field, "names of lint rules", shown));
        }
    }
    Ok(Choice {
        enable: rules.enable.clone(),
        disable: rules.disable.clone(),
        severity: rules.severity.clone(),
    })
}

/// Version, whether it was edited, and the sentence, when the source does not continue the ledger.
fn conflict(source: &[Migration], ledger: &[MigrationRecord]) -> Option<(String, bool, String)> {
    let error = pending(source, ledger).err()?;
    let sentence = error.to_string();
    Some(match error {
        PendingError::Changed { version, .. } => (version.to_string(), true, sentence),
        PendingError::OutOfOrder { missing, .. } => (missing.to_string(), false, sentence),
    })
}

/// Whether a migration of the source is not to run: a baseline stands for it, or a repeatable says what it said before.
fn is_done(version: &Version, source: &[Migration], due: Option<&[Migration]>) -> bool {
    let is = |one: &Migration| one.version == *version || version.has_run(one.version.as_str());
    due.is_some_and(|due| source.iter().any(is) && !due.iter().any(is))
}

/// What is wrong with the files as a source, apart from what the scripts themselves say.
fn unreadable(files: &[SourceFile], dialect: Dialect, named: Option<Tool>) -> Option<Finding> {
    use source::SourceError;
    let error = source::read_as(files, dialect, named).err()?;
    let of_a_script = matches!(
        error,
        SourceError::Split { .. } | SourceError::Forbidden { .. }
    );
    let file = files
        .iter()
        .find(|file| error.to_string().contains(&file.name))
        .or_else(|| files.first())?;
    let message = error.to_string();
    (!of_a_script).then(|| lint::source_finding(&file.name, message))
}

fn output(report: LintReport, format: LintFormat) -> LintMigrationOutput {
    let told = match format {
        LintFormat::Findings => None,
        LintFormat::Codequality => Some(gitlab::report(&report.findings)),
        LintFormat::Sarif => Some(sarif::log(&report.findings)),
        LintFormat::Table => Some(Value::String(text::table(&report))),
    };
    LintMigrationOutput {
        database: None,
        dialect: Dialect::Postgres,
        server_version: None,
        files: report.files,
        statements: report.statements,
        counts: report.counts(),
        quiet: report.quiet,
        findings: if format == LintFormat::Findings {
            report.findings
        } else {
            Vec::new()
        },
        report: told,
    }
}
