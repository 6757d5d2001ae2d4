//! A YAML file as a JSON value that still knows where everything stood.

mod builder;
mod scalar;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// A file that is not the YAML this crate accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}", line = position.line, column = position.column)]
pub struct SyntaxError {
    /// Where it was noticed.
    pub position: Position,
    /// What is wrong there.
    pub message: String,
}

/// One YAML document, resolved with the core schema of YAML 1.2.
///
/// An unquoted `2026-01-07` is a string, `on` and `no` are strings, `0o17` is 15. Duplicate keys,
/// keys that are not strings, foreign tags, `.nan` and `.inf`, and a second document are refused.
#[derive(Debug, Clone)]
pub struct Document {
    root: Value,
    positions: HashMap<String, Position>,
}

impl Document {
    /// Largest accepted file, in bytes.
    pub const MAX_BYTES: usize = 1 << 20;
    /// Deepest accepted nesting.
    pub const MAX_DEPTH: usize = 64;
    /// Most values in one document, with every alias counted at its full size.
    pub const MAX_NODES: usize = 100_000;

    /// Reads one document.
    ///
    /// # Errors
    /// The first thing that is not accepted, with its place.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > Self::MAX_BYTES {
            return Err(SyntaxError {
                position: Position { line: 1, column: 1 },
                message: format!(
                    "the file has {} bytes, at most {} are accepted",
                    text.len(),
                    Self::MAX_BYTES
                ),
            });
        }
        builder::build(text).map(|(root, positions)| Self { root, positions })
    }

    /// The document's value.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Where the value of a JSON pointer stands (a member of a mapping: where its key stands), or
    /// its nearest ancestor that is in the file.
    pub fn position(&self, pointer: &str) -> Option<Position> {
        let mut pointer = pointer;
        loop {
            if let Some(position) = self.positions.get(pointer) {
                return Some(*position);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }
}

/// A member's JSON pointer (RFC 6901).
pub fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        Document::parse(text).unwrap().root
    }

    fn refusal(text: &str) -> String {
        Document::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn resolves_scalars_as_yaml_1_2_does() {
        check("2026-01-07", &json!("2026-01-07"));
        check("on", &json!("on"));
        check("yes", &json!("yes"));
        check("1_000", &json!("1_000"));
        check("190:20:30", &json!("190:20:30"));
        check("0o17", &json!(15));
        check("017", &json!(17));
        check("0xff", &json!(255));
        check("-12", &json!(-12));
        check("1.0", &json!(1.0));
        check("1e3", &json!(1000.0));
        check(
            "18446744073709551615",
            &json!(18_446_744_073_709_551_615_u64),
        );
        check("~", &Value::Null);
        check("Null", &Value::Null);
        check("TRUE", &json!(true));
        check("'true'", &json!("true"));
        check("!!str 12", &json!("12"));
        check("!!int '12'", &json!(12));
    }

    fn check(scalar: &str, expected: &Value) {
        assert_eq!(
            &value(&format!("key: {scalar}"))["key"],
            expected,
            "{scalar}"
        );
    }

    #[test]
    fn knows_where_values_stand() {
        let document = Document::parse("a: 1\nb:\n  - x\n  - {c/d: 2}\n").unwrap();
        let at = |pointer: &str| document.position(pointer).map(|p| (p.line, p.column));
        assert_eq!(at(""), Some((1, 1)));
        assert_eq!(at("/b/1"), Some((4, 5)));
        assert_eq!(at("/b/1/c~1d"), Some((4, 6)));
        assert_eq!(at("/b/1/missing/deeper"), Some((4, 5)));
    }

    #[test]
    fn refuses_duplicate_keys_with_their_place() {
        assert_eq!(
            refusal("a: 1\nb: 2\na: 3\n"),
            "line 3, column 1: the key \"a\" stands twice in one mapping"
        );
        assert_eq!(
            refusal("x: {a: 1, 'a': 2}"),
            "line 1, column 11: the key \"a\" stands twice in one mapping"
        );
    }

    #[test]
    fn refuses_what_json_cannot_hold() {
        assert!(refusal("a: .nan").contains("not a finite number"));
        assert!(refusal("a: 1e999").contains("not a finite number"));
        assert!(refusal("1: a").contains("keys must be strings"));
        assert!(refusal("? [a]\n: b").contains("keys must be strings"));
        assert!(refusal("a: !mine b").contains("the tag"));
        assert!(refusal("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(refusal("").contains("empty"));
        assert!(refusal("# only a comment\n").contains("empty"));
        assert!(refusal("a: [1").starts_with("line 1") || refusal("a: [1").starts_with("line 2"));
    }

    #[test]
    fn follows_aliases_but_not_bombs() {
        assert_eq!(
            value("a: &x {k: [1]}\nb: *x\n"),
            json!({"a": {"k": [1]}, "b": {"k": [1]}})
        );
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            let inside = before.trim_end_matches(", ");
            bomb.extend([
                format!("a{level}: &a{level} ["),
                inside.into(),
                "]\n".into(),
            ]);
        }
        assert!(refusal(&bomb).contains("100000 values"));
        assert!(
            refusal("a: &x [*x]").contains("refers to itself")
                || refusal("a: &x [*x]").contains("anchor")
        );
    }

    #[test]
    fn limits_size_and_depth() {
        assert!(refusal(&"#".repeat(Document::MAX_BYTES + 1)).contains("1048577 bytes"));
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Document::parse(&deep(Document::MAX_DEPTH)).is_ok());
        assert!(refusal(&deep(Document::MAX_DEPTH + 1)).contains("deeper than 64"));
        assert!(Document::parse(&"[".repeat(200_000)).is_err());
        assert!(Document::parse(&"- ".repeat(200_000)).is_err());
        assert!(Document::parse(&format!("{}: ", "k".repeat(2_000)).repeat(40)).is_err());
        let long_paths = format!("{{{}: [{}]}}", "k".repeat(900), "x,".repeat(50_000));
        assert!(refusal(&long_paths).contains("too long"));
        let aliased = format!(
            "a: &x {}\nb: {}*x{}",
            deep(40),
            "[".repeat(40),
            "]".repeat(40)
        );
        assert!(refusal(&aliased).contains("deeper than 64"));
    }
}
