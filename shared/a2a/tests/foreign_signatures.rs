//! Cards that other implementations signed.
//!
//! The files under `fixtures` were made by the Python SDK (`a2a-sdk` 1.3.0 with its `signing` extra) on 2026-11-22:
//! `create_agent_card_signer` over `ParseDict(card, AgentCard())`, written by `MessageToDict`; `card-python-sdk.json` with
//! three signatures (`ES256`, `EdDSA`, `RS256`) and with empty values wherever the SDK treats them in its own way,
//! `card-python-sdk-plain.json` with one (`EdDSA`) and without empty values. The public keys are in
//! `card-python-sdk.jwks.json`; the private ones were thrown away.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use a2a::{
    card::AgentCard,
    signature::{Algorithm, Flaw, Form, SignatureError, TrustStore, canonical, verify},
};
use serde_json::{Value, json};

fn empty_card() -> Value {
    serde_json::from_str(include_str!("fixtures/card-python-sdk.json")).unwrap()
}

fn plain_card() -> Value {
    serde_json::from_str(include_str!("fixtures/card-python-sdk-plain.json")).unwrap()
}

fn keys() -> TrustStore {
    let document = include_str!("fixtures/card-python-sdk.jwks.json");
    TrustStore::from_jwks(&serde_json::from_str(document).unwrap()).unwrap()
}

#[test]
fn verifies_a_card_of_the_python_sdk() {
    let verified = verify(&plain_card(), &keys()).unwrap();
    assert_eq!(
        (verified.key_id.as_str(), verified.algorithm),
        ("ed25519", Algorithm::EdDsa)
    );
    assert_eq!(verified.form, Form::SPECIFIED);
    let mut card: AgentCard = serde_json::from_value(plain_card()).unwrap();
    card.signatures.clear();
    assert_eq!(
        canonical(&verified.card, Form::SPECIFIED),
        canonical(&serde_json::to_value(card).unwrap(), Form::SPECIFIED),
    );
}

#[test]
fn verifies_each_algorithm_of_the_python_sdk() {
    for (index, algorithm) in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]
        .into_iter()
        .enumerate()
    {
        let mut card = empty_card();
        let signature = card["signatures"][index].clone();
        card["signatures"] = json!([signature]);
        let verified = verify(&card, &keys()).unwrap();
        assert_eq!(verified.algorithm, algorithm);
        assert!(
            verified.form.drops_empty,
            "the SDK leaves out what is empty, required or not"
        );

        card["supportedInterfaces"][0]["url"] = json!("https://attacker.example.com/a2a");
        let id = verified.key_id;
        assert_eq!(
            verify(&card, &keys()),
            Err(SignatureError::Invalid(vec![Flaw::Mismatch(id)]))
        );
    }
}

/// The SDK signs no empty object, so neither a scheme `mtls` nor the requirement for it: whoever passes the card on can
/// add and remove them. What counts is therefore the signed content.
#[test]
fn trusts_only_what_the_python_sdk_signed() {
    let card = empty_card();
    assert!(card["securitySchemes"].get("mtls").is_some());
    let verified = verify(&card, &keys()).unwrap();
    assert!(verified.card["securitySchemes"].get("mtls").is_none());
    let read: AgentCard = serde_json::from_value(verified.card).unwrap();
    assert_eq!(read.security_requirements.len(), 1);
    assert_eq!(read.name, "Café ✓ 'quoted' agent");
    assert_eq!(read.supported_interfaces[0].tenant.as_deref(), Some("blue"));
    assert_eq!(
        (read.description.as_str(), read.skills[0].tags.len()),
        ("", 0)
    );
}

/// A registry that adds members of its own, such as those of older versions of the protocol, breaks no signature.
#[test]
fn verifies_a_card_with_members_added_on_the_way() {
    let mut card = plain_card();
    card["preferredTransport"] = json!("JSONRPC");
    let verified = verify(&card, &keys()).unwrap();
    assert!(verified.form.drops_unknown);
    assert!(verified.card.get("preferredTransport").is_none());
}
