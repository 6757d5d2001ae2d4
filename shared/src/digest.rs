//! SHA-256 in hex, of bytes or of canonical JSON (RFC 8785).

pub use audit::record::hash as of_bytes;
use serde::Serialize;

/// Digest of the canonical JSON form of a value: equal values have equal digests.
pub fn of_json(value: &impl Serialize) -> String {
    of_bytes(&serde_json_canonicalizer::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn does_not_depend_on_the_order_of_members() {
        assert_eq!(
            of_json(&json!({"b": 1, "a": [1.0, "x"]})),
            of_bytes(br#"{"a":[1,"x"],"b":1}"#)
        );
    }
}
