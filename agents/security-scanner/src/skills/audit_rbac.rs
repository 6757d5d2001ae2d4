//! `audit_rbac`: who may do what, and what of it is dangerous.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError, ToolCall};

use super::sources::{InlineFile, Sources};
use crate::{
    clients::{
        rbac::{ClusterObjects, RbacSource},
        workspace::SourceTree,
    },
    domain::{
        SeverityCounts,
        rbac::{Access, Finding, Objects, Permission, ReadObjectsError, Subject, audit},
    },
    metrics::Metrics,
};

/// Most namespaces of a request.
const MAX_NAMESPACES: usize = 1_000;

/// Audits access rules.
#[derive(Debug)]
pub struct AuditRbac {
    /// Namespaces that are read when a request names none: the agent's targets, since its rights end there.
    pub targets: Vec<String>,
    /// The cluster.
    pub cluster: Arc<dyn RbacSource>,
    /// Where paths lead.
    pub tree: Arc<dyn SourceTree>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What to audit: manifests when `content` or `paths` are given, else the cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRbacInput {
    /// Manifests given inline, YAML or JSON.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub content: Vec<InlineFile>,
    /// Manifests and folders of them, relative to the agent's `--workspace`. In folders `.yaml`, `.yml` and `.json` count.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub paths: Vec<String>,
    /// Namespaces of the cluster to audit beside the cluster-scoped roles; all of this agent's targets when empty.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub namespaces: Vec<String>,
    /// Also answers what this subject may do: `ServiceAccount:NAMESPACE/NAME`, `User:NAME` or `Group:NAME`.
    #[serde(default)]
    pub subject: Option<String>,
    /// Also reports the roles that Kubernetes installs for itself.
    #[serde(default)]
    pub include_system: bool,
}

/// The judgement, and what it covers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditRbacOutput {
    /// Findings, worst first.
    pub findings: Vec<Finding>,
    /// Findings of each severity.
    pub summary: SeverityCounts,
    /// Roles and `ClusterRoles` that were read.
    pub roles: usize,
    /// Bindings that were read.
    pub bindings: usize,
    /// Distinct subjects of bindings.
    pub subjects: usize,
    /// What the subject of the request may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Permission>>,
    /// Roles that bindings name but that were not there: what they allow was not judged.
    pub unresolved_roles: Vec<String>,
    /// What could not be read, and namespaces that are not this agent's targets.
    pub not_evaluated: Vec<String>,
}

impl Skill for AuditRbac {
    const ID: &'static str = "audit_rbac";
    const NAME: &'static str = "Audit RBAC";
    const DESCRIPTION: &'static str = "Audits Kubernetes roles and bindings, of manifests or of a cluster: wildcards, secrets, escalation, \
        exec, tokens, webhooks, dangerous subjects, and ways to full power. Answers who, by which role and rule, why, and what to do.";
    const TAGS: &'static [&'static str] = &["security", "kubernetes", "rbac", "access"];
    const SENSITIVE_INPUT: bool = true;

    type Input = AuditRbacInput;
    type Output = AuditRbacOutput;

    async fn run(
        &self,
        context: &Context,
        input: AuditRbacInput,
    ) -> Result<AuditRbacOutput, SkillError> {
        let AuditRbacInput {
            content,
            paths,
            namespaces,
            subject,
            include_system,
        } = input;
        let subject: Option<Subject> = subject
            .map(|text| {
                text.parse().map_err(|_| {
                    SkillError::rejected(
                        "subject",
                        "ServiceAccount:NAMESPACE/NAME, User:NAME or Group:NAME",
                        "something else",
                    )
                })
            })
            .transpose()?;
        let _timer = self.metrics.scan("rbac");
        let ClusterObjects { objects, missing } = if content.is_empty() && paths.is_empty() {
            self.of_cluster(context, namespaces).await?
        } else if namespaces.is_empty() {
            self.of_manifests(context, content, paths).await?
        } else {
            return Err(SkillError::rejected(
                "namespaces",
                "none, since manifests are given",
                namespaces.len().to_string(),
            ));
        };
        let judged = audit(&objects, include_system);
        Ok(AuditRbacOutput {
            summary: judged
                .findings
                .iter()
                .map(|finding| finding.severity)
                .collect(),
            findings: judged.findings,
            roles: objects.roles.len(),
            bindings: objects.bindings.len(),
            subjects: judged.subjects,
            permissions: subject.map(|subject| {
                Access::resolve(&objects)
                    .permissions(&subject)
                    .into_iter()
                    .collect()
            }),
            unresolved_roles: judged.unresolved,
            not_evaluated: missing,
        })
    }
}

