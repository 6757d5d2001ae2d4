//! The skills of one agent by name. Types are erased here and nowhere else.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use schemars::schema_for;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Context, Effect, Skill, SkillError};

/// A decoded call, ready to run once: what comes out is the artifact, unless the run has added artifacts itself.
pub(crate) type Run =
    Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<Option<Value>, SkillError>> + Send>;
type Prepare = Box<dyn Fn(Map<String, Value>) -> Result<Run, SkillError> + Send + Sync>;

/// The skill whose calls make neither task nor record: it carries the records themselves.
pub const DELIVERY_SKILL: &str = "append_audit_records";

/// A registered skill.
pub struct Registered {
    /// Its name.
    pub id: &'static str,
    /// Title for people.
    pub name: &'static str,
    /// What goes in and comes out.
    pub description: &'static str,
    /// Search words.
    pub tags: &'static [&'static str],
    /// What a run may change.
    pub effect: Effect,
    /// Whether the input may hold secrets.
    pub sensitive: bool,
    /// Media types of the files that it takes.
    pub files: &'static [&'static str],
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the artifact.
    pub output: Value,
    prepare: Prepare,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Registered {
    fn new<S: Skill>(skill: S) -> Self {
        let skill = Arc::new(skill);
        let prepare = move |input: Map<String, Value>| -> Result<Run, SkillError> {
            let input = decode::<S::Input>(input)?;
            let skill = skill.clone();
            Ok(Box::new(move |context| {
                Box::pin(async move { encode::<S>(&skill.run(&context, input).await?).map(Some) })
            }))
        };
        Self {
            id: S::ID,
            name: S::NAME,
            description: S::DESCRIPTION,
            tags: S::TAGS,
            effect: S::EFFECT,
            sensitive: S::SENSITIVE_INPUT,
            files: S::INPUT_FILES,
            input: schema_for!(S::Input).into(),
            output: schema_for!(S::Output).into(),
            prepare: Box::new(prepare),
        }
    }

    /// Decodes an input; what comes back runs once.
    ///
    /// # Errors
    /// `Rejected` with the wrong field.
    pub(crate) fn prepare(&self, input: Map<String, Value>) -> Result<Run, SkillError> {
        (self.prepare)(input)
    }
}

/// All skills of an agent.
#[derive(Debug, Default)]
pub struct Registry(BTreeMap<&'static str, Registered>);

impl Registry {
    /// Adds a skill.
    pub fn add<S: Skill>(&mut self, skill: S) {
        self.0.insert(S::ID, Registered::new(skill));
    }

    /// A skill by name.
    pub fn get(&self, id: &str) -> Option<&Registered> {
        self.0.get(id)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.0.values()
    }
}

fn encode<S: Skill>(output: &S::Output) -> Result<Value, SkillError>
where
    S::Output: Serialize,
{
    serde_json::to_value(output)
        .map_err(|e| SkillError::failed_with(format!("cannot encode the artifact of {}", S::ID), e))
}

/// Decodes with the path of the wrong field.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(
    input: Map<String, Value>,
) -> Result<T, SkillError> {
    serde_path_to_error::deserialize(Value::Object(input)).map_err(|error| {
        let path = error.path().to_string();
        let (member, expected, got) = explain(&error.into_inner().to_string());
        let field = match (path.as_str(), member) {
            (".", Some(member)) => member,
            (_, Some(member)) if !path.ends_with(&member) => format!("{path}.{member}"),
            _ => path,
        };
        SkillError::Rejected {
            field,
            expected,
            got,
        }
    })
}

/// Splits serde's sentence into (member, expected, got). Values are never repeated: they may be secrets.
fn explain(message: &str) -> (Option<String>, String, String) {
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let after = |text: &str, mark: &str| text.split_once(mark).map(|(_, rest)| rest.to_owned());
    if message.starts_with("missing field") {
        return (
            quoted(message),
            "a value (the field is required)".into(),
            "nothing".into(),
        );
    }
    if message.starts_with("unknown field") {
        let expected = after(message, ", expected ").unwrap_or_else(|| "no further fields".into());
        return (quoted(message), expected, "an unknown field".into());
    }
    if message.starts_with("unknown variant") {
        return (
            None,
            after(message, ", expected ").unwrap_or_default(),
            "another word".into(),
        );
    }
    if let Some((got, expected)) = message
        .strip_prefix("invalid ")
        .and_then(|m| m.split_once(", expected "))
    {
        let kind = got.split_once(": ").map_or(got, |(_, kind)| kind);
        let kind = kind.split(['"', '`']).next().unwrap_or(kind).trim();
        return (None, expected.to_owned(), kind.to_owned());
    }
    (
        None,
        message
            .split([':', '"', '`'])
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        "another value".into(),
    )
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only decoded")]
    struct Input {
        files: Vec<File>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only decoded")]
    struct File {
        path: String,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
    }

    #[test]
    fn names_the_wrong_field_and_never_repeats_its_value() {
        for (input, field, got) in [
            (json!({}), "files", "nothing"),
            (json!({"files": 3}), "files", "integer"),
            (json!({"files": "hunter2"}), "files", "string"),
            (
                json!({"files": [{"path": "x"}, {"path": ["hunter2"]}]}),
                "files[1].path",
                "sequence",
            ),
            (json!({"files": [{}]}), "files[0].path", "nothing"),
            (
                json!({"files": [], "hunter": 1}),
                "hunter",
                "an unknown field",
            ),
            (
                json!({"files": [{"path": "x", "kind": "hunter2"}]}),
                "files[0].kind",
                "another word",
            ),
        ] {
            let Value::Object(map) = input.clone() else {
                unreachable!()
            };
            let Err(SkillError::Rejected {
                field: f,
                got: g,
                expected,
            }) = decode::<Input>(map)
            else {
                panic!("{input}")
            };
            assert!(
                f == field && g.starts_with(got) && !expected.is_empty() && !g.contains("hunter2"),
                "{input}: {f} / {expected} / {g}"
            );
        }
    }
}
