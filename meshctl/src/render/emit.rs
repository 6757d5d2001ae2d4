//! Values as YAML and JSON text, with keys in alphabetical order whatever order they were built in.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// First line of every rendered YAML file.
const HEAD: &str =
    "# Rendered from manifests/ by `meshctl render`. Change the manifests, not this file.\n";

struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            Value::Object(fields) => {
                let fields: BTreeMap<&String, Sorted<'_>> =
                    fields.iter().map(|(k, v)| (k, Sorted(v))).collect();
                fields.serialize(serializer)
            }
            other => other.serialize(serializer),
        }
    }
}

/// Documents of one YAML file, with a line that says where it comes from.
pub(crate) fn yaml(documents: &[Value]) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&Sorted(document))?);
    }
    Ok(text)
}

/// One JSON file.
pub(crate) fn json(document: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&Sorted(document))? + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same_value() {
        let value = json!({
            "text": ["on", "0.1.0", "8080", "", "*", "null", "a: b", "# no", "two\nlines\n", "0o17", "1e3"],
            "number": [8080, 0.5, -1], "flag": true, "none": null, "empty": {}, "list": []
        });
        let text = yaml(&[value.clone(), json!({"b": 1, "a": 2})]).unwrap();
        let back: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(back, [value, json!({"a": 2, "b": 1})]);
        assert!(text.ends_with("---\na: 2\nb: 1\n"), "{text}");
    }
}
