use serde_json::Value;

/// The letters of a hash, as in `k8s.io/apimachinery/pkg/util/rand`.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The `pod-template-hash` of a template: FNV-1a over its canonical JSON, written as Kubernetes
/// writes its own (each decimal digit's byte becomes a letter). Kubernetes hashes a Go value
/// instead, so the letters differ from a real cluster's; nothing may depend on them.
pub(super) fn template_hash(template: &Value, collisions: u32) -> String {
    let mut hash = Fnv(0x811c_9dc5);
    hash.value(template);
    if collisions > 0 {
        hash.bytes(&collisions.to_le_bytes());
    }
    safe_encode(&hash.0.to_string())
}

fn safe_encode(text: &str) -> String {
    let letter = |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).copied();
    text.bytes().filter_map(letter).map(char::from).collect()
}

struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut names: Vec<_> = members.iter().collect();
                names.sort_by_key(|(name, _)| *name);
                self.bytes(b"{");
                for (name, value) in names {
                    self.bytes(name.as_bytes());
                    self.bytes(b":");
                    self.value(value);
                }
                self.bytes(b"}");
            }
            Value::Array(items) => {
                self.bytes(b"[");
                for item in items {
                    self.value(item);
                }
                self.bytes(b"]");
            }
            other => self.bytes(other.to_string().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// FNV-1a of "" and "foobar" from the specification's test vectors (Noll).
    #[test]
    fn hashes_as_published() {
        for (text, expected) in [("", 0x811c_9dc5), ("foobar", 0xbf9c_f968)] {
            let mut hash = Fnv(0x811c_9dc5);
            hash.bytes(text.as_bytes());
            assert_eq!(hash.0, expected);
        }
    }

    /// `SafeEncodeString` on digits: '0' is byte 48, 48 % 27 = 21, the letter '4'... counted by hand.
    #[test]
    fn writes_digits_as_letters() {
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn differs_for_another_template_or_collision_only() {
        let template = json!({"a": 1, "b": [1, 2]});
        let hash = template_hash(&template, 0);
        assert_eq!(hash, template_hash(&json!({"b": [1, 2], "a": 1}), 0));
        assert_ne!(hash, template_hash(&json!({"b": [2, 1], "a": 1}), 0));
        assert_ne!(hash, template_hash(&template, 1));
    }
}
