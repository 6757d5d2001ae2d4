//! Webhooks' addresses and credentials at rest: sealed under a key that all replicas of one agent can derive.

use std::fmt;

use a2a::types::PushConfig;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    hmac,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use identity::SigningKey;

/// Bytes of an Ed25519 seed (RFC 8032, section 5.1.5), and of the key that is derived from it.
const KEY_LENGTH: usize = 32;
/// Separates these keys from all others that may come from the same seed.
const SALT: &[u8] = b"agent-mesh push notifications 1";

/// The key could not be derived.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("cannot derive the key of push notifications from the signing key")]
pub(crate) struct SealError;

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

/// Seals configurations. Another signing key of the agent cannot open them.
pub(super) struct Seal {
    cipher: RandomizedNonceKey,
    ids: hmac::Key,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// Derives the keys (HKDF-SHA256, RFC 5869) from the seed of the agent's signing key.
    pub(super) fn of(key: &SigningKey) -> Result<Self, SealError> {
        let der = key.to_pkcs8();
        // RFC 8410, section 7: a version 1 document ends with the seed.
        let seed = der.last_chunk::<KEY_LENGTH>().ok_or(SealError)?;
        let secret = Salt::new(HKDF_SHA256, SALT).extract(seed);
        let mut bytes = [0; KEY_LENGTH];
        secret.expand(&[b"seal"], &AES_256_GCM)?.fill(&mut bytes)?;
        let ids = secret.expand(&[b"ids"], HKDF_SHA256.hmac_algorithm())?;
        Ok(Self {
            cipher: RandomizedNonceKey::new(&AES_256_GCM, &bytes)?,
            ids: hmac::Key::from(ids),
        })
    }

    /// Seals a configuration for the row with this key: nonce and ciphertext, base64.
    pub(super) fn close(&self, config: &PushConfig, row: &str) -> Result<String, SealError> {
        let mut text = serde_json::to_vec(config).map_err(|_| SealError)?;
        let aad = Aad::from(row.as_bytes());
        let nonce = self.cipher.seal_in_place_append_tag(aad, &mut text)?;
        Ok(BASE64_STANDARD.encode([nonce.as_ref(), text.as_slice()].concat()))
    }

    /// Opens what was sealed for the row with this key.
    pub(super) fn open(&self, sealed: &str, row: &str) -> Option<PushConfig> {
        let mut bytes = BASE64_STANDARD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(row.as_bytes());
        let text = self.cipher.open_in_place(nonce, aad, text).ok()?;
        serde_json::from_slice(text).ok()
    }

    /// An id that is the same for the same webhook and credentials, and says nothing about them.
    pub(super) fn id(&self, config: &PushConfig) -> String {
        let text = serde_json::to_vec(config).unwrap_or_default();
        let tag = hmac::sign(&self.ids, &text);
        let bytes = tag.as_ref().first_chunk().copied().unwrap_or_default();
        let id = uuid::Builder::from_custom_bytes(bytes);
        id.into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use a2a::types::PushAuthentication;

    use super::*;

    /// RFC 8410, section 7, with the seed of RFC 8032, section 7.1, test 2.
    fn key() -> SigningKey {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let der = hex::decode(format!("302e020100300506032b657004220420{seed}")).unwrap();
        SigningKey::from_pkcs8(&der).unwrap()
    }

    fn config() -> PushConfig {
        PushConfig {
            url: "https://example.com/hook?key=in-the-url".into(),
            token: Some("a-token".into()),
            authentication: Some(PushAuthentication {
                scheme: "Bearer".into(),
                credentials: Some("a-secret".into()),
            }),
            ..PushConfig::default()
        }
    }

    #[test]
    fn the_same_signing_key_opens_and_nothing_else_does() {
        let sealed = Seal::of(&key()).unwrap().close(&config(), "t/c").unwrap();
        // Another replica, or the next start.
        let seal = Seal::of(&key()).unwrap();
        assert_eq!(seal.open(&sealed, "t/c"), Some(config()));
        assert_eq!(seal.open(&sealed, "t/d"), None, "of another row");
        let other = Seal::of(&SigningKey::generate()).unwrap();
        assert_eq!(other.open(&sealed, "t/c"), None);
        let mut bytes = BASE64_STANDARD.decode(&sealed).unwrap();
        for at in [0, NONCE_LEN, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_eq!(seal.open(&BASE64_STANDARD.encode(&bytes), "t/c"), None);
            bytes[at] ^= 1;
        }
        for broken in ["", "AAAA", "no base64!"] {
            assert_eq!(seal.open(broken, "t/c"), None);
        }
    }

    #[test]
    fn shows_nothing_and_never_the_same() {
        let seal = Seal::of(&key()).unwrap();
        let (one, two) = (
            seal.close(&config(), "t/c").unwrap(),
            seal.close(&config(), "t/c").unwrap(),
        );
        assert_ne!(one, two);
        let bytes = BASE64_STANDARD.decode(&one).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["a-token", "a-secret", "in-the-url", "example.com"] {
            assert!(!text.contains(secret));
        }
    }

    #[test]
    fn an_id_depends_on_webhook_and_credentials() {
        let seal = Seal::of(&key()).unwrap();
        assert_eq!(seal.id(&config()), seal.id(&config()));
        let other = PushConfig {
            token: None,
            ..config()
        };
        assert_ne!(seal.id(&config()), seal.id(&other));
        assert!(uuid::Uuid::parse_str(&seal.id(&config())).is_ok());
    }
}
