mod vectors;

use aws_lc_rs::signature::KeyPair;
use identity::SigningKey;
use serde_json::json;

use super::*;
use crate::card::{
    AgentCapabilities, AgentExtension, AgentInterface, AgentProvider, AgentSkill,
    SecurityRequirement, StringList,
};

fn full_card() -> AgentCard {
    AgentCard {
        name: "Rightsizer".into(),
        description: "Advises requests and limits.".into(),
        supported_interfaces: vec![AgentInterface {
            url: "https://rightsizer.example.com/a2a".into(),
            protocol_binding: "JSONRPC".into(),
            protocol_version: "1.0".into(),
            tenant: Some("blue".into()),
        }],
        provider: Some(AgentProvider {
            url: "https://example.com".into(),
            organization: "Example".into(),
        }),
        version: "1.2.0".into(),
        documentation_url: Some("https://example.com/docs".into()),
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(false),
            extensions: vec![AgentExtension {
                uri: "https://example.com/ext".into(),
                description: Some("An extension.".into()),
                required: true,
                params: json!({"weight": 0.5}).as_object().cloned(),
            }],
            extended_agent_card: Some(true),
        },
        security_schemes: [(
            "mtls".to_owned(),
            json!({"mtlsSecurityScheme": {"description": "a certificate"}}),
        )]
        .into(),
        security_requirements: vec![requirement()],
        default_input_modes: vec!["application/json".into()],
        default_output_modes: vec!["application/json".into()],
        skills: vec![AgentSkill {
            id: "recommend_requests".into(),
            name: "Recommend requests".into(),
            description: "Reads usage, advises requests.".into(),
            tags: vec!["cpu".into()],
            examples: vec!["deploy/web".into()],
            input_modes: vec!["application/json".into()],
            output_modes: vec!["text/plain".into()],
            security_requirements: vec![requirement()],
        }],
        signatures: Vec::new(),
        icon_url: Some("https://example.com/icon.png".into()),
    }
}

fn requirement() -> SecurityRequirement {
    SecurityRequirement {
        schemes: [(
            "mtls".to_owned(),
            StringList {
                list: vec!["agent.call".into()],
            },
        )]
        .into(),
    }
}

fn signed(card: &AgentCard, key: &SigningKey) -> Value {
    let mut card = card.clone();
    card.signatures.push(sign(&card, key));
    serde_json::to_value(card).unwrap()
}

fn store(key: &SigningKey) -> TrustStore {
    let mut store = TrustStore::default();
    store.trust(key.public());
    store
}

fn specified(card: &Value) -> String {
    String::from_utf8(canonical(card, Form::SPECIFIED).unwrap()).unwrap()
}

/// Signs a card given as JSON, with a header and a form of choice.
fn signed_as(card: &Value, header: &Value, key: &SigningKey, form: Form) -> Value {
    let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let signature = key.sign(&signing_input(&protected, &canonical(card, form).unwrap()));
    let mut card = card.clone();
    card["signatures"] =
        json!([{"protected": protected, "signature": BASE64_URL_SAFE_NO_PAD.encode(signature)}]);
    card
}

fn header(key: &SigningKey) -> Value {
    json!({"alg": "EdDSA", "kid": key.key_id(), "typ": "JOSE"})
}

#[test]
fn verifies_what_it_signed() {
    let key = SigningKey::generate();
    let card = full_card();
    let verified = verify(&signed(&card, &key), &store(&key)).unwrap();
    assert_eq!(verified.key_id, key.key_id());
    assert_eq!(verified.algorithm, Algorithm::EdDsa);
    assert_eq!(verified.form, Form::SPECIFIED);
    assert_eq!(
        serde_json::from_value::<AgentCard>(verified.card).unwrap(),
        card
    );
}

#[test]
fn writes_the_header_that_the_protocol_asks_for() {
    let key = SigningKey::generate();
    let signature = sign_with_key_set(&full_card(), &key, "https://example.com/jwks.json");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature.protected).unwrap();
    let expected = json!({
        "alg": "EdDSA", "kid": key.key_id(), "typ": "JOSE", "jku": "https://example.com/jwks.json",
    });
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), expected);
}

/// Every place in a JSON document, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        places(child, &place, found);
        found.push(place);
    }
}

#[test]
fn notices_a_change_of_every_member() {
    let key = SigningKey::generate();
    let original = signed(&full_card(), &key);
    let keys = store(&key);
    let mut found = Vec::new();
    places(&original, "", &mut found);
    found.retain(|place| !place.starts_with("/signatures"));
    assert!(found.len() > 50, "{found:?}");
    for place in found {
        let mut changed = original.clone();
        *changed.pointer_mut(&place).unwrap() = json!("changed");
        assert!(verify(&changed, &keys).is_err(), "{place}");
    }
}

#[test]
fn notices_every_lost_member() {
    let key = SigningKey::generate();
    let original = signed(&full_card(), &key);
    let keys = store(&key);
    for name in original
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "signatures")
    {
        let mut cut = original.clone();
        cut.as_object_mut().unwrap().remove(name);
        assert!(verify(&cut, &keys).is_err(), "{name}");
    }
}

