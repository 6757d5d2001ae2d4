//! Values of Kubernetes Secret manifests: base64, so invisible to patterns until decoded.

use std::{ops::Range, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::Regex;

static KIND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"["']?\bkind["']?[ \t]*:[ \t]*["']?Secret\b"#)
        .expect("the pattern is constant and tested")
});
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"["']?([A-Za-z0-9._-]{1,253})["']?[ \t]*:[ \t]*["']?([A-Za-z0-9+/]{8,}={0,2})["']?[ \t\r]*(?:[\n,}]|$)"#)
        .expect("the pattern is constant and tested")
});

/// One decoded value.
#[derive(Debug)]
pub(super) struct SecretValue<'t> {
    /// The key in `data`.
    pub key: &'t str,
    /// Where the base64 text stands, in bytes.
    pub range: Range<usize>,
    /// What it says.
    pub decoded: String,
}

/// Every base64 value in the documents of kind Secret. Values that are not text are left out.
pub(super) fn secret_values(text: &str) -> Vec<SecretValue<'_>> {
    let mut values = Vec::new();
    let mut start = 0;
    for document in text.split_inclusive("\n---") {
        if KIND.is_match(document) {
            values.extend(document_values(document, start));
        }
        start += document.len();
    }
    values
}

fn document_values(document: &str, start: usize) -> impl Iterator<Item = SecretValue<'_>> {
    PAIR.captures_iter(document).filter_map(move |pair| {
        let (key, value) = (pair.get(1)?, pair.get(2)?);
        let decoded = String::from_utf8(STANDARD.decode(value.as_str()).ok()?).ok()?;
        let printable = decoded
            .chars()
            .all(|c| !c.is_control() || c.is_whitespace());
        printable.then(|| SecretValue {
            key: key.as_str(),
            range: start + value.start()..start + value.end(),
            decoded,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_data_of_secrets_only() {
        let text = "kind: ConfigMap\ndata:\n  a: c2VjcmV0LXZhbHVl\n---\nkind: Secret\ndata:\n  b: c2VjcmV0LXZhbHVl\n---\nkind: SealedSecret\ndata:\n  c: c2VjcmV0LXZhbHVl\n";
        let values = secret_values(text);
        let [value] = values.as_slice() else {
            panic!("one value, not {values:?}")
        };
        assert_eq!((value.key, value.decoded.as_str()), ("b", "secret-value"));
        assert!(text.get(value.range.clone()) == Some("c2VjcmV0LXZhbHVl"));
    }

    #[test]
    fn decodes_json_on_one_line() {
        let values = secret_values(
            r#"{"apiVersion":"v1","kind":"Secret","data":{"pw":"c2VjcmV0LXZhbHVl"}}"#,
        );
        assert_eq!(
            values
                .iter()
                .map(|v| v.decoded.as_str())
                .collect::<Vec<_>>(),
            ["secret-value"]
        );
    }
}
