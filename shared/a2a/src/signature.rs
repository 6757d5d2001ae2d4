//! Signed agent cards: JSON Web Signatures (RFC 7515) over the canonical form (RFC 8785) of the card (A2A, section 8.4).

mod canonical;
mod keys;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

pub use canonical::{Form, canonical};
pub use keys::{Algorithm, KeySource, ReadKeyError, TrustStore, VerificationKey};

use crate::card::{AgentCard, AgentCardSignature};

/// Most signatures of one card that are looked at, so that a hostile card cannot make a verifier work without end.
const MAX_SIGNATURES: usize = 16;

/// Whose signature a card bears, and what exactly was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedBy {
    /// Id of the key.
    pub key_id: String,
    /// How it signed.
    pub algorithm: Algorithm,
    /// The reading of the protocol's presence rules under which the signature holds.
    pub form: Form,
    /// The signed content: the card without `signatures` and without whatever this form leaves out. Trust this, not
    /// the card that came with it.
    pub card: Value,
}

/// Why one signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is no `AgentCardSignature` with a base64url JSON header.
    #[error("the signature is malformed")]
    Malformed,
    /// The protected header lacks `alg` or `kid`, repeats a member or asks for what is not understood (`crit`).
    #[error("the protected header is refused: {0}")]
    Header(&'static str),
    /// `alg` is `none` or one that is not supported.
    #[error("algorithm {0:?} is not accepted")]
    Algorithm(String),
    /// The trust store has no such key: it is unknown, expired or revoked.
    #[error("key {0:?} is not trusted")]
    UnknownKey(String),
    /// `alg` names another kind of key than the one with this id.
    #[error("key {0:?} is not for this algorithm")]
    KeyMismatch(String),
    /// The key made no such signature over this card.
    #[error("the signature of key {0:?} does not match the card")]
    Mismatch(String),
}

/// Why a card is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The card is no JSON object.
    #[error("an agent card is a JSON object")]
    NoCard,
    /// Nobody signed it.
    #[error("the agent card has no signature")]
    Unsigned,
    /// Somebody did, but no signature is valid: why, signature by signature.
    #[error("no signature of the agent card is valid: {}", list(.0))]
    Invalid(Vec<Flaw>),
}

fn list(flaws: &[Flaw]) -> String {
    flaws
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Signs a card with Ed25519. Push the result to the card's `signatures`; signatures already there do not matter.
///
/// # Panics
/// Never: every value of these types has a JSON form.
pub fn sign(card: &AgentCard, key: &identity::SigningKey) -> AgentCardSignature {
    sign_with_header(
        card,
        key,
        &json!({"alg": "EdDSA", "kid": key.key_id(), "typ": "JOSE"}),
    )
}

/// Signs as [`sign`] does, and says where the public key can be fetched (`jku`, a JSON Web Key Set).
pub fn sign_with_key_set(
    card: &AgentCard,
    key: &identity::SigningKey,
    key_set_url: &str,
) -> AgentCardSignature {
    sign_with_header(
        card,
        key,
        &json!({"alg": "EdDSA", "kid": key.key_id(), "typ": "JOSE", "jku": key_set_url}),
    )
}

fn sign_with_header(
    card: &AgentCard,
    key: &identity::SigningKey,
    header: &Value,
) -> AgentCardSignature {
    let card = serde_json::to_value(card).expect("a card has string keys only");
    let payload = canonical(&card, Form::SPECIFIED).expect("a card is a JSON object");
    let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let signature = key.sign(&signing_input(&protected, &payload));
    AgentCardSignature {
        protected,
        signature: BASE64_URL_SAFE_NO_PAD.encode(signature),
        header: None,
    }
}

/// What a JSON Web Signature is made over (RFC 7515, section 5.1).
fn signing_input(protected: &str, payload: &[u8]) -> Vec<u8> {
    format!("{protected}.{}", BASE64_URL_SAFE_NO_PAD.encode(payload)).into_bytes()
}

/// Verifies a card as it was received: one signature by a key of the source suffices.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    card: &Value,
    keys: &(impl KeySource + ?Sized),
) -> Result<VerifiedBy, SignatureError> {
    let card = card.as_object().ok_or(SignatureError::NoCard)?;
    let signatures = match card.get("signatures") {
        Some(Value::Array(signatures)) if !signatures.is_empty() => signatures,
        _ => return Err(SignatureError::Unsigned),
    };
    let payloads = canonical::payloads(card);
    let mut flaws = Vec::new();
    for signature in signatures.iter().take(MAX_SIGNATURES) {
        match check(signature, &payloads, keys) {
            Ok(verified) => return Ok(verified),
            Err(flaw) => flaws.push(flaw),
        }
    }
    Err(SignatureError::Invalid(flaws))
}

fn check(
    signature: &Value,
    payloads: &[(Form, Vec<u8>)],
    keys: &(impl KeySource + ?Sized),
) -> Result<VerifiedBy, Flaw> {
    let AgentCardSignature {
        protected,
        signature,
        header,
    } = serde::Deserialize::deserialize(signature).map_err(|_| Flaw::Malformed)?;
    let signature = BASE64_URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| Flaw::Malformed)?;
    let (algorithm, key_id) = read_header(&protected, header.as_ref())?;
    let key = keys
        .key(&key_id)
        .ok_or_else(|| Flaw::UnknownKey(key_id.clone()))?;
    if key.algorithm() != algorithm {
        return Err(Flaw::KeyMismatch(key_id));
    }
    let (form, payload) = payloads
        .iter()
        .find(|(_, payload)| key.verifies(&signing_input(&protected, payload), &signature))
        .ok_or_else(|| Flaw::Mismatch(key_id.clone()))?;
    let card = serde_json::from_slice(payload).map_err(|_| Flaw::Malformed)?;
    Ok(VerifiedBy {
        key_id,
        algorithm,
        form: *form,
        card,
    })
}

/// Algorithm and key id of a protected header.
fn read_header(
    protected: &str,
    unprotected: Option<&Map<String, Value>>,
) -> Result<(Algorithm, String), Flaw> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(protected)
        .map_err(|_| Flaw::Malformed)?;
    let header: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| Flaw::Malformed)?;
    // RFC 7515, section 4.1.11: extensions listed there must be understood, and none is. This covers `b64: false` too.
    if header.contains_key("crit") {
        return Err(Flaw::Header("it has critical extensions"));
    }
    // RFC 7515, section 7.2.1: the two headers are disjoint.
    if unprotected.is_some_and(|other| other.keys().any(|name| header.contains_key(name))) {
        return Err(Flaw::Header("the unprotected header repeats a member"));
    }
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let algorithm = text("alg").ok_or(Flaw::Header("it has no alg"))?;
    let key_id = text("kid")
        .filter(|id| !id.is_empty())
        .ok_or(Flaw::Header("it has no kid"))?;
    let algorithm =
        Algorithm::named(algorithm).ok_or_else(|| Flaw::Algorithm(algorithm.to_owned()))?;
    Ok((algorithm, key_id.to_owned()))
}

#[cfg(test)]
mod tests;
