//! An object against its shape: one walk, every mistake with its place.

use std::collections::BTreeMap;

use super::{
    shape::{Format, Rest, Shape, ShapeId, Table},
    suggest::nearest,
};
use crate::domain::{
    finding::{Finding, Findings},
    object::Object,
    quantity::Quantity,
    rules,
    yaml::{Cursor, Position, Value},
};

/// Checks an object against its kind's shape.
pub fn check(table: &Table, shape: ShapeId, object: &Object<'_>, findings: &mut Findings) {
    Check {
        table,
        object,
        findings,
    }
    .value(shape, &object.root);
}

struct Check<'a, 'o> {
    table: &'a Table,
    object: &'a Object<'o>,
    findings: &'a mut Findings,
}

impl Check<'_, '_> {
    fn value(&mut self, shape: ShapeId, place: &Cursor<'_>) {
        let node = place.node();
        if node.is_null() {
            return; // the API server drops it
        }
        match self.table.shape(shape) {
            Shape::Object {
                fields,
                required,
                rest,
            } => self.object(fields, required, *rest, place),
            Shape::Array(item) => match node.value {
                Value::Sequence(_) => self.items(*item, place),
                _ => self.wrong(place, "array"),
            },
            Shape::String {
                format,
                words,
                pattern,
            } => match node.as_str() {
                None => self.wrong_text(place, *format),
                Some(text) => {
                    self.text(text, *format, words, place);
                    if let Some(pattern) = pattern.as_ref().filter(|p| !p.is_match(text)) {
                        self.add(
                            &rules::SCHEMA_FORMAT,
                            place,
                            format!("does not match {pattern}"),
                            &format!("string matching {pattern}"),
                        );
                    }
                }
            },
            Shape::Integer { min, max } => match node.as_i64() {
                None => self.wrong(place, "integer"),
                Some(number) if number < *min || number > *max => {
                    self.add(
                        &rules::SCHEMA_FORMAT,
                        place,
                        "is out of range".into(),
                        &format!("integer from {min} to {max}"),
                    );
                }
                Some(_) => {}
            },
            Shape::Number if !matches!(node.value, Value::Number(..)) => {
                self.wrong(place, "number");
            }
            Shape::Boolean if node.as_bool().is_none() => self.wrong(place, "boolean"),
            Shape::IntOrString if node.as_i64().is_none() && node.as_str().is_none() => {
                self.wrong(place, "integer or string");
            }
            Shape::Quantity => self.quantity(place),
            Shape::Any | Shape::Number | Shape::Boolean | Shape::IntOrString => {}
        }
    }

    fn object(
        &mut self,
        fields: &BTreeMap<String, ShapeId>,
        required: &[String],
        rest: Rest,
        place: &Cursor<'_>,
    ) {
        if !matches!(place.node().value, Value::Mapping(_)) {
            return self.wrong(place, "object");
        }
        for missing in required.iter().filter(|name| place.get(name).is_none()) {
            let message = format!("the required field `{missing}` is missing");
            self.add(
                &rules::SCHEMA_MISSING_FIELD,
                place,
                message,
                &format!("field `{missing}`"),
            );
        }
        for (entry, (name, value)) in place.node().entries().iter().zip(place.fields()) {
            match (fields.get(name), rest) {
                (Some(shape), _) => self.value(*shape, &value),
                (None, Rest::Shaped(shape)) => self.value(shape, &value),
                (None, Rest::Free) => {}
                (None, Rest::Forbidden) => self.unknown(fields, entry.key_at, &value, name),
            }
        }
    }

    fn items(&mut self, item: ShapeId, place: &Cursor<'_>) {
        for value in place.items() {
            self.value(item, &value);
        }
    }

    fn text(&mut self, text: &str, format: Format, words: &[String], place: &Cursor<'_>) {
        if !format.accepts(text) {
            self.add(
                &rules::SCHEMA_FORMAT,
                place,
                format!("is no {}", format.expected()),
                format.expected(),
            );
        }
        if !words.is_empty() && !text.is_empty() && !words.iter().any(|w| w == text) {
            let hint = nearest(text, words.iter().map(String::as_str))
                .map(|w| format!("; did you mean `{w}`?"))
                .unwrap_or_default();
            let message = format!("is none of the values of this field{hint}");
            self.add(
                &rules::SCHEMA_UNKNOWN_VALUE,
                place,
                message,
                &format!("one of {}", words.join(", ")),
            );
        }
    }

    fn quantity(&mut self, place: &Cursor<'_>) {
        const EXPECTED: &str = "quantity such as 100m, 0.5, 2 or 1Gi";
        match &place.node().value {
            Value::Number(..) => {}
            Value::String(text) if Quantity::parse(text).is_some() => {}
            Value::String(_) => self.add(
                &rules::SCHEMA_FORMAT,
                place,
                "is no quantity".into(),
                EXPECTED,
            ),
            _ => self.wrong(place, EXPECTED),
        }
    }

    fn unknown(
        &mut self,
        fields: &BTreeMap<String, ShapeId>,
        key_at: Position,
        place: &Cursor<'_>,
        name: &str,
    ) {
        let hint = nearest(name, fields.keys().map(String::as_str));
        let message = match hint {
            Some(hint) => format!("unknown field `{name}`; did you mean `{hint}`?"),
            None => format!("unknown field `{name}`"),
        };
        let expected = hint.map_or_else(
            || format!("one of {}", list(fields)),
            |hint| format!("field `{hint}`"),
        );
        let finding = Finding::at(&rules::SCHEMA_UNKNOWN_FIELD, self.object, place, message)
            .expected(expected)
            .got(format!("field `{name}`"));
        self.findings.push(Finding {
            line: key_at.line,
            column: key_at.column,
            ..finding
        });
    }

    fn wrong_text(&mut self, place: &Cursor<'_>, format: Format) {
        let node = place.node();
        let message = match &node.value {
            Value::Bool(_, word) if !matches!(word.as_str(), "true" | "false") => {
                format!(
                    "must be string, is boolean: YAML 1.1 reads an unquoted `{word}` so; put it in quotes"
                )
            }
            _ => format!("must be {}, is {}", format.expected(), node.type_name()),
        };
        self.add(&rules::SCHEMA_WRONG_TYPE, place, message, format.expected());
    }

    fn wrong(&mut self, place: &Cursor<'_>, expected: &str) {
        let message = format!("must be {expected}, is {}", place.node().type_name());
        self.add(&rules::SCHEMA_WRONG_TYPE, place, message, expected);
    }

    fn add(&mut self, rule: &rules::Rule, place: &Cursor<'_>, message: String, expected: &str) {
        let name = place.pointer().rsplit('/').next().unwrap_or_default();
        let message = if rule.id == rules::SCHEMA_MISSING_FIELD.id {
            message
        } else {
            format!("`{name}` {message}")
        };
        self.findings.push(
            Finding::at(rule, self.object, place, message)
                .expected(expected)
                .got(place.describe()),
        );
    }
}

/// The first names, enough to recognise the place.
fn list(fields: &BTreeMap<String, ShapeId>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<&str> = fields.keys().take(SHOWN).map(String::as_str).collect();
    if fields.len() > SHOWN {
        names.push("...");
    }
    names.join(", ")
}
