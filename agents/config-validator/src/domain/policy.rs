//! Policies: what they are asked, and what their answers mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{limits::MAX_POLICY_BYTES, object::Object};

/// Deepest nesting of brackets in a policy. The parser works by recursion, so this bounds its stack.
const MAX_NESTING: usize = 64;

/// A policy's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// Name in results.
    pub name: String,
    /// Rego, version 0 or 1.
    pub content: String,
}

/// What a rule's answers mean, told by its name as conftest and Gatekeeper do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `deny`, `deny_...`: refuses.
    Deny,
    /// `violation`, `violation_...`: refuses.
    Violation,
    /// `warn`, `warn_...`: does not refuse.
    Warn,
}

impl Level {
    /// The level of a rule, if its name says one.
    pub fn of(rule: &str) -> Option<Self> {
        let word = rule.split_once('_').map_or(rule, |(word, _)| word);
        match word {
            "deny" => Some(Self::Deny),
            "violation" => Some(Self::Violation),
            "warn" => Some(Self::Warn),
            _ => None,
        }
    }
}

/// A rule that is asked about each object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Policy it stands in.
    pub policy: String,
    /// Package, such as `kubernetes.labels`.
    pub package: String,
    /// Rule, such as `deny`.
    pub rule: String,
    /// What its answers mean.
    pub level: Level,
    /// Whether it asks for `input.review`, as Gatekeeper's templates do.
    pub wants_review: bool,
}

/// Something about a policy that its author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caveat {
    /// Policy.
    pub policy: String,
    /// Line, from 1.
    pub line: usize,
    /// What this engine does there, and what Open Policy Agent does.
    pub message: String,
}

/// Why a policy cannot be used, or gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not Rego, or uses what this engine does not have.
    #[error("{policy} does not compile: {message}")]
    Compile {
        /// Policy.
        policy: String,
        /// What the compiler says.
        message: String,
    },
    /// An evaluation took too long.
    #[error("{rule} ran longer than {limit_ms} ms")]
    TimeLimit {
        /// `package.rule`.
        rule: String,
        /// The limit.
        limit_ms: u128,
    },
    /// An evaluation took too much memory.
    #[error("{rule} took more memory than allowed")]
    MemoryLimit {
        /// `package.rule`.
        rule: String,
    },
    /// It failed on this input.
    #[error("{rule} failed: {message}")]
    Evaluate {
        /// `package.rule`.
        rule: String,
        /// What the engine says.
        message: String,
    },
}

/// An engine that runs policies. One implementation today; the trait is what a second one has to do.
pub trait PolicyEngine: std::fmt::Debug + Send + Sync + 'static {
    /// Policies ready to be asked.
    type Program: Send;

    /// Compiles policies that may use each other, with a data document for all of them.
    ///
    /// # Errors
    /// `Compile`.
    fn compile(
        &self,
        policies: &[PolicySource],
        data: &Value,
    ) -> Result<Self::Program, PolicyError>;

    /// The rules to ask.
    fn rules(program: &Self::Program) -> &[PolicyRule];

    /// Where this engine and Open Policy Agent may differ.
    fn caveats(program: &Self::Program) -> &[Caveat];

    /// The value of a rule for an input, `null` when it is undefined.
    ///
    /// # Errors
    /// `TimeLimit`, `MemoryLimit`, `Evaluate`.
    fn eval(
        &self,
        program: &mut Self::Program,
        rule: &PolicyRule,
        input: &Value,
    ) -> Result<Value, PolicyError>;
}

/// What a rule is asked: the object itself, or Gatekeeper's review of it with parameters.
pub fn input_for(
    rule: &PolicyRule,
    object: &Object<'_>,
    json: &Value,
    parameters: &Value,
) -> Value {
    if !rule.wants_review {
        return json.clone();
    }
    let gvk = object.gvk();
    let kind = gvk
        .map(|g| json!({"group": g.group, "version": g.version, "kind": g.kind}))
        .unwrap_or_default();
    json!({
        "review": {"kind": kind, "name": object.name(), "namespace": object.namespace(), "operation": "CREATE", "object": json},
        "parameters": parameters,
    })
}

/// The messages in a rule's value: texts, objects with `msg`, or a plain `true`.
pub fn messages(rule: &PolicyRule, value: &Value) -> Vec<String> {
    match value {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Bool(true) => vec![format!("{}.{} holds", rule.package, rule.rule)],
        Value::Array(items) => items.iter().map(message).collect(),
        other => vec![message(other)],
    }
}

fn message(item: &Value) -> String {
    let text = item
        .get("msg")
        .or_else(|| item.get("message"))
        .unwrap_or(item);
    text.as_str()
        .map_or_else(|| text.to_string(), str::to_owned)
}

/// Refuses sources that could exhaust the parser.
///
/// # Errors
/// `Compile`.
pub fn check_source(policy: &PolicySource) -> Result<(), PolicyError> {
    let refuse = |message: String| {
        Err(PolicyError::Compile {
            policy: policy.name.clone(),
            message,
        })
    };
    if policy.content.len() > MAX_POLICY_BYTES {
        return refuse(format!("larger than {MAX_POLICY_BYTES} bytes"));
    }
    if nesting(&policy.content) > MAX_NESTING {
        return refuse(format!(
            "brackets are nested deeper than {MAX_NESTING} levels"
        ));
    }
    Ok(())
}

/// Deepest nesting of brackets outside of strings and comments.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            '`' => while chars.next().is_some_and(|c| c != '`') {},
            '"' => skip_string(&mut chars),
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// To the end of a quoted string; it ends with its line at the latest.
fn skip_string(chars: &mut std::str::Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' => return,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> PolicyRule {
        PolicyRule {
            policy: "p.rego".into(),
            package: "main".into(),
            rule: "deny".into(),
            level: Level::Deny,
            wants_review: false,
        }
    }

    #[test]
    fn names_tell_the_level() {
        for (name, level) in [
            ("deny", Some(Level::Deny)),
            ("deny_root", Some(Level::Deny)),
            ("warn", Some(Level::Warn)),
            ("violation", Some(Level::Violation)),
            ("denylist", None),
            ("allow", None),
        ] {
            assert_eq!(Level::of(name), level, "{name}");
        }
    }

    #[test]
    fn reads_every_style_of_answer() {
        for (value, expected) in [
            (json!(["a", "b"]), vec!["a", "b"]),
            (json!([{"msg": "a", "details": {}}]), vec!["a"]),
            (json!(true), vec!["main.deny holds"]),
            (json!(false), vec![]),
            (json!(null), vec![]),
            (json!("a"), vec!["a"]),
            (json!([3]), vec!["3"]),
        ] {
            assert_eq!(messages(&rule(), &value), expected, "{value}");
        }
    }

    #[test]
    fn counts_brackets_but_not_in_strings_and_comments() {
        assert_eq!(nesting("a := [{\"((((\": `[[[`}] # {{{{\n(1)"), 2);
        let deep = PolicySource {
            name: "p".into(),
            content: "[\n".repeat(5000),
        };
        assert!(matches!(
            check_source(&deep),
            Err(PolicyError::Compile { .. })
        ));
    }
}
