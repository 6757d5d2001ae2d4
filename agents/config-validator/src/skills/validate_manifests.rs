//! Manifests against the Kubernetes schema, the security rules, and the scanner's search for secrets.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::files::{self, InputFile};
use crate::{
    Metrics,
    clients::{scanner, schema::LazySchema, workspace::Workspace},
    domain::{
        finding::{Counts, Finding, Findings},
        object::SourceFile,
        pod_security::PodSecurity,
        validate::{Manifests, Verdict, validate},
    },
};

/// Asked with manifests, answers with a verdict.
#[derive(Debug)]
pub struct ValidateManifests {
    /// Kubernetes schema.
    pub schema: Arc<LazySchema>,
    /// Where `paths` lead, if anywhere.
    pub workspace: Option<Arc<Workspace>>,
    /// Counters.
    pub metrics: Metrics,
}

/// Manifests to validate together: references between them are checked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Manifests, inline: YAML with any number of documents, or JSON.
    #[serde(default)]
    pub files: Vec<InputFile>,
    /// Files and folders (`.yaml`, `.yml`, `.json`) relative to the agent's workspace.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Pod Security level to enforce; violations of higher levels are warnings.
    #[serde(default)]
    pub pod_security: PodSecurity,
}

/// The verdict and all reasons.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// `refused` when there is any error.
    pub verdict: Verdict,
    /// Findings by severity, all of them.
    pub counts: Counts,
    /// Files looked at.
    pub files: usize,
    /// Objects in them.
    pub objects: usize,
    /// Kubernetes release whose schema was used.
    pub kubernetes: String,
    /// Findings by file and line, the first thousand.
    pub findings: Vec<Finding>,
    /// Whether there are more findings than are listed.
    pub findings_left_out: bool,
}

impl Skill for ValidateManifests {
    const ID: &'static str = "validate_manifests";
    const NAME: &'static str = "Validate manifests";
    const DESCRIPTION: &'static str = "Checks Kubernetes manifests against the API's OpenAPI schema, Pod Security Standards, consistency rules and \
         (through security-scanner) for secrets. Answers accepted or refused, with file, line, column and pointer of every finding.";
    const TAGS: &'static [&'static str] =
        &["kubernetes", "manifests", "schema", "pod-security", "yaml"];
    const SENSITIVE_INPUT: bool = true;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let outcome = self.validate(context, input).await;
        self.metrics.validated(
            outcome
                .as_ref()
                .ok()
                .map(|output| (output.verdict, output.counts)),
        );
        outcome
    }
}

impl ValidateManifests {
    async fn validate(
        &self,
        context: &Context,
        Input {
            files,
            paths,
            pod_security,
        }: Input,
    ) -> Result<Output, SkillError> {
        let files = Arc::new(
            files::gather(
                context,
                &files::MANIFESTS,
                files,
                paths,
                self.workspace.as_ref(),
            )
            .await?,
        );
        let checked = check(self.schema.clone(), files.clone(), pod_security).await?;
        context.check_canceled()?;
        let secrets = scanner::detect_secrets(context, &files).await?;
        let Checked {
            mut findings,
            objects,
            kubernetes,
        } = checked;
        findings.extend(secrets);
        let (findings, counts, findings_left_out) = findings.into_sorted();
        let verdict = Verdict::of(counts);
        Ok(Output {
            verdict,
            counts,
            files: files.len(),
            objects,
            kubernetes,
            findings,
            findings_left_out,
        })
    }
}

struct Checked {
    findings: Findings,
    objects: usize,
    kubernetes: String,
}

/// Reading and checking is all computation, so it leaves the runtime's threads alone.
async fn check(
    schema: Arc<LazySchema>,
    files: Arc<Vec<SourceFile>>,
    level: PodSecurity,
) -> Result<Checked, SkillError> {
    let work = move || {
        let schema = schema
            .get()
            .map_err(|e| SkillError::failed_with("cannot load the Kubernetes schema", e))?;
        let manifests = Manifests::read(&files).map_err(|e| {
            let field = format!("files[{}].content", e.index);
            SkillError::rejected(
                field,
                "YAML of ordinary size and depth",
                e.source.to_string(),
            )
        })?;
        let (findings, objects) = validate(&manifests, schema, level);
        Ok(Checked {
            findings,
            objects,
            kubernetes: schema.release().to_owned(),
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| SkillError::failed_with("cannot validate the manifests", e))?
}

#[cfg(test)]
mod tests;
