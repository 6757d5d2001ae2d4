//! Holds a value against a rule.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Version, code,
    code::Problem,
    format,
    rule::{Format, Object, Pattern, Range, Rule, Table},
};
use crate::{Finding, document::child, secret};

/// Deepest nesting of rules; documents are limited far below.
const MAX_DEPTH: usize = 256;
/// Most findings that are kept: nobody reads more.
const MAX_FINDINGS: usize = 1_000;

pub(super) struct Walker<'a> {
    pub(super) table: &'a Table,
    pub(super) version: Version,
    pub(super) findings: Vec<Finding>,
    depth: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(table: &'a Table, version: Version) -> Self {
        Self {
            table,
            version,
            findings: Vec::new(),
            depth: 0,
        }
    }

    pub(super) fn named(&mut self, name: &str, value: &Value, pointer: &str) {
        match self.table.get(name).and_then(|rules| {
            rules
                .iter()
                .find(|(versions, _)| versions.contains(self.version))
        }) {
            Some((_, rule)) => self.check(rule, value, pointer),
            None => debug_assert!(
                false,
                "the rule {name} is missing: a test reads the whole table"
            ),
        }
    }

    fn check(&mut self, rule: &Rule, value: &Value, pointer: &str) {
        if self.depth >= MAX_DEPTH {
            return;
        }
        self.depth += 1;
        match rule {
            Rule::Named(name) => self.named(name, value, pointer),
            Rule::Object(object) => self.object(object, value, pointer),
            Rule::List {
                item,
                unique,
                count,
            } => self.list(item, *unique, *count, (value, pointer)),
            Rule::OneOf(rules) => self.alternatives(rules, value, pointer, true),
            Rule::AnyOf(rules) => self.alternatives(rules, value, pointer, false),
            Rule::Text {
                length,
                format,
                pattern,
            } => self.text(*length, *format, pattern.as_ref(), (value, pointer)),
            Rule::Words(words) => self.word(words, value, pointer),
            Rule::Number(range) => self.number(*range, "a number", (value, pointer)),
            Rule::Integer(range) => self.number(*range, "an integer", (value, pointer)),
            Rule::Bool if !value.is_boolean() => {
                self.problem(Problem::Type, pointer, "true or false", value);
            }
            Rule::Const(expected) if value != expected => {
                self.problem(Problem::Word, pointer, expected.to_string(), value);
            }
            Rule::Any | Rule::Bool | Rule::Const(_) => {}
        }
        self.depth -= 1;
    }

    fn object(&mut self, object: &Object, value: &Value, pointer: &str) {
        let Some(members) = value.as_object() else {
            return self.problem(Problem::Type, pointer, "a mapping", value);
        };
        for field in object
            .fields_of(self.version)
            .filter(|field| field.required && !members.contains_key(field.name))
        {
            let pointer = child(pointer, field.name);
            let code = code::of(Problem::Missing, &pointer);
            self.push(
                Finding::error(code, pointer, format!("the field {}", field.name)).got("nothing"),
            );
        }
        if !object.count.contains(count(members.len())) {
            let expected = format!("{} fields", object.count);
            self.problem(Problem::Length, pointer, expected, value);
        }
        for (name, value) in members {
            let pointer = child(pointer, name);
            match (object.field(name, self.version), &object.rest) {
                (Some(field), _) => self.check(&field.rule, value, &pointer),
                (None, Some(rest)) => self.check(rest, value, &pointer),
                (None, None) if object.closed => {
                    let known: Vec<&str> = object
                        .fields_of(self.version)
                        .map(|field| field.name)
                        .collect();
                    let code = code::of(Problem::Unknown, &pointer);
                    let expected = format!("only the fields {}", known.join(", "));
                    self.push(
                        Finding::error(code, pointer, expected).got(format!("the field {name}")),
                    );
                }
                (None, None) => {}
            }
        }
    }

    fn list(&mut self, item: &Rule, unique: bool, range: Range, (value, pointer): (&Value, &str)) {
        let Some(items) = value.as_array() else {
            return self.problem(Problem::Type, pointer, "a list", value);
        };
        if !range.contains(count(items.len())) {
            self.problem(Problem::Length, pointer, format!("{range} items"), value);
        }
        let mut seen = HashSet::new();
        for (index, value) in items.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            if unique && !seen.insert(identity(value)) {
                self.problem(Problem::Duplicate, &pointer, "no item twice", value);
            }
            self.check(item, value, &pointer);
        }
    }

    fn alternatives(&mut self, rules: &[Rule], value: &Value, pointer: &str, exactly_one: bool) {
        let kept = std::mem::take(&mut self.findings);
        let mut tried: Vec<Vec<Finding>> = Vec::new();
        for rule in rules {
            self.check(rule, value, pointer);
            tried.push(std::mem::take(&mut self.findings));
        }
        self.findings = kept;
        let fitting = tried.iter().filter(|findings| findings.is_empty()).count();
        if fitting == 1 || (fitting > 1 && !exactly_one) {
            return;
        }
        if fitting > 1 {
            return self.problem(
                Problem::Type,
                pointer,
                "a value that fits only one alternative",
                value,
            );
        }
        // Findings below this value come from the alternative that was meant.
        let deeper = tried
            .iter()
            .find(|findings| findings.iter().all(|finding| finding.pointer != pointer));
        if let Some(findings) = deeper {
            self.findings.extend(findings.iter().cloned());
        } else {
            let mut expected: Vec<&str> = tried
                .iter()
                .flatten()
                .map(|finding| finding.expected.as_str())
                .collect();
            expected.dedup();
            self.problem(Problem::Type, pointer, expected.join(" or "), value);
        }
    }

    fn text(
        &mut self,
        length: Range,
        format: Option<Format>,
        pattern: Option<&Pattern>,
        (value, pointer): (&Value, &str),
    ) {
        let Some(text) = value.as_str() else {
            return self.problem(Problem::Type, pointer, "text", value);
        };
        let characters = text.chars().count();
        if !length.contains(count(characters)) {
            let code = code::of(Problem::Length, pointer);
            let expected = format!("{length} characters");
            self.push(
                Finding::error(code, pointer, expected).got(format!("{characters} characters")),
            );
        }
        if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(text)) {
            let expected = format!("text like {}", pattern.text);
            self.problem(Problem::Pattern, pointer, expected, value);
        }
        if let Some(format) = format.filter(|format| !format::holds(*format, text)) {
            let expected = describe_format(format);
            self.problem(Problem::Format(format), pointer, expected, value);
        }
    }

    fn word(&mut self, words: &[&str], value: &Value, pointer: &str) {
        let problem = match value.as_str() {
            Some(text) if words.contains(&text) => return,
            Some(_) => Problem::Word,
            None => Problem::Type,
        };
        let expected = format!("one of {}", words.join(", "));
        self.problem(problem, pointer, expected, value);
    }

    fn number(&mut self, range: Range, what: &str, (value, pointer): (&Value, &str)) {
        let number = value
            .as_f64()
            .filter(|number| what == "a number" || number.fract() == 0.0);
        match number {
            None => self.problem(Problem::Type, pointer, what, value),
            Some(number) if !range.contains(number) => {
                self.problem(Problem::Range, pointer, format!("{what}, {range}"), value);
            }
            Some(_) => {}
        }
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    fn problem(
        &mut self,
        problem: Problem,
        pointer: &str,
        expected: impl Into<String>,
        value: &Value,
    ) {
        let code = code::of(problem, pointer);
        self.findings
            .push(Finding::error(code, pointer, expected).got(secret::describe(value)));
    }
}

fn describe_format(format: Format) -> &'static str {
    match format {
        Format::DateTime => "a date and time like 2026-01-07T10:00:00Z",
        Format::Email => "an e-mail address",
        Format::Uri => "a URI",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a document holds at most 100,000 values"
)]
fn count(items: usize) -> f64 {
    items as f64
}

/// The same text for values that JSON Schema calls equal: 1 and 1.0 are, and mappings in any order.
fn identity(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            let whole = float.fract() == 0.0 && float.abs() < 9e15;
            if whole {
                format!("{float:.0}")
            } else {
                number.to_string()
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(identity).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", identity(value)))
                .collect();
            members.sort_unstable();
            format!("{{{}}}", members.join(","))
        }
        _ => value.to_string(),
    }
}
