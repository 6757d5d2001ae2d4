//! Policies in Rego, asked about every object.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::{Context, Skill, SkillError};
use tokio::time::Instant;

use super::files::{self, Fields, InputFile};
use crate::{
    Metrics,
    clients::workspace::{Bounds, Workspace},
    domain::{
        limits::{MAX_POLICIES, MAX_POLICY_BYTES, MAX_RESULTS},
        object::{Object, SourceFile},
        policy::{
            Caveat, Level, PolicyEngine, PolicyError, PolicyRule, PolicySource, input_for, messages,
        },
        validate::{Manifests, Verdict},
    },
};

/// Stack of the thread that runs the engine, whose parser and interpreter recurse.
const STACK_BYTES: usize = 64 * 1024 * 1024;

const POLICIES: Fields = Fields {
    inline: "policies",
    paths: "policy_paths",
    extensions: &["rego"],
    bounds: Bounds {
        files: MAX_POLICIES,
        file_bytes: MAX_POLICY_BYTES,
        total_bytes: MAX_POLICIES * MAX_POLICY_BYTES,
    },
};

/// Asked with manifests and policies, answers with what the policies say.
#[derive(Debug)]
pub struct EvaluatePolicies<E> {
    /// The engine.
    pub engine: Arc<E>,
    /// Where `paths` lead, if anywhere.
    pub workspace: Option<Arc<Workspace>>,
    /// Where `policy_paths` lead, and the policies used when a request brings none.
    pub policies: Option<Arc<Workspace>>,
    /// Counters.
    pub metrics: Metrics,
}

/// Manifests, and the policies to ask.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Manifests, inline.
    #[serde(default)]
    pub files: Vec<InputFile>,
    /// Manifests by path in the workspace.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Policies, inline.
    #[serde(default)]
    pub policies: Vec<InputFile>,
    /// Policies by path in the agent's policy folder; all of it when a request names no policy at all.
    #[serde(default)]
    pub policy_paths: Vec<String>,
    /// The `data` document of the policies.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// `input.parameters` of policies that ask for `input.review`, as Gatekeeper's constraint templates do.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// What the policies say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// `refused` when a policy denies, or when one could not be evaluated.
    pub verdict: Verdict,
    /// Results that refuse (`deny`, `violation`).
    pub denied: usize,
    /// Results that do not (`warn`).
    pub warned: usize,
    /// Rules asked about each object.
    pub rules: usize,
    /// Objects asked about.
    pub objects: usize,
    /// The answers, the first thousand.
    pub results: Vec<PolicyResult>,
    /// Rules that failed on an object, and so did not pass.
    pub errors: Vec<PolicyFailure>,
    /// Places where this engine and Open Policy Agent differ.
    pub caveats: Vec<Caveat>,
    /// Whether there are more results or errors than are listed.
    pub results_left_out: bool,
}

/// One message of one rule about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyResult {
    /// Policy file.
    pub policy: String,
    /// Package.
    pub package: String,
    /// Rule.
    pub rule: String,
    /// What the rule's name says about its answers.
    pub level: Level,
    /// The policy's message.
    pub message: String,
    /// File of the object.
    pub file: String,
    /// Document in the file, from 0.
    pub document: usize,
    /// Line where the object begins.
    pub line: usize,
    /// The object, as `Kind namespace/name`.
    pub object: String,
}

/// A rule that failed on an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyFailure {
    /// Policy file.
    pub policy: String,
    /// `package.rule`.
    pub rule: String,
    /// File of the object.
    pub file: String,
    /// Line where the object begins.
    pub line: usize,
    /// What the engine says.
    pub message: String,
}

impl<E: PolicyEngine> Skill for EvaluatePolicies<E> {
    const ID: &'static str = "evaluate_policies";
    const NAME: &'static str = "Evaluate policies";
    const DESCRIPTION: &'static str = "Asks Rego policies (deny, violation and warn rules in the styles of conftest and Gatekeeper) about every object of \
         the given manifests. Answers accepted or refused, with policy, rule, message, file, document and line of every result.";
    const TAGS: &'static [&'static str] = &[
        "kubernetes",
        "policy",
        "rego",
        "opa",
        "conftest",
        "gatekeeper",
    ];
    const SENSITIVE_INPUT: bool = true;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let Input {
            files,
            paths,
            policies,
            policy_paths,
            data,
            parameters,
        } = input;
        let files = files::gather(
            context,
            &files::MANIFESTS,
            files,
            paths,
            self.workspace.as_ref(),
        )
        .await?;
        let brought: BTreeSet<String> = policies.iter().map(|p| p.path.clone()).collect();
        let whole_folder =
            policies.is_empty() && policy_paths.is_empty() && self.policies.is_some();
        let policy_paths = if whole_folder {
            vec![".".to_owned()]
        } else {
            policy_paths
        };
        let policies = files::gather(
            context,
            &POLICIES,
            policies,
            policy_paths,
            self.policies.as_ref(),
        )
        .await?;
        // Tests of policies stand beside them and are no policies.
        let policies: Vec<_> = policies
            .into_iter()
            .filter(|p| !p.name.ends_with("_test.rego"))
            .map(|SourceFile { name, content }| PolicySource { name, content })
            .collect();
        let job = Job {
            files,
            policies,
            data: data.into(),
            parameters: parameters.into(),
            deadline: context.deadline(),
        };
        let engine = self.engine.clone();
        let output = on_own_thread(move || job.run(engine.as_ref())).await??;
        for result in output.results.iter().filter(|r| r.level != Level::Warn) {
            self.metrics.violated(
                &result.package,
                brought.contains(&result.policy),
                result.object.split(' ').next().unwrap_or_default(),
            );
        }
        Ok(output)
    }
}

