//! Keys that neither the standard nor the overlay knows: what `--strict` adds, because the standard
//! leaves most mappings open. `overlay.rules` lists what is known beside the standard: the announcement's
//! overlay, what the conformance profiles ask for, what this project reads in the open mappings.

use serde_json::Value;

use super::{
    TABLE, Version,
    rule::{Object, Rule},
    spec_rule,
};
use crate::{Finding, document::child};

/// The unknown keys of a document.
pub(super) fn keys(document: &Value, version: Version) -> Vec<Finding> {
    let mut search = Search {
        version,
        findings: Vec::new(),
    };
    search.look(
        &[&Rule::Named("Manifest"), &Rule::Named("OverlayManifest")],
        document,
        "",
    );
    let rule = document
        .get("kind")
        .and_then(Value::as_str)
        .and_then(spec_rule);
    if let (Some(rule), Some(spec)) = (rule, document.get("spec")) {
        search.look(
            &[&Rule::Named(rule), &Rule::Named("OverlaySpec")],
            spec,
            "/spec",
        );
    }
    search.findings
}

struct Search {
    version: Version,
    findings: Vec<Finding>,
}

impl Search {
    /// Looks for keys that none of the rules knows.
    fn look(&mut self, rules: &[&Rule], value: &Value, pointer: &str) {
        let rules = self.resolve(rules, value);
        match value {
            Value::Array(items) => {
                let inner: Vec<&Rule> = rules
                    .iter()
                    .filter_map(|rule| {
                        if let Rule::List { item, .. } = rule {
                            Some(item.as_ref())
                        } else {
                            None
                        }
                    })
                    .collect();
                for (index, item) in items.iter().enumerate() {
                    self.look(&inner, item, &format!("{pointer}/{index}"));
                }
            }
            Value::Object(members) => {
                let objects: Vec<&Object> = rules
                    .iter()
                    .filter_map(|rule| {
                        if let Rule::Object(object) = rule {
                            Some(object)
                        } else {
                            None
                        }
                    })
                    .collect();
                if objects.is_empty() || objects.iter().any(|object| object.is_free()) {
                    return;
                }
                for (name, value) in members {
                    self.member(&objects, name, value, &child(pointer, name));
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, objects: &[&Object], name: &str, value: &Value, pointer: &str) {
        let known: Vec<&Rule> = objects
            .iter()
            .filter_map(|object| {
                object
                    .field(name, self.version)
                    .map(|field| &field.rule)
                    .or(object.rest.as_deref())
            })
            .collect();
        if known.is_empty() {
            let mut names: Vec<&str> = objects
                .iter()
                .flat_map(|object| object.fields_of(self.version))
                .map(|field| field.name)
                .collect();
            names.sort_unstable();
            names.dedup();
            let expected = format!("one of the known fields {}", names.join(", "));
            self.findings.push(
                Finding::error("unknown-key", pointer, expected).got(format!("the field {name}")),
            );
        } else if pointer != "/spec" {
            self.look(&known, value, pointer);
        }
    }

    /// Follows names and alternatives to the rules that fit the value's type.
    fn resolve<'r>(&self, rules: &[&'r Rule], value: &Value) -> Vec<&'r Rule>
    where
        'static: 'r,
    {
        let mut resolved: Vec<&'r Rule> = Vec::new();
        let mut open: Vec<&'r Rule> = rules.to_vec();
        while let Some(rule) = open.pop() {
            match rule {
                Rule::Named(name) => {
                    let named = TABLE.get(name).into_iter().flatten();
                    open.extend(
                        named
                            .filter(|(versions, _)| versions.contains(self.version))
                            .map(|(_, rule)| rule),
                    );
                }
                Rule::OneOf(rules) | Rule::AnyOf(rules) => open.extend(rules),
                Rule::Object(_) if value.is_object() => resolved.push(rule),
                Rule::List { .. } if value.is_array() => resolved.push(rule),
                _ => {}
            }
        }
        resolved
    }
}

impl Object {
    /// A mapping without named fields takes any.
    fn is_free(&self) -> bool {
        self.fields.is_empty() && self.rest.is_none() && !self.closed
    }
}
