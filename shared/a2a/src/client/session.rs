//! What a client goes by: the agent's card, and the interface picked from it.

use http::HeaderValue;
use serde_json::Value;

use super::{CallError, ClientOptions, SignaturePolicy};
use crate::{
    IDEMPOTENT_SEND, PROTOCOL_VERSION,
    card::{AgentCard, AgentInterface},
    signature::{Form, SignatureError, canonical, verify},
};

/// The binding spoken here.
const BINDING: &str = "JSONRPC";

/// Why an agent cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// Its card could not be fetched.
    #[error("cannot fetch the agent card")]
    Fetch(#[source] CallError),
    /// What came is no agent card.
    #[error("{url} is no agent card")]
    NoCard {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No interface of the card is spoken here.
    #[error("the agent offers {}, but only JSONRPC {PROTOCOL_VERSION} is spoken here", offered(.0))]
    NoInterface(Vec<AgentInterface>),
    /// The agent requires an extension that the caller does not know.
    #[error("the agent requires the extension {0}")]
    ExtensionRequired(String),
    /// An extension's URI cannot stand in a header.
    #[error("not the URI of an extension: {0:?}")]
    ExtensionName(String),
    /// The card's signature is missing or wrong, and the policy asks for one.
    #[error("the agent card is not trusted")]
    Signature(#[from] SignatureError),
}

fn offered(interfaces: &[AgentInterface]) -> String {
    if interfaces.is_empty() {
        return "no interface".into();
    }
    let name = |it: &AgentInterface| format!("{} {}", it.protocol_binding, it.protocol_version);
    interfaces.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The card in force, and what follows from it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) card: AgentCard,
    pub(super) url: String,
    pub(super) tenant: Option<String>,
    pub(super) extensions: Option<HeaderValue>,
    /// Whether the agent recognises a message that was sent twice.
    pub(super) idempotent: bool,
}

impl Session {
    pub(super) fn new(card: AgentCard, known: &[String]) -> Result<Self, DiscoverError> {
        let interface = select(&card.supported_interfaces)
            .ok_or_else(|| DiscoverError::NoInterface(card.supported_interfaces.clone()))?;
        let (url, tenant) = (interface.url.clone(), interface.tenant.clone());
        Self::at(card, url, tenant, known)
    }

    /// The same interface under another card of the agent, when that one names none that is spoken here.
    pub(super) fn extended(
        &self,
        card: AgentCard,
        known: &[String],
    ) -> Result<Self, DiscoverError> {
        match select(&card.supported_interfaces) {
            Some(_) => Self::new(card, known),
            None => Self::at(card, self.url.clone(), self.tenant.clone(), known),
        }
    }

    fn at(
        card: AgentCard,
        url: String,
        tenant: Option<String>,
        known: &[String],
    ) -> Result<Self, DiscoverError> {
        let declared = extensions(&card, known)?;
        let idempotent = declared.contains(&IDEMPOTENT_SEND);
        let joined = declared.join(", ");
        let header = HeaderValue::from_str(&joined);
        let header = header.map_err(|_| DiscoverError::ExtensionName(joined))?;
        Ok(Self {
            url,
            tenant: tenant.filter(|tenant| !tenant.is_empty()),
            extensions: Some(header).filter(|header| !header.is_empty()),
            idempotent,
            card,
        })
    }
}

/// The first interface that is spoken here; a patch version does not matter.
fn select(interfaces: &[AgentInterface]) -> Option<&AgentInterface> {
    interfaces.iter().find(|interface| {
        let version = &interface.protocol_version;
        let patch = version.strip_prefix(PROTOCOL_VERSION);
        interface.protocol_binding == BINDING
            && patch.is_some_and(|patch| patch.is_empty() || patch.starts_with('.'))
    })
}

/// Extensions to declare: those that both sides know.
fn extensions<'a>(card: &'a AgentCard, known: &[String]) -> Result<Vec<&'a str>, DiscoverError> {
    let mut declared = Vec::new();
    for extension in &card.capabilities.extensions {
        let uri = extension.uri.as_str();
        if uri == IDEMPOTENT_SEND || known.iter().any(|known| known == uri) {
            declared.push(uri);
        } else if extension.required {
            return Err(DiscoverError::ExtensionRequired(uri.to_owned()));
        }
    }
    Ok(declared)
}

/// Fetches and judges an agent's public card.
pub(super) async fn discover(
    http: &reqwest::Client,
    url: &str,
    options: &ClientOptions,
) -> Result<Session, DiscoverError> {
    let ClientOptions {
        cards,
        headers,
        signatures,
        extensions,
        ..
    } = options;
    let card = cards
        .fetch(http, url, headers)
        .await
        .map_err(DiscoverError::Fetch)?;
    let card = decode(&card, signatures)?.map_err(|source| DiscoverError::NoCard {
        url: url.to_owned(),
        source,
    })?;
    Session::new(card, extensions)
}

/// A card as far as the policy trusts it.
pub(super) fn decode(
    card: &Value,
    policy: &SignaturePolicy,
) -> Result<Result<AgentCard, serde_json::Error>, SignatureError> {
    let signed = match policy {
        SignaturePolicy::Off => None,
        SignaturePolicy::WhenPresent(keys) => match verify(card, &**keys) {
            Err(SignatureError::Unsigned) => None,
            verified => Some(verified?.card),
        },
        SignaturePolicy::Required(keys) => Some(verify(card, &**keys)?.card),
    };
    let Some(mut signed) = signed else {
        // The canonical form has no nulls, which ProtoJSON allows for every member.
        return Ok(match canonical(card, Form::SPECIFIED) {
            Some(bytes) => serde_json::from_slice(&bytes),
            None => serde_json::from_value(card.clone()),
        });
    };
    if let (Some(signed), Some(signatures)) = (signed.as_object_mut(), card.get("signatures")) {
        signed.insert("signatures".into(), signatures.clone());
    }
    Ok(serde_json::from_value(signed))
}
