//! Variables of one test, and what refers to them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{corpus::Test, target::Target};

/// Variables of one test: `stepId.name`, `stepId.response`, and what the runner and the corpus provide.
#[derive(Debug)]
pub struct Scope {
    variables: BTreeMap<String, Value>,
}

impl Scope {
    pub(super) fn new(test: &Test, target: &Target, defaults: &BTreeMap<String, String>) -> Self {
        let mut variables: BTreeMap<_, _> = defaults
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.clone())))
            .collect();
        variables.insert("webhookUrl".into(), target.webhook.url(&test.id).into());
        if let Some(tokens) = &target.tokens {
            variables.insert(
                "insufficientAuthToken".into(),
                tokens.insufficient.clone().into(),
            );
        }
        Self { variables }
    }

    /// A variable's value.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Value, String> {
        self.variables
            .get(name)
            .ok_or_else(|| format!("nothing defines {{{{{name}}}}}"))
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.fill_text(text)?,
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.fill(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Value::Object(self.fill_members(members)?),
            other => other.clone(),
        })
    }

    pub(super) fn fill_members(
        &self,
        members: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        members
            .iter()
            .map(|(key, value)| Ok((key.clone(), self.fill(value)?)))
            .collect()
    }

    /// A text that is nothing but a reference becomes the value itself.
    pub(super) fn fill_text(&self, text: &str) -> Result<Value, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, reference)) = rest.split_once("{{") {
            let (name, after) = reference
                .split_once("}}")
                .ok_or_else(|| format!("a reference does not end in {text}"))?;
            let value = self.get(name.trim())?;
            if before.is_empty() && after.is_empty() && filled.is_empty() {
                return Ok(value.clone());
            }
            filled += before;
            filled += value.as_str().unwrap_or(&value.to_string());
            rest = after;
        }
        Ok(Value::String(filled + rest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_become_values() {
        let mut scope = Scope {
            variables: BTreeMap::new(),
        };
        scope.set("a.id", json!("7"));
        scope.set("a.response", json!({"x": 1}));
        assert_eq!(scope.fill(&json!("{{a.response}}")), Ok(json!({"x": 1})));
        assert_eq!(
            scope.fill(&json!(["Bearer {{a.id}}"])),
            Ok(json!(["Bearer 7"]))
        );
        assert!(scope.fill(&json!("{{b.id}}")).is_err());
    }
}
