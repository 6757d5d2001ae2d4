//! The assertion language of ACTS (section 5): a tree that mirrors the answer, with operators at its leaves.

use std::fmt::Write as _;

use regex::Regex;
use serde_json::{Map, Value};

/// Names of JSON types.
const TYPES: [&str; 6] = ["string", "number", "boolean", "array", "object", "null"];

/// Whether a value is as expected; otherwise the first difference.
///
/// # Errors
/// Where, what was expected, and what is there.
pub fn check(expected: &Value, actual: Option<&Value>, path: &str) -> Result<(), String> {
    match expected {
        Value::Object(members) => members.iter().try_for_each(|(key, argument)| {
            if is_operator(key, argument) {
                apply(key, argument, actual, path)
            } else {
                let inner = actual.and_then(|value| value.get(key));
                check(argument, inner, &format!("{path}.{key}"))
            }
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let inner = actual.and_then(|value| value.get(index));
            check(item, inner, &format!("{path}[{index}]"))
        }),
        scalar => require(actual.is_some_and(|value| equal(scalar, value)), || {
            difference(path, &scalar.to_string(), actual)
        }),
    }
}

/// A key is an operator when its argument is one's; otherwise it is a member's name. The corpus needs both readings:
/// `{type: string}` and `{type: {type: string}}`.
fn is_operator(key: &str, argument: &Value) -> bool {
    match key {
        "type" => argument.as_str().is_some_and(|name| TYPES.contains(&name)),
        "exists" | "absent" => argument == &Value::Bool(true),
        "contains" | "matches" | "starts_with" | "ends_with" => argument.is_string(),
        "gt" | "gte" | "lt" | "lte" | "count" | "count_gte" | "count_lte" => argument.is_number(),
        "one_of" | "any_of" | "all_of" => argument.is_array(),
        "items" => argument.is_array() || argument.is_object(),
        _ => false,
    }
}

fn apply(
    operator: &str,
    argument: &Value,
    actual: Option<&Value>,
    path: &str,
) -> Result<(), String> {
    match operator {
        "one_of" | "any_of" => alternatives(argument, actual, path),
        "all_of" => list(argument)
            .iter()
            .try_for_each(|one| check(one, actual, path)),
        "items" if argument.is_array() => check(argument, actual, path),
        "items" => actual
            .and_then(Value::as_array)
            .ok_or_else(|| difference(path, "an array", actual))?
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(argument, Some(item), &format!("{path}[{index}]"))),
        _ => require(holds(operator, argument, actual), || {
            difference(path, &format!("{operator} {argument}"), actual)
        }),
    }
}

fn alternatives(argument: &Value, actual: Option<&Value>, path: &str) -> Result<(), String> {
    let mut reasons = String::new();
    for alternative in list(argument) {
        match check(alternative, actual, path) {
            Ok(()) => return Ok(()),
            Err(reason) => drop(write!(reasons, "; {reason}")),
        }
    }
    Err(format!("{path}: no alternative holds{reasons}"))
}

fn holds(operator: &str, argument: &Value, actual: Option<&Value>) -> bool {
    let Some(value) = actual else {
        return operator == "absent";
    };
    let text = value.as_str().unwrap_or_default();
    let pattern = argument.as_str().unwrap_or_default();
    match operator {
        "exists" => true,
        "type" => kind(value) == pattern,
        "contains" => text.contains(pattern),
        "starts_with" => text.starts_with(pattern),
        "ends_with" => text.ends_with(pattern),
        "matches" => {
            value.is_string() && Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
        }
        "gt" | "gte" | "lt" | "lte" => compare(operator, value.as_f64(), argument.as_f64()),
        "count" | "count_gte" | "count_lte" => {
            let length = value
                .as_array()
                .and_then(|items| u32::try_from(items.len()).ok());
            compare(operator, length.map(f64::from), argument.as_f64())
        }
        _ => false,
    }
}

#[expect(clippy::float_cmp, reason = "lengths are whole numbers")]
fn compare(operator: &str, value: Option<f64>, bound: Option<f64>) -> bool {
    let (Some(value), Some(bound)) = (value, bound) else {
        return false;
    };
    match operator {
        "gt" => value > bound,
        "gte" | "count_gte" => value >= bound,
        "lt" => value < bound,
        "lte" | "count_lte" => value <= bound,
        _ => value == bound,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn equal(expected: &Value, actual: &Value) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(one), Some(other)) => compare("count", Some(one), Some(other)),
        _ => expected == actual,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn difference(path: &str, expected: &str, actual: Option<&Value>) -> String {
    let found = actual.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    format!("{path}: expected {expected}, found {}", shorten(&found))
}

/// The beginning of a text that may be long.
pub fn shorten(text: &str) -> String {
    const SHOWN: usize = 300;
    let short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short + "..."
    } else {
        short
    }
}

