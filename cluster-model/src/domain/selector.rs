//! Label and field selectors.

use serde_json::Value;

use super::kind::Kind;
use super::object::{list, members, text};
use super::refusal::Refusal;

/// A conjunction of requirements on labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Labels {
    /// Reads the query form: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.
    ///
    /// # Errors
    /// 400 when a part is none of these.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut rest = query.trim();
        let mut requirements = Vec::new();
        while !rest.is_empty() {
            let (part, after) = split(rest);
            requirements.push(requirement(part.trim()).ok_or_else(|| {
                Refusal::bad_request(format!("unable to parse requirement: {:?}", part.trim()))
            })?);
            rest = after.trim();
        }
        Ok(Self(requirements))
    }

    /// Reads a `LabelSelector` object; `None` when it uses an unknown operator.
    pub fn of(selector: &Value) -> Option<Self> {
        let equal = members(selector, "/matchLabels").map(|(key, value)| Requirement {
            key: key.clone(),
            rule: Rule::In(vec![value.as_str().unwrap_or_default().to_owned()]),
        });
        let mut requirements: Vec<_> = equal.collect();
        for expression in list(selector, "/matchExpressions") {
            let values = list(expression, "/values").iter();
            let values = values
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let rule = match text(expression, "/operator") {
                "In" => Rule::In(values),
                "NotIn" => Rule::NotIn(values),
                "Exists" => Rule::Exists,
                "DoesNotExist" => Rule::Missing,
                _ => return None,
            };
            let key = text(expression, "/key").to_owned();
            requirements.push(Requirement { key, rule });
        }
        Some(Self(requirements))
    }

    /// Says whether an object's labels satisfy every requirement.
    pub fn match_object(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
        self.match_labels(labels)
    }

    /// Says whether a map of labels satisfies every requirement.
    pub fn match_labels(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key).and_then(Value::as_str);
            match &requirement.rule {
                Rule::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Rule::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
                Rule::Exists => value.is_some(),
                Rule::Missing => value.is_none(),
            }
        })
    }

    /// Says whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Splits at the first comma that is not inside parentheses.
fn split(text: &str) -> (&str, &str) {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let (part, rest) = text.split_at(at);
                return (part, rest.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (text, "")
}

fn requirement(part: &str) -> Option<Requirement> {
    let made = |key: &str, rule| {
        let key = key.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        (!key.is_empty() && key.chars().all(word)).then(|| Requirement {
            key: key.to_owned(),
            rule,
        })
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, set)) = part.split_once('(') {
        let values = set.strip_suffix(')')?.split(',');
        let values = values.map(|value| value.trim().to_owned()).collect();
        let (key, operator) = key.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => made(key, Rule::In(values)),
            "notin" => made(key, Rule::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return made(key, Rule::NotIn(one(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return made(key, Rule::In(one(value)));
    }
    match part.strip_prefix('!') {
        Some(key) => made(key, Rule::Missing),
        None => made(part, Rule::Exists),
    }
}

/// A conjunction of requirements on the few fields that Kubernetes lets one select by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Reads `a=b,c!=d` for a kind.
    ///
    /// # Errors
    /// 400 for a field that this kind cannot be selected by.
    pub fn parse(kind: &Kind, query: &str) -> Result<Self, Refusal> {
        let parts = query.split(',').filter(|part| !part.trim().is_empty());
        let requirements = parts.map(|part| {
            let (field, value, equal) = match part.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => part
                    .split_once("==")
                    .or_else(|| part.split_once('='))
                    .map(|(field, value)| (field, value, true))
                    .ok_or_else(|| {
                        Refusal::bad_request(format!("invalid field selector: {part:?}"))
                    })?,
            };
            let field = field.trim();
            if !selectable(kind, field) {
                let message = format!("field label not supported: {field}");
                return Err(Refusal::bad_request(message));
            }
            let pointer = format!("/{}", field.replace('.', "/"));
            Ok((pointer, value.trim().to_owned(), equal))
        });
        requirements.collect::<Result<_, _>>().map(Self)
    }

    /// Says whether an object satisfies every requirement.
    pub fn match_object(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, wanted, equal)| {
            let found = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                None | Some(Value::Null) => String::new(),
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equal
        })
    }
}

fn selectable(kind: &Kind, field: &str) -> bool {
    let own: &[&str] = match kind.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "ReplicaSet" => &["status.replicas"],
        "Node" => &["spec.unschedulable"],
        "Job" => &["status.successful"],
        _ => &[],
    };
    field == "metadata.name"
        || (kind.namespaced && field == "metadata.namespace")
        || own.contains(&field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::{DEPLOYMENTS, PODS};
    use serde_json::json;

    fn check(selector: &str, labels: &Value, expected: bool) {
        let selector = Labels::parse(selector).unwrap();
        assert_eq!(selector.match_labels(labels), expected, "{selector:?}");
    }

    #[test]
    fn selects_by_every_form_of_requirement() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=api", false),
            ("app!=api", true),
            ("missing!=x", true),
            ("app in (api, web)", true),
            ("app notin (api),tier in (front)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("!missing , app", true),
        ] {
            check(selector, &labels, expected);
        }
    }

    #[test]
    fn refuses_what_is_no_requirement() {
        for text in ["a in x", "a of (b)", "=b", "a in (b", "a b=c"] {
            assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn reads_a_selector_object() {
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["back"]},
            {"key": "old", "operator": "DoesNotExist"}]});
        let selector = Labels::of(&selector).unwrap();
        assert!(selector.match_labels(&json!({"app": "web", "tier": "front"})));
        assert!(!selector.match_labels(&json!({"app": "web", "old": ""})));
        assert_eq!(
            Labels::of(&json!({"matchExpressions": [{"operator": "Gt"}]})),
            None
        );
    }

    #[test]
    fn selects_by_the_fields_that_kubernetes_allows() {
        let pod =
            json!({"metadata": {"name": "a", "namespace": "n"}, "status": {"phase": "Running"}});
        let fields = Fields::parse(&PODS, "status.phase=Running,metadata.name!=b").unwrap();
        assert!(fields.match_object(&pod));
        assert!(
            !Fields::parse(&PODS, "metadata.namespace=m")
                .unwrap()
                .match_object(&pod)
        );
        let refused = Fields::parse(&DEPLOYMENTS, "status.phase=x").unwrap_err();
        assert_eq!(refused.message, "field label not supported: status.phase");
    }
}
