//! `scan_vulnerabilities`: known vulnerabilities of the components in SBOMs and lockfiles.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError, ToolCall};

use super::sources::{InlineFile, Scanned, Skipped, Sources, require_some};
use crate::{
    clients::{advisories::AdvisorySource, workspace::SourceTree},
    domain::{
        Severity, SeverityCounts,
        vulnerabilities::{
            AdvisoryDatabase, Component, Finding, NotEvaluated, ReadInventoryError,
            components::format_of, evaluate, read_inventory,
        },
    },
    metrics::Metrics,
};

/// Most names to leave out.
const MAX_IGNORE: usize = 10_000;
/// Most components of one request.
const MAX_COMPONENTS: usize = 200_000;

/// Finds known vulnerabilities.
#[derive(Debug)]
pub struct ScanVulnerabilities {
    /// Where advisories come from.
    pub advisories: Arc<dyn AdvisorySource>,
    /// Where paths lead.
    pub tree: Arc<dyn SourceTree>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What to scan: at least one of `content` and `paths`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanVulnerabilitiesInput {
    /// SBOMs (CycloneDX JSON) and lockfiles (`Cargo.lock`, `package-lock.json`, `requirements.txt`, `poetry.lock`,
    /// `uv.lock`, `go.mod`, `go.sum`) given inline; the name tells the format.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub content: Vec<InlineFile>,
    /// Files and folders, relative to the agent's `--workspace`. In folders every SBOM and lockfile is read.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub paths: Vec<String>,
    /// Advisories that were judged before, by any of their names.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub ignore: Vec<String>,
    /// Leaves out findings below this severity.
    #[serde(default)]
    pub min_severity: Option<Severity>,
}

/// What was known at the time of the scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvisoryState {
    /// Advisories in force.
    pub records: usize,
    /// Advisories that were withdrawn; they never match.
    pub withdrawn: usize,
    /// Records that could not be read.
    pub invalid: usize,
    /// Ecosystems with advisories.
    pub ecosystems: Vec<String>,
}

/// The findings, and what they cover.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScanVulnerabilitiesOutput {
    /// Findings, worst first.
    pub findings: Vec<Finding>,
    /// Findings of each severity.
    pub summary: SeverityCounts,
    /// Distinct components that were looked at.
    pub components: usize,
    /// Components of which nothing can be said: not the same as "no vulnerabilities".
    pub not_evaluated: Vec<NotEvaluated>,
    /// Entries without a public package: local paths, Git sources, unpinned requirements.
    pub not_public: usize,
    /// What was known.
    pub advisories: AdvisoryState,
    /// Names in `ignore` that matched nothing: take them out.
    pub unused_ignore: Vec<String>,
    /// What was read.
    pub scanned: Scanned,
    /// What was not.
    pub skipped: Skipped,
}

type Read = (
    String,
    Result<crate::domain::vulnerabilities::Inventory, ReadInventoryError>,
);