/// All values at a path such as `task.artifacts[*].parts[0].text`.
pub fn select<'a>(root: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![root];
    for step in path.split('.').flat_map(|part| part.split_inclusive('[')) {
        let step = step.trim_end_matches('[').trim_end_matches(']');
        found = found
            .into_iter()
            .flat_map(|value| match (step, value) {
                ("", value) => vec![value],
                ("*", Value::Array(items)) => items.iter().collect(),
                (index, Value::Array(items)) => index
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .into_iter()
                    .collect(),
                (name, value) => value.get(name).into_iter().collect(),
            })
            .collect();
    }
    found
}

/// Whether `path == value`, `path != value` or `path in [value, ...]` holds for an answer.
///
/// # Errors
/// An expression of another form.
pub fn until(expression: &str, root: &Value) -> Result<bool, String> {
    let is = |path: &str, value: &str| {
        select(root, path.trim())
            .first()
            .and_then(|found| found.as_str())
            == Some(value.trim())
    };
    if let Some((path, values)) = expression.split_once(" in ") {
        let values = values.trim().trim_start_matches('[').trim_end_matches(']');
        return Ok(values.split(',').any(|value| is(path, value)));
    }
    if let Some((path, value)) = expression.split_once("!=") {
        return Ok(!is(path, value));
    }
    expression
        .split_once("==")
        .map(|(path, value)| is(path, value))
        .ok_or_else(|| format!("cannot understand the condition {expression}"))
}

/// Whether some element at a path matches.
///
/// # Errors
/// That none does.
pub fn any_element(root: &Value, path: &str, expected: &Value) -> Result<(), String> {
    let elements = select(root, path);
    let matching = elements
        .iter()
        .any(|element| check(expected, Some(element), path).is_ok());
    require(matching, || {
        let expected = Value::Object(Map::from_iter([(path.to_owned(), expected.clone())]));
        format!("none of {} elements matches {expected}", elements.len())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn accepts(expected: &Value, actual: &Value) {
        assert_eq!(check(expected, Some(actual), "$"), Ok(()));
    }

    #[track_caller]
    fn refuses(expected: &Value, actual: &Value) {
        assert!(
            check(expected, Some(actual), "$").is_err(),
            "{expected} {actual}"
        );
    }

    #[test]
    fn scalars_are_equal_or_not() {
        accepts(&json!({"a": {"b": 1}}), &json!({"a": {"b": 1.0, "c": 2}}));
        refuses(&json!({"a": {"b": 1}}), &json!({"a": {"b": 2}}));
        refuses(&json!({"a": "1"}), &json!({"a": 1}));
        refuses(&json!({"a": 1}), &json!({}));
    }

    #[test]
    fn operators_and_members_of_the_same_name() {
        accepts(&json!({"type": "array", "count_gte": 1}), &json!([1]));
        refuses(&json!({"type": "array", "count_gte": 2}), &json!([1]));
        accepts(&json!({"type": {"type": "string"}}), &json!({"type": "x"}));
        refuses(&json!({"type": {"type": "string"}}), &json!("x"));
    }

    #[test]
    fn absent_holds_for_nothing_only() {
        accepts(&json!({"x": {"absent": true}}), &json!({"y": 1}));
        refuses(&json!({"x": {"absent": true}}), &json!({"x": null}));
        accepts(
            &json!({"x": {"any_of": [{"absent": true}, {"type": "array", "count": 0}]}}),
            &json!({"x": []}),
        );
        refuses(
            &json!({"x": {"any_of": [{"absent": true}, {"count": 0}]}}),
            &json!({"x": [1]}),
        );
    }

    #[test]
    fn items_of_a_map_are_all_and_of_a_list_are_by_position() {
        let mixed = json!([{"v": "1.0"}, {"v": "0.3"}]);
        accepts(&json!({"items": [{"v": {"starts_with": "1."}}]}), &mixed);
        refuses(&json!({"items": {"v": {"starts_with": "1."}}}), &mixed);
    }

    #[test]
    fn text_operators() {
        accepts(
            &json!({"all_of": [{"matches": "^.{3,}$"}, {"contains": "as"}]}),
            &json!("task"),
        );
        refuses(&json!({"matches": "^.{12,}$"}), &json!("task"));
        refuses(&json!({"contains": "x"}), &json!(5));
    }

    #[test]
    fn paths_select_elements() {
        let root = json!({"a": [{"p": [{"t": 1}, {"t": 2}]}, {"p": [{"t": 3}]}]});
        assert_eq!(
            select(&root, "a[*].p[*].t"),
            [&json!(1), &json!(2), &json!(3)]
        );
        assert_eq!(select(&root, "a[1].p[0].t"), [&json!(3)]);
        assert!(select(&root, "a[7].p").is_empty());
        assert!(any_element(&root, "a[*].p[*]", &json!({"t": 3})).is_ok());
        assert!(any_element(&root, "a[*].p[*]", &json!({"t": 4})).is_err());
    }

    #[test]
    fn conditions() {
        let task = json!({"status": {"state": "B"}});
        assert_eq!(until("status.state in [A, B]", &task), Ok(true));
        assert_eq!(until("status.state == A", &task), Ok(false));
        assert_eq!(until("status.state != A", &task), Ok(true));
        assert!(until("status.state ~ A", &task).is_err());
    }
}
