//! Public keys of card signers, and where they are kept.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Bytes of one coordinate of a P-256 point (RFC 7518, section 6.2.1.2).
const COORDINATE: usize = 32;

/// How a card was signed (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// RSA PKCS#1 v1.5 with SHA-256, 2048 bits at least.
    Rs256,
}

impl Algorithm {
    /// The algorithm that `alg` names: `EdDSA` (or `Ed25519`, RFC 9864), `ES256` or `RS256`; never `none` or a shared secret.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// A public key of a signer.
#[derive(Debug, Clone)]
pub enum VerificationKey {
    /// For [`Algorithm::EdDsa`].
    Ed25519(identity::PublicKey),
    /// For [`Algorithm::Es256`].
    P256(ParsedPublicKey),
    /// For [`Algorithm::Rs256`].
    Rsa(ParsedPublicKey),
}

/// Why a JSON Web Key was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadKeyError {
    /// The document is no object with a list `keys`.
    #[error("not a JSON Web Key Set")]
    NoSet,
    /// A key has no `kid`.
    #[error("key {0} of the set has no kid")]
    NoId(usize),
    /// A member is missing or is not what the key's type asks for.
    #[error("not a public signing key: {0}")]
    Key(&'static str),
}

impl VerificationKey {
    /// The only algorithm that this key is for.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// Whether this key made the signature over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => key.verify(message, signature).is_ok(),
            Self::P256(key) | Self::Rsa(key) => key.verify_sig(message, signature).is_ok(),
        }
    }

    /// Reads a JSON Web Key (RFC 7517) of type OKP with Ed25519, EC with P-256, or RSA.
    ///
    /// # Errors
    /// [`ReadKeyError::Key`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, ReadKeyError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err(ReadKeyError::Key("its use is not sig"));
        }
        let bytes = |name: &'static str| {
            text(name)
                .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
                .ok_or(ReadKeyError::Key(name))
        };
        let key = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => {
                let bytes = bytes("x")?
                    .try_into()
                    .map_err(|_| ReadKeyError::Key("x is not 32 bytes"))?;
                Self::Ed25519(identity::PublicKey::from_bytes(bytes))
            }
            (Some("EC"), Some("P-256")) => p256(&bytes("x")?, &bytes("y")?)?,
            (Some("RSA"), _) => rsa(&bytes("n")?, &bytes("e")?)?,
            _ => return Err(ReadKeyError::Key("kty or crv is not supported")),
        };
        let own = text("alg").is_none_or(|name| Algorithm::named(name) == Some(key.algorithm()));
        own.then_some(key)
            .ok_or(ReadKeyError::Key("alg is not the key type's"))
    }
}

fn p256(x: &[u8], y: &[u8]) -> Result<VerificationKey, ReadKeyError> {
    if x.len() != COORDINATE || y.len() != COORDINATE {
        return Err(ReadKeyError::Key("x or y is not 32 bytes"));
    }
    // SEC 1, section 2.3.3: an uncompressed point.
    let point = [&[4], x, y].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .map(VerificationKey::P256)
        .map_err(|_| ReadKeyError::Key("x and y are no point of P-256"))
}

fn rsa(n: &[u8], e: &[u8]) -> Result<VerificationKey, ReadKeyError> {
    RsaPublicKeyComponents { n, e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map(VerificationKey::Rsa)
        .map_err(|_| ReadKeyError::Key("n and e are no RSA key of 2048 bits or more"))
}

/// Where public keys come from. Keys that expired or were revoked are not in it.
pub trait KeySource {
    /// The key with this id.
    fn key(&self, id: &str) -> Option<VerificationKey>;
}

/// Trusted keys by id.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    keys: BTreeMap<String, VerificationKey>,
}

impl TrustStore {
    /// Trusts an agent's own key, under the id that [`sign`](super::sign) gives it.
    pub fn trust(&mut self, key: identity::PublicKey) {
        self.insert(key.key_id(), VerificationKey::Ed25519(key));
    }

    /// Trusts a key under an id, in place of the one that had this id.
    pub fn insert(&mut self, id: impl Into<String>, key: VerificationKey) {
        self.keys.insert(id.into(), key);
    }

    /// No longer trusts a key.
    pub fn revoke(&mut self, id: &str) {
        self.keys.remove(id);
    }

    /// Trusts all keys of a JSON Web Key Set (RFC 7517, section 5).
    ///
    /// # Errors
    /// [`ReadKeyError`]: all keys must be readable and have an id.
    pub fn from_jwks(document: &Value) -> Result<Self, ReadKeyError> {
        let list = document.get("keys").and_then(Value::as_array);
        let mut store = Self::default();
        for (index, jwk) in list.ok_or(ReadKeyError::NoSet)?.iter().enumerate() {
            let id = jwk.get("kid").and_then(Value::as_str);
            let id = id.ok_or(ReadKeyError::NoId(index))?;
            store.insert(id, VerificationKey::from_jwk(jwk)?);
        }
        Ok(store)
    }
}

impl KeySource for TrustStore {
    fn key(&self, id: &str) -> Option<VerificationKey> {
        self.keys.get(id).cloned()
    }
}