impl Skill for ScanVulnerabilities {
    const ID: &'static str = "scan_vulnerabilities";
    const NAME: &'static str = "Scan for vulnerabilities";
    const DESCRIPTION: &'static str = "Compares the components of SBOMs and lockfiles with advisories in OSV format. Answers with advisory, \
        score, component, fixed version and likely effort, and with what could not be evaluated.";
    const TAGS: &'static [&'static str] =
        &["security", "vulnerabilities", "sbom", "cve", "dependencies"];

    type Input = ScanVulnerabilitiesInput;
    type Output = ScanVulnerabilitiesOutput;

    async fn run(
        &self,
        context: &Context,
        input: ScanVulnerabilitiesInput,
    ) -> Result<ScanVulnerabilitiesOutput, SkillError> {
        let ScanVulnerabilitiesInput {
            content,
            paths,
            ignore,
            min_severity,
        } = input;
        require_some(&content, &paths)?;
        if ignore.len() > MAX_IGNORE {
            return Err(SkillError::rejected(
                "ignore",
                format!("at most {MAX_IGNORE} names"),
                ignore.len().to_string(),
            ));
        }
        let _timer = self.metrics.scan("vulnerabilities");
        let named: BTreeSet<String> = content
            .iter()
            .map(|file| file.name.clone())
            .chain(paths.iter().cloned())
            .collect();
        let database = self.load(context).await?;
        let sources = Sources::open(context, &self.tree, content, paths).await?;
        let visited = sources
            .visit(context, move |name, text| read(&named, name, text))
            .await?;
        let (components, not_public) = merge(visited.results.into_iter().flatten())?;
        let mut evaluation = evaluate(&database, &components);
        let unused_ignore = apply_ignore(&ignore, &mut evaluation.findings);
        evaluation
            .findings
            .retain(|finding| min_severity.is_none_or(|least| finding.severity >= least));
        let summary = evaluation
            .findings
            .iter()
            .map(|finding| finding.severity)
            .collect();
        self.metrics.show_vulnerabilities(&summary);
        Ok(ScanVulnerabilitiesOutput {
            findings: evaluation.findings,
            summary,
            components: components.len(),
            not_evaluated: evaluation.not_evaluated,
            not_public,
            advisories: state(&database),
            unused_ignore,
            scanned: visited.scanned,
            skipped: visited.skipped,
        })
    }
}

impl ScanVulnerabilities {
    async fn load(&self, context: &Context) -> Result<Arc<AdvisoryDatabase>, SkillError> {
        let source = Arc::clone(&self.advisories);
        let loading = async move {
            let loaded = tokio::task::spawn_blocking(move || source.load()).await;
            let loaded =
                loaded.map_err(|error| SkillError::failed_with("cannot load advisories", error))?;
            loaded.map_err(|error| SkillError::unavailable("advisories", error))
        };
        context
            .tool(ToolCall::read("advisories.load", ["advisories"]), loading)
            .await
    }
}

fn state(database: &AdvisoryDatabase) -> AdvisoryState {
    AdvisoryState {
        records: database.len(),
        withdrawn: database.withdrawn(),
        invalid: database.invalid(),
        ecosystems: database
            .ecosystems()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// Files that the request names must be readable; files found in folders may be anything.
fn read(named: &BTreeSet<String>, name: &str, text: &str) -> Option<Read> {
    let asked_for = named.contains(name)
        || named
            .iter()
            .any(|path| path.trim_start_matches("./") == name);
    (asked_for || format_of(name, text).is_some())
        .then(|| (name.to_owned(), read_inventory(name, text)))
}

fn merge(read: impl Iterator<Item = Read>) -> Result<(Vec<Component>, usize), SkillError> {
    let mut components: BTreeMap<(Option<String>, String, Option<String>), Component> =
        BTreeMap::new();
    let mut not_public = 0;
    for (name, inventory) in read {
        let inventory = inventory.map_err(|error| {
            SkillError::rejected(
                name,
                "a CycloneDX SBOM in JSON or a lockfile",
                error.to_string(),
            )
        })?;
        not_public += inventory.not_public;
        for component in inventory.components {
            let key = (
                component.ecosystem.clone(),
                component.name.clone(),
                component.version.clone(),
            );
            let dev = component.dev;
            // Used in production wherever one file says so.
            components.entry(key).or_insert(component).dev &= dev;
        }
    }
    if components.len() > MAX_COMPONENTS {
        return Err(SkillError::rejected(
            "content",
            format!("at most {MAX_COMPONENTS} components"),
            components.len().to_string(),
        ));
    }
    Ok((components.into_values().collect(), not_public))
}

/// Takes out what is ignored, and returns the names that matched nothing.
fn apply_ignore(ignore: &[String], findings: &mut Vec<Finding>) -> Vec<String> {
    let mut unused: BTreeSet<&String> = ignore.iter().collect();
    findings.retain(|finding| {
        let hit: Vec<&String> = ignore
            .iter()
            .filter(|name| **name == finding.id || finding.aliases.contains(name))
            .collect();
        for name in &hit {
            unused.remove(name);
        }
        hit.is_empty()
    });
    unused.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