#[test]
fn never_trusts_what_was_added() {
    let key = SigningKey::generate();
    let mut card = signed(&full_card(), &key);
    card["securityRequirements"]
        .as_array_mut()
        .unwrap()
        .push(json!({}));
    card["stateTransitionHistory"] = json!(true);
    // Both additions vanish in the most lenient form, so the signature holds, over the card without them.
    let verified = verify(&card, &store(&key)).unwrap();
    assert_eq!(
        serde_json::from_value::<AgentCard>(verified.card).unwrap(),
        full_card()
    );
}

#[test]
fn refuses_keys_that_are_unknown_or_revoked() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    let card = signed(&full_card(), &key);
    let refused = SignatureError::Invalid(vec![Flaw::UnknownKey(key.key_id())]);
    assert_eq!(verify(&card, &store(&other)), Err(refused.clone()));
    let mut keys = store(&key);
    verify(&card, &keys).unwrap();
    keys.revoke(&key.key_id());
    assert_eq!(verify(&card, &keys), Err(refused));
}

#[test]
fn accepts_one_valid_signature_among_several() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    let mut card = full_card();
    card.signatures.push(sign(&card, &other));
    card.signatures.push(AgentCardSignature {
        protected: "?".into(),
        signature: "?".into(),
        header: None,
    });
    card.signatures.push(sign(&card, &key));
    let verified = verify(&serde_json::to_value(card).unwrap(), &store(&key)).unwrap();
    assert_eq!(verified.key_id, key.key_id());
}

#[test]
fn refuses_cards_without_a_signature() {
    let keys = TrustStore::default();
    assert_eq!(verify(&json!([]), &keys), Err(SignatureError::NoCard));
    for card in [
        json!({}),
        json!({"signatures": []}),
        json!({"signatures": "x"}),
    ] {
        assert_eq!(
            verify(&card, &keys),
            Err(SignatureError::Unsigned),
            "{card}"
        );
    }
}

#[test]
fn refuses_headers_that_confuse() {
    let key = SigningKey::generate();
    let card = serde_json::to_value(full_card()).unwrap();
    let id = key.key_id();
    let refused = |header: Value| {
        let card = signed_as(&card, &header, &key, Form::SPECIFIED);
        let Err(SignatureError::Invalid(flaws)) = verify(&card, &store(&key)) else {
            panic!("{header} was accepted");
        };
        flaws.into_iter().next().unwrap()
    };
    assert_eq!(
        refused(json!({"alg": "none", "kid": id})),
        Flaw::Algorithm("none".into())
    );
    assert_eq!(
        refused(json!({"alg": "HS256", "kid": id})),
        Flaw::Algorithm("HS256".into())
    );
    assert_eq!(
        refused(json!({"alg": "ES256", "kid": id})),
        Flaw::KeyMismatch(id.clone())
    );
    assert_eq!(refused(json!({"kid": id})), Flaw::Header("it has no alg"));
    assert_eq!(
        refused(json!({"alg": "EdDSA"})),
        Flaw::Header("it has no kid")
    );
    assert_eq!(
        refused(json!({"alg": "EdDSA", "kid": ""})),
        Flaw::Header("it has no kid")
    );
    assert_eq!(
        refused(json!({"alg": "EdDSA", "kid": id, "crit": ["b64"], "b64": false})),
        Flaw::Header("it has critical extensions")
    );
    assert_eq!(refused(json!("text")), Flaw::Malformed);
}

#[test]
fn refuses_an_unprotected_header_that_repeats_the_protected_one() {
    let key = SigningKey::generate();
    let mut card = signed(&full_card(), &key);
    card["signatures"][0]["header"] = json!({"note": "fine"});
    verify(&card, &store(&key)).unwrap();
    card["signatures"][0]["header"] = json!({"kid": "other"});
    assert!(verify(&card, &store(&key)).is_err());
}

/// The example of section 8.4.1 of the A2A specification.
#[test]
fn canonicalises_as_the_specification_shows() {
    let card = json!({
        "name": "Example Agent", "description": "",
        "capabilities": {"streaming": false, "pushNotifications": false, "extensions": []},
        "skills": [], "signatures": [{"protected": "", "signature": ""}],
    });
    let expected = r#"{"capabilities":{"pushNotifications":false,"streaming":false},"description":"","name":"Example Agent","skills":[]}"#;
    assert_eq!(specified(&card), expected);
    let lenient = canonical(&card, Form::ALL[3]).unwrap();
    // What the Python and JavaScript SDKs sign for the same card (A2A issue 2122).
    let expected =
        r#"{"capabilities":{"pushNotifications":false,"streaming":false},"name":"Example Agent"}"#;
    assert_eq!(String::from_utf8(lenient).unwrap(), expected);
}

