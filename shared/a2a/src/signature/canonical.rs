//! The bytes that a card's signature is made over: presence rules of Protocol Buffers, then RFC 8785.

use serde_json::{Map, Value};

use Presence::{Always, Explicit, Implicit};
use Shape::{List, Object, Plain, Struct};

/// A reading of the presence rules. The specification's text and the SDKs' common practice differ (issue 2122 of the
/// A2A repository), so a verifier tries all of them; what each leaves out cannot change a card's meaning, since
/// [`VerifiedBy::card`](super::VerifiedBy::card) is what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether empty strings, lists and objects are left out everywhere, as the Python and JavaScript SDKs do, also
    /// where the specification keeps them: required members, explicitly optional ones, free-form objects.
    pub drops_empty: bool,
    /// Whether members that the protocol does not define are left out, as SDKs do that decode the card first.
    pub drops_unknown: bool,
}

impl Form {
    /// Section 8.4.1 to the letter, over the card as received. Our own cards are signed in this form.
    pub const SPECIFIED: Self = Self {
        drops_empty: false,
        drops_unknown: false,
    };

    /// All readings, the strictest first.
    pub const ALL: [Self; 4] = [
        Self::SPECIFIED,
        Self {
            drops_empty: false,
            drops_unknown: true,
        },
        Self {
            drops_empty: true,
            drops_unknown: false,
        },
        Self {
            drops_empty: true,
            drops_unknown: true,
        },
    ];
}

/// The canonical form of a card, as received; `signatures` is left out. None when it is no JSON object.
pub fn canonical(card: &Value, form: Form) -> Option<Vec<u8>> {
    card.as_object().map(|card| payload(card, form))
}

/// The canonical form under each reading, without doubles.
pub(super) fn payloads(card: &Map<String, Value>) -> Vec<(Form, Vec<u8>)> {
    let mut payloads: Vec<(Form, Vec<u8>)> = Vec::new();
    for form in Form::ALL {
        let payload = payload(card, form);
        if payloads.iter().all(|(_, other)| *other != payload) {
            payloads.push((form, payload));
        }
    }
    payloads
}

fn payload(card: &Map<String, Value>, form: Form) -> Vec<u8> {
    let mut card = object(card, CARD, form);
    card.remove("signatures");
    let card = Value::Object(card);
    let card = if form.drops_empty {
        without_empty(card).unwrap_or_else(|| Map::new().into())
    } else {
        card
    };
    serde_json_canonicalizer::to_vec(&card).expect("numbers of a JSON value are finite")
}

/// When a member stands in the canonical form.
#[derive(Clone, Copy)]
enum Presence {
    /// `REQUIRED` by the schema: with its default value too.
    Always,
    /// Keyword `optional`, part of a `oneof`, or a message: whenever it was set.
    Explicit,
    /// Everything else: only when it differs from the default.
    Implicit,
}

