//! A stable name for a finding that says nothing about the secret.

use aws_lc_rs::{digest, hmac};

/// Key of fingerprints when the operator gives none. It separates domains but hides nothing:
/// short passwords can then be guessed from their fingerprints.
const PUBLIC_KEY: &[u8] = b"security-scanner fingerprint v1";

/// Makes fingerprints: HMAC-SHA-256 of rule, path and SHA-256 of the secret, first 16 bytes in hex.
/// The line is no part of it, so a finding keeps its name when code moves.
#[derive(Debug, Clone)]
pub struct Fingerprints {
    key: hmac::Key,
}

impl Fingerprints {
    /// Fingerprints under the operator's key, so that nobody else can test guesses against them.
    pub fn keyed(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The fingerprint of a secret found by a rule in a file.
    pub fn of(&self, rule: &str, path: &str, secret: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(rule.as_bytes());
        context.update(&[0]);
        context.update(path.as_bytes());
        context.update(&[0]);
        context.update(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        hex::encode(context.sign().as_ref().get(..16).unwrap_or_default())
    }
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self::keyed(PUBLIC_KEY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_rule_path_secret_and_key() {
        let fingerprints = Fingerprints::default();
        let base = fingerprints.of("jwt", "a.txt", "one");
        assert_eq!(base.len(), 32);
        assert_eq!(base, fingerprints.of("jwt", "a.txt", "one"));
        for other in [
            fingerprints.of("pem", "a.txt", "one"),
            fingerprints.of("jwt", "b.txt", "one"),
            fingerprints.of("jwt", "a.txt", "two"),
            fingerprints.of("jwta", ".txt", "one"),
            Fingerprints::keyed(b"ours").of("jwt", "a.txt", "one"),
        ] {
            assert_ne!(base, other);
        }
    }
}