/// Runs `work` on a thread with a stack of its own, which a pool's thread does not have.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SkillError> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let run = move || {
        if send.send(work()).is_err() {
            tracing::debug!("the task ended before its policies did");
        }
    };
    let started = std::thread::Builder::new()
        .name("rego".into())
        .stack_size(STACK_BYTES)
        .spawn(run);
    started.map_err(|e| SkillError::failed_with("cannot start a thread for the policies", e))?;
    receive
        .await
        .map_err(|e| SkillError::failed_with("the policy engine gave up", e))
}

struct Job {
    files: Vec<SourceFile>,
    policies: Vec<PolicySource>,
    data: Value,
    parameters: Value,
    deadline: Instant,
}

impl Job {
    fn run<E: PolicyEngine>(&self, engine: &E) -> Result<Output, SkillError> {
        let mut program = engine
            .compile(&self.policies, &self.data)
            .map_err(|e| self.refused(&e))?;
        let rules = E::rules(&program).to_vec();
        if rules.is_empty() {
            return Err(SkillError::rejected(
                POLICIES.inline,
                "a rule named deny, violation or warn",
                "none in these policies",
            ));
        }
        let manifests = Manifests::read(&self.files).map_err(|e| {
            SkillError::rejected(
                format!("files[{}].content", e.index),
                "YAML of ordinary size and depth",
                e.source.to_string(),
            )
        })?;
        self.check_syntax(&manifests)?;
        let objects = manifests.objects();
        let mut answers = Answers::default();
        for object in &objects {
            let json = object.root.node().to_json();
            for rule in &rules {
                if Instant::now() >= self.deadline {
                    return Err(SkillError::DeadlineExceeded);
                }
                let input = input_for(rule, object, &json, &self.parameters);
                match engine.eval(&mut program, rule, &input) {
                    Ok(value) => answers.add(rule, object, messages(rule, &value)),
                    Err(PolicyError::Evaluate { message, .. }) => {
                        answers.fail(rule, object, message);
                    }
                    Err(limit) => return Err(self.refused(&limit)),
                }
            }
        }
        Ok(answers.output(rules.len(), objects.len(), E::caveats(&program).to_vec()))
    }

    /// A file that is not YAML has objects that no policy would be asked about.
    fn check_syntax(&self, manifests: &Manifests<'_>) -> Result<(), SkillError> {
        let mut findings = crate::domain::finding::Findings::default();
        manifests.syntax(&mut findings);
        let Some(broken) = findings
            .kept()
            .iter()
            .find(|f| f.rule == crate::domain::rules::YAML_SYNTAX.id)
        else {
            return Ok(());
        };
        let index = self
            .files
            .iter()
            .position(|f| f.name == broken.file)
            .unwrap_or_default();
        let got = format!("{} line {}: {}", broken.file, broken.line, broken.message);
        Err(SkillError::rejected(
            format!("files[{index}].content"),
            "YAML",
            got,
        ))
    }

    fn refused(&self, error: &PolicyError) -> SkillError {
        let (name, expected) = match error {
            PolicyError::Compile { policy, .. } => (Some(policy), "policies in Rego"),
            PolicyError::TimeLimit { .. } => (None, "policies that answer in time"),
            PolicyError::MemoryLimit { .. } => (None, "policies that need less memory"),
            PolicyError::Evaluate { .. } => (None, "policies that evaluate"),
        };
        let index = name.and_then(|name| self.policies.iter().position(|p| p.name == *name));
        let field = index.map_or_else(
            || POLICIES.inline.to_owned(),
            |i| format!("{}[{i}]", POLICIES.inline),
        );
        SkillError::rejected(field, expected, error.to_string())
    }
}

/// Answers so far. Counts everything, keeps the first [`MAX_RESULTS`].
#[derive(Debug, Default)]
struct Answers {
    results: Vec<PolicyResult>,
    errors: Vec<PolicyFailure>,
    denied: usize,
    warned: usize,
    failed: usize,
}

impl Answers {
    fn add(&mut self, rule: &PolicyRule, object: &Object<'_>, messages: Vec<String>) {
        for message in messages {
            *(if rule.level == Level::Warn {
                &mut self.warned
            } else {
                &mut self.denied
            }) += 1;
            if self.results.len() < MAX_RESULTS {
                self.results.push(PolicyResult {
                    policy: rule.policy.clone(),
                    package: rule.package.clone(),
                    rule: rule.rule.clone(),
                    level: rule.level,
                    message,
                    file: object.file.to_owned(),
                    document: object.document,
                    line: object.root.node().at.line,
                    object: object.title(),
                });
            }
        }
    }

    fn fail(&mut self, rule: &PolicyRule, object: &Object<'_>, message: String) {
        self.failed += 1;
        if self.errors.len() < MAX_RESULTS {
            let line = object.root.node().at.line;
            let (policy, name) = (
                rule.policy.clone(),
                format!("{}.{}", rule.package, rule.rule),
            );
            self.errors.push(PolicyFailure {
                policy,
                rule: name,
                file: object.file.to_owned(),
                line,
                message,
            });
        }
    }

    fn output(self, rules: usize, objects: usize, caveats: Vec<Caveat>) -> Output {
        let Self {
            results,
            errors,
            denied,
            warned,
            failed,
        } = self;
        let verdict = if denied + failed == 0 {
            Verdict::Accepted
        } else {
            Verdict::Refused
        };
        let results_left_out = denied + warned + failed > results.len() + errors.len();
        Output {
            verdict,
            denied,
            warned,
            rules,
            objects,
            results,
            errors,
            caveats,
            results_left_out,
        }
    }
}

#[cfg(test)]
mod tests;