/// What a member holds.
enum Shape {
    /// A string, a number or a truth value.
    Plain,
    /// Free-form JSON (`google.protobuf.Struct`), which has no defaults.
    Struct,
    /// A message.
    Object(&'static [Member]),
    /// A list of these.
    List(&'static Shape),
    /// An object with free names and these values.
    Map(&'static Shape),
}

type Member = (&'static str, Presence, Shape);

const CARD: &[Member] = &[
    ("name", Always, Plain),
    ("description", Always, Plain),
    ("supportedInterfaces", Always, List(&Object(INTERFACE))),
    ("provider", Explicit, Object(PROVIDER)),
    ("version", Always, Plain),
    ("documentationUrl", Explicit, Plain),
    ("capabilities", Always, Object(CAPABILITIES)),
    ("securitySchemes", Implicit, Shape::Map(&Object(SCHEME))),
    ("securityRequirements", Implicit, List(&Object(REQUIREMENT))),
    ("defaultInputModes", Always, List(&Plain)),
    ("defaultOutputModes", Always, List(&Plain)),
    ("skills", Always, List(&Object(SKILL))),
    ("iconUrl", Explicit, Plain),
];
const INTERFACE: &[Member] = &[
    ("url", Always, Plain),
    ("protocolBinding", Always, Plain),
    ("tenant", Implicit, Plain),
    ("protocolVersion", Always, Plain),
];
const PROVIDER: &[Member] = &[("url", Always, Plain), ("organization", Always, Plain)];
const CAPABILITIES: &[Member] = &[
    ("streaming", Explicit, Plain),
    ("pushNotifications", Explicit, Plain),
    ("extensions", Implicit, List(&Object(EXTENSION))),
    ("extendedAgentCard", Explicit, Plain),
];
const EXTENSION: &[Member] = &[
    ("uri", Implicit, Plain),
    ("description", Implicit, Plain),
    ("required", Implicit, Plain),
    ("params", Explicit, Struct),
];
const SKILL: &[Member] = &[
    ("id", Always, Plain),
    ("name", Always, Plain),
    ("description", Always, Plain),
    ("tags", Always, List(&Plain)),
    ("examples", Implicit, List(&Plain)),
    ("inputModes", Implicit, List(&Plain)),
    ("outputModes", Implicit, List(&Plain)),
    ("securityRequirements", Implicit, List(&Object(REQUIREMENT))),
];
const REQUIREMENT: &[Member] = &[("schemes", Implicit, Shape::Map(&Object(STRINGS)))];
const STRINGS: &[Member] = &[("list", Implicit, List(&Plain))];
const SCHEME: &[Member] = &[
    ("apiKeySecurityScheme", Explicit, Object(API_KEY)),
    ("httpAuthSecurityScheme", Explicit, Object(HTTP_AUTH)),
    ("oauth2SecurityScheme", Explicit, Object(OAUTH2)),
    ("openIdConnectSecurityScheme", Explicit, Object(OPEN_ID)),
    ("mtlsSecurityScheme", Explicit, Object(MTLS)),
];
const API_KEY: &[Member] = &[
    ("description", Implicit, Plain),
    ("location", Always, Plain),
    ("name", Always, Plain),
];
const HTTP_AUTH: &[Member] = &[
    ("description", Implicit, Plain),
    ("scheme", Always, Plain),
    ("bearerFormat", Implicit, Plain),
];
const OAUTH2: &[Member] = &[
    ("description", Implicit, Plain),
    ("flows", Always, Object(FLOWS)),
    ("oauth2MetadataUrl", Implicit, Plain),
];
const OPEN_ID: &[Member] = &[
    ("description", Implicit, Plain),
    ("openIdConnectUrl", Always, Plain),
];
const MTLS: &[Member] = &[("description", Implicit, Plain)];
const FLOWS: &[Member] = &[
    ("authorizationCode", Explicit, Object(AUTHORIZATION_CODE)),
    ("clientCredentials", Explicit, Object(CLIENT_CREDENTIALS)),
    ("implicit", Explicit, Object(IMPLICIT_FLOW)),
    ("password", Explicit, Object(PASSWORD)),
    ("deviceCode", Explicit, Object(DEVICE_CODE)),
];
const AUTHORIZATION_CODE: &[Member] = &[
    ("authorizationUrl", Always, Plain),
    ("tokenUrl", Always, Plain),
    ("refreshUrl", Implicit, Plain),
    ("scopes", Always, Shape::Map(&Plain)),
    ("pkceRequired", Implicit, Plain),
];
const CLIENT_CREDENTIALS: &[Member] = &[
    ("tokenUrl", Always, Plain),
    ("refreshUrl", Implicit, Plain),
    ("scopes", Always, Shape::Map(&Plain)),
];
const IMPLICIT_FLOW: &[Member] = &[
    ("authorizationUrl", Implicit, Plain),
    ("refreshUrl", Implicit, Plain),
    ("scopes", Implicit, Shape::Map(&Plain)),
];
const PASSWORD: &[Member] = &[
    ("tokenUrl", Implicit, Plain),
    ("refreshUrl", Implicit, Plain),
    ("scopes", Implicit, Shape::Map(&Plain)),
];
const DEVICE_CODE: &[Member] = &[
    ("deviceAuthorizationUrl", Always, Plain),
    ("tokenUrl", Always, Plain),
    ("refreshUrl", Implicit, Plain),
    ("scopes", Always, Shape::Map(&Plain)),
];

fn object(value: &Map<String, Value>, members: &[Member], form: Form) -> Map<String, Value> {
    value
        .iter()
        .filter_map(|(name, value)| {
            let kept = match members.iter().find(|(known, ..)| known == name) {
                Some((_, presence, shape)) => member(value, *presence, shape, form)?,
                None if form.drops_unknown => return None,
                None => value.clone(),
            };
            Some((name.clone(), kept))
        })
        .collect()
}

fn member(value: &Value, presence: Presence, shape: &Shape, form: Form) -> Option<Value> {
    // In ProtoJSON null is the same as absent.
    if value.is_null() {
        return None;
    }
    let value = shaped(value, shape, form);
    match presence {
        Always | Explicit => Some(value),
        Implicit => (!is_default(&value)).then_some(value),
    }
}

/// The value with the rules applied within; one of another shape than the schema's stays as it is.
fn shaped(value: &Value, shape: &Shape, form: Form) -> Value {
    match (shape, value) {
        (Object(members), Value::Object(value)) => object(value, members, form).into(),
        (List(inner), Value::Array(values)) => values
            .iter()
            .map(|value| shaped(value, inner, form))
            .collect(),
        (Shape::Map(inner), Value::Object(values)) => values
            .iter()
            .map(|(name, value)| (name.clone(), shaped(value, inner, form)))
            .collect(),
        _ => value.clone(),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
    }
}

/// The value without nulls, empty strings, lists and objects, at any depth.
fn without_empty(value: Value) -> Option<Value> {
    let value = match value {
        Value::Array(values) => values.into_iter().filter_map(without_empty).collect(),
        Value::Object(values) => values
            .into_iter()
            .filter_map(|(name, value)| Some((name, without_empty(value)?)))
            .collect(),
        Value::Bool(_) | Value::Number(_) => return Some(value),
        other => other,
    };
    (!is_default(&value)).then_some(value)
}