impl AuditRbac {
    async fn of_manifests(
        &self,
        context: &Context,
        inline: Vec<InlineFile>,
        paths: Vec<String>,
    ) -> Result<ClusterObjects, SkillError> {
        let named: BTreeSet<String> = inline
            .iter()
            .map(|file| file.name.clone())
            .chain(
                paths
                    .iter()
                    .map(|path| path.trim_start_matches("./").to_owned()),
            )
            .collect();
        let sources = Sources::open(context, &self.tree, inline, paths).await?;
        let visited = sources
            .visit(context, move |name, text| {
                let manifest = [".yaml", ".yml", ".json"]
                    .iter()
                    .any(|ending| name.to_ascii_lowercase().ends_with(ending));
                (manifest || named.contains(name)).then(|| (name.to_owned(), parse(text)))
            })
            .await?;
        let mut objects = Objects::default();
        for (name, parsed) in visited.results.into_iter().flatten() {
            let Objects {
                roles,
                bindings,
                workloads,
                other,
            } = parsed.map_err(|error| {
                SkillError::rejected(
                    name,
                    "Kubernetes objects in YAML or JSON",
                    error.to_string(),
                )
            })?;
            objects.roles.extend(roles);
            objects.bindings.extend(bindings);
            objects.workloads.extend(workloads);
            objects.other += other;
        }
        Ok(ClusterObjects {
            objects,
            missing: Vec::new(),
        })
    }

    async fn of_cluster(
        &self,
        context: &Context,
        namespaces: Vec<String>,
    ) -> Result<ClusterObjects, SkillError> {
        if namespaces.len() > MAX_NAMESPACES {
            return Err(SkillError::rejected(
                "namespaces",
                format!("at most {MAX_NAMESPACES}"),
                namespaces.len().to_string(),
            ));
        }
        for namespace in &namespaces {
            context.check_target(namespace)?;
        }
        let namespaces = if namespaces.is_empty() {
            self.targets.clone()
        } else {
            namespaces
        };
        let scope = if namespaces.is_empty() {
            vec![String::from("rbac/*")]
        } else {
            namespaces
                .iter()
                .map(|namespace| format!("rbac/{namespace}"))
                .collect()
        };
        let mut read = context
            .tool(
                ToolCall::read("kubernetes.list", scope),
                self.cluster.read(&namespaces),
            )
            .await?;
        let mut foreign = BTreeSet::new();
        let mut ours = |namespace: Option<&String>| {
            let allowed = namespace.is_none_or(|namespace| context.check_target(namespace).is_ok());
            foreign.extend(namespace.filter(|_| !allowed).cloned());
            allowed
        };
        read.objects
            .roles
            .retain(|role| ours(role.namespace.as_ref()));
        read.objects
            .bindings
            .retain(|binding| ours(binding.namespace.as_ref()));
        read.objects
            .workloads
            .retain(|workload| ours(Some(&workload.namespace)));
        read.missing.extend(
            foreign
                .into_iter()
                .map(|namespace| format!("namespace {namespace}: not among this agent's targets")),
        );
        Ok(read)
    }
}

fn parse(text: &str) -> Result<Objects, ReadObjectsError> {
    let mut objects = Objects::default();
    objects.add_text(text)?;
    Ok(objects)
}

#[cfg(test)]
mod tests;
