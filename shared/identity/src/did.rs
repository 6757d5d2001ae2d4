//! Decentralised identifiers of agents and their documents.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentUri, SpiffeId},
    keys::PublicKey,
};

const PREFIX: &str = "did:ossa:";
/// Hex digits after the prefix: the one length that satisfies every OSSA pattern.
const DIGITS: usize = 40;
/// Multicodec of an Ed25519 public key, as an unsigned varint.
const ED25519_MULTICODEC: [u8; 2] = [0xed, 0x01];
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The text is not `did:ossa:` and 40 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {PREFIX} and {DIGITS} lower-case hex digits")]
pub struct DidError;

/// The decentralised identifier of an agent: `did:ossa:` and the first 40 hex digits of the SHA-256 of
/// its first Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Did(String);

impl Did {
    /// The identifier of the agent whose first key this is.
    pub fn of(first_key: &PublicKey) -> Self {
        let digits: String = first_key.key_id().chars().take(DIGITS).collect();
        Self(format!("{PREFIX}{digits}"))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(PREFIX).ok_or(DidError)?;
        let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() == DIGITS && digits.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DidError)
        }
    }
}

impl TryFrom<String> for Did {
    type Error = DidError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Did> for String {
    fn from(did: Did) -> Self {
        did.0
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The DID document of an agent (W3C Decentralized Identifiers 1.0, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DidDocument {
    /// JSON-LD contexts.
    #[serde(rename = "@context")]
    pub context: Vec<String>,
    /// The agent's identifier.
    pub id: Did,
    /// The agent URI and the SPIFFE id.
    pub also_known_as: Vec<String>,
    /// The agent's keys, oldest first.
    pub verification_method: Vec<VerificationMethod>,
    /// Keys that speak for the agent.
    pub authentication: Vec<String>,
    /// Keys that sign the agent's audit records.
    pub assertion_method: Vec<String>,
    /// Where the agent answers.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub service: Vec<ServiceEndpoint>,
}

/// One key in a DID document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationMethod {
    /// The identifier, `#` and the key id.
    pub id: String,
    /// `Ed25519VerificationKey2020`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose key it is.
    pub controller: Did,
    /// The key: `z` and base58btc of its multicodec form.
    pub public_key_multibase: String,
}

/// One endpoint in a DID document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpoint {
    /// The identifier, `#` and the endpoint's name.
    pub id: String,
    /// `A2A`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Address of the endpoint.
    pub service_endpoint: String,
}

impl DidDocument {
    /// The document of an agent with its keys, oldest first, and the address of its A2A endpoint.
    /// The identifier is the first key's; without a key there is no document.
    pub fn new(spiffe_id: &SpiffeId, keys: &[PublicKey], a2a_url: Option<&str>) -> Option<Self> {
        let did = keys.first()?.did();
        let method = |key: &PublicKey| VerificationMethod {
            id: format!("{did}#{}", key.key_id()),
            kind: "Ed25519VerificationKey2020".into(),
            controller: did.clone(),
            public_key_multibase: multibase(key),
        };
        let verification_method: Vec<_> = keys.iter().map(method).collect();
        let references: Vec<_> = verification_method.iter().map(|m| m.id.clone()).collect();
        let service = a2a_url.map(|url| ServiceEndpoint {
            id: format!("{did}#a2a"),
            kind: "A2A".into(),
            service_endpoint: url.to_owned(),
        });
        let uri = spiffe_id.agent_uri().as_ref().map(AgentUri::to_string);
        Some(Self {
            context: vec![
                "https://www.w3.org/ns/did/v1".into(),
                "https://w3id.org/security/suites/ed25519-2020/v1".into(),
            ],
            also_known_as: uri.into_iter().chain([spiffe_id.to_string()]).collect(),
            authentication: references.clone(),
            assertion_method: references,
            verification_method,
            service: service.into_iter().collect(),
            id: did,
        })
    }
}

/// The key as `publicKeyMultibase` (Ed25519 Signature 2020 suite, section 2.2.1).
fn multibase(key: &PublicKey) -> String {
    let mut bytes = ED25519_MULTICODEC.to_vec();
    bytes.extend(key.as_bytes());
    format!("z{}", base58(&bytes))
}

/// Base58 with the Bitcoin alphabet: the bytes as one big number, leading zero bytes as `1`.
fn base58(bytes: &[u8]) -> String {
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    let rest = digits
        .iter()
        .rev()
        .filter_map(|digit| BASE58.get(*digit as usize).copied().map(char::from));
    zeros.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn key_from_hex(text: &str) -> PublicKey {
        PublicKey::from_bytes(hex::decode(text).unwrap().try_into().unwrap())
    }

    #[test]
    fn is_the_beginning_of_the_keys_digest() {
        // `printf '' | xxd -r -p` of 32 zero bytes: SHA-256 66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925.
        let did = PublicKey::from_bytes([0; 32]).did();
        assert_eq!(
            did.as_str(),
            "did:ossa:66687aadf862bd776c8fc18b8e9f8e2008971485"
        );
        assert_eq!(did.as_str().parse::<Did>().unwrap(), did);
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "did:ossa:",
            "did:ossa:security-scanner-v1",
            "did:web:a",
            "did:ossa:66687AADF862BD776C8FC18B8E9F8E2008971485",
            "did:ossa:66687aadf862bd776c8fc18b8e9f8e20089714850",
        ] {
            assert_eq!(text.parse::<Did>(), Err(DidError), "{text}");
        }
    }

    #[test]
    fn writes_keys_as_the_did_key_method_does() {
        // did:key method, section "Ed25519", first test vector: the seed is 32 zero bytes.
        let key = key_from_hex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
        assert_eq!(
            multibase(&key),
            "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
        );
    }

    #[test]
    fn writes_base58_as_the_draft_does() {
        // draft-msporny-base58-03, section 5.
        assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(base58(&hex::decode("0000287fb4cd").unwrap()), "11233QC4");
    }

    #[test]
    fn the_document_names_all_keys_and_both_addresses() {
        let id = SpiffeId::workload("mesh.local", "data-system", "db-migrator").unwrap();
        let keys = [
            SigningKey::generate().public(),
            SigningKey::generate().public(),
        ];
        let document = DidDocument::new(
            &id,
            &keys,
            Some("https://db-migrator.data-system.svc:8080/a2a"),
        )
        .unwrap();
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(json["@context"][0], "https://www.w3.org/ns/did/v1");
        assert_eq!(json["id"], keys[0].did().as_str());
        assert_eq!(
            json["alsoKnownAs"],
            serde_json::json!(["agent://data-system/db-migrator", id.as_str()])
        );
        assert_eq!(
            json["verificationMethod"][1]["id"],
            format!("{}#{}", keys[0].did(), keys[1].key_id())
        );
        assert_eq!(json["assertionMethod"].as_array().unwrap().len(), 2);
        assert_eq!(
            json["service"][0]["serviceEndpoint"],
            "https://db-migrator.data-system.svc:8080/a2a"
        );
        assert_eq!(
            serde_json::from_value::<DidDocument>(json).unwrap(),
            document
        );
        assert!(DidDocument::new(&id, &[], None).is_none());
    }
}