#[test]
fn keeps_and_drops_members_by_the_presence_rules() {
    let check = |card: Value, expected: &str| assert_eq!(specified(&card), expected);
    // Implicit presence: the default is the same as absent.
    check(
        json!({"securitySchemes": {}, "securityRequirements": []}),
        "{}",
    );
    check(
        json!({"supportedInterfaces": [{"url": "", "tenant": ""}]}),
        r#"{"supportedInterfaces":[{"url":""}]}"#,
    );
    check(
        json!({"capabilities": {"extensions": [{"uri": "x", "required": false, "description": ""}]}}),
        r#"{"capabilities":{"extensions":[{"uri":"x"}]}}"#,
    );
    // Explicit presence: what was set stays, null is not set.
    check(
        json!({"documentationUrl": "", "iconUrl": null}),
        r#"{"documentationUrl":""}"#,
    );
    check(
        json!({"provider": {"url": "", "organization": ""}}),
        r#"{"provider":{"organization":"","url":""}}"#,
    );
    // A scheme that is set but empty is still that scheme.
    check(
        json!({"securitySchemes": {"mtls": {"mtlsSecurityScheme": {"description": ""}}},
               "securityRequirements": [{"schemes": {"mtls": {"list": []}}}]}),
        r#"{"securityRequirements":[{"schemes":{"mtls":{}}}],"securitySchemes":{"mtls":{"mtlsSecurityScheme":{}}}}"#,
    );
    check(
        json!({"securitySchemes": {"o": {"oauth2SecurityScheme": {"flows": {"authorizationCode": {
            "authorizationUrl": "a", "tokenUrl": "t", "refreshUrl": "", "scopes": {}, "pkceRequired": false}}}}}}),
        r#"{"securitySchemes":{"o":{"oauth2SecurityScheme":{"flows":{"authorizationCode":{"authorizationUrl":"a","scopes":{},"tokenUrl":"t"}}}}}}"#,
    );
    // Free-form objects have no defaults.
    check(
        json!({"capabilities": {"extensions": [{"uri": "x", "params": {"a": "", "b": [], "c": false, "d": null}}]}}),
        r#"{"capabilities":{"extensions":[{"params":{"a":"","b":[],"c":false,"d":null},"uri":"x"}]}}"#,
    );
    // Unknown members were signed with whatever they held.
    check(
        json!({"skills": [{"id": "x", "price": 0}], "later": {}}),
        r#"{"later":{},"skills":[{"id":"x","price":0}]}"#,
    );
}

#[test]
fn verifies_every_reading_of_the_rules() {
    let key = SigningKey::generate();
    let mut card = serde_json::to_value(full_card()).unwrap();
    card["description"] = json!("");
    card["later"] = json!(1);
    for form in Form::ALL {
        let card = signed_as(&card, &header(&key), &key, form);
        let verified = verify(&card, &store(&key)).unwrap();
        assert_eq!(verified.form, form);
        assert_eq!(verified.card.get("later").is_none(), form.drops_unknown);
        assert_eq!(verified.card.get("description").is_none(), form.drops_empty);
    }
}

#[test]
fn reads_only_public_signing_keys() {
    let refused = [
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}),
        json!({"kty": "OKP", "crv": "Ed25519", "use": "enc", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "ES256", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    ];
    for jwk in refused {
        assert!(VerificationKey::from_jwk(&jwk).is_err(), "{jwk}");
    }
    assert_eq!(
        TrustStore::from_jwks(&json!({})).unwrap_err(),
        ReadKeyError::NoSet
    );
    let nameless = json!({"keys": [{"kty": "OKP"}]});
    assert_eq!(
        TrustStore::from_jwks(&nameless).unwrap_err(),
        ReadKeyError::NoId(0)
    );
}

/// An attacker who has only the public key must not be able to pass it off as a shared secret or another kind of key.
#[test]
fn ties_an_algorithm_to_the_key_type() {
    let rng = aws_lc_rs::rand::SystemRandom::new();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = aws_lc_rs::signature::EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y),
    });
    let keys = TrustStore::from_jwks(&json!({"keys": [jwk]})).unwrap();
    let card = serde_json::to_value(full_card()).unwrap();
    let attempt = |alg: &str| {
        let protected = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "k"}).to_string());
        let payload = canonical(&card, Form::SPECIFIED).unwrap();
        let signature = pair
            .sign(&rng, &signing_input(&protected, &payload))
            .unwrap();
        let mut card = card.clone();
        card["signatures"] = json!([{"protected": protected, "signature": BASE64_URL_SAFE_NO_PAD.encode(signature)}]);
        verify(&card, &keys)
    };
    assert_eq!(attempt("ES256").unwrap().algorithm, Algorithm::Es256);
    for alg in ["EdDSA", "RS256"] {
        assert_eq!(
            attempt(alg),
            Err(SignatureError::Invalid(vec![Flaw::KeyMismatch("k".into())]))
        );
    }
}

proptest::proptest! {
    #[test]
    fn refuses_garbage_without_a_panic(protected in ".{0,40}", header in "\\PC{0,40}", signature in ".{0,90}") {
        let key = SigningKey::generate();
        let mut card = serde_json::to_value(full_card()).unwrap();
        for protected in [protected, BASE64_URL_SAFE_NO_PAD.encode(header)] {
            card["signatures"] = json!([{"protected": protected, "signature": signature}]);
            proptest::prop_assert!(verify(&card, &store(&key)).is_err());
        }
    }
}
