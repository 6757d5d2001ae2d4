//! The agent card and the `OpenRPC` document, both made from the registry and the manifest.

use std::collections::BTreeMap;

use a2a::{
    IDEMPOTENT_SEND, RESUMABLE_STREAMS,
    card::{
        AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentSkill,
        SecurityRequirement, StringList,
    },
    signature::sign,
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use manifest::Manifest;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{digest, registry::Registry};

/// How long a client may keep the card without asking again.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Optional parts of the protocol that an agent offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// Streams.
    pub streaming: bool,
    /// Push notifications.
    pub push: bool,
    /// The extended card.
    pub extended_card: bool,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            streaming: true,
            push: true,
            extended_card: true,
        }
    }
}

/// What makes a card.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) offers: Offers,
    pub(crate) input_modes: Vec<String>,
    pub(crate) output_modes: Vec<String>,
    /// Scheme of the callers' credentials, by name.
    pub(crate) security: Option<(String, Value)>,
    pub(crate) required_extensions: Vec<String>,
}

impl Profile {
    /// The profile of an agent of the mesh.
    pub(crate) fn of(manifest: &Manifest, url: &str) -> Self {
        let described = manifest.role.as_deref().or(manifest.description.as_deref());
        let mtls = json!({"mtlsSecurityScheme": {"description": "X.509 SVID of this mesh's trust domain, TLS 1.3"}});
        Self {
            name: manifest.name.clone(),
            description: described.unwrap_or_default().to_owned(),
            version: version(manifest).to_owned(),
            url: url.to_owned(),
            offers: Offers::default(),
            input_modes: vec!["application/json".into(), "text/plain".into()],
            output_modes: vec!["application/json".into()],
            security: Some(("mtls".into(), mtls)),
            required_extensions: Vec::new(),
        }
    }
}

fn version(manifest: &Manifest) -> &str {
    manifest
        .version
        .as_deref()
        .unwrap_or(env!("CARGO_PKG_VERSION"))
}

/// The cards of one agent: the public one as it is served, and what the extended one is made from.
#[derive(Debug)]
pub(crate) struct Cards {
    profile: Profile,
    signer: Option<identity::SigningKey>,
    public: AgentCard,
    body: String,
    etag: HeaderValue,
    modified: HeaderValue,
}

impl Cards {
    /// Makes and signs the public card.
    pub(crate) fn new(
        mut profile: Profile,
        registry: &Registry,
        signer: Option<identity::SigningKey>,
    ) -> Self {
        for mode in registry.iter().flat_map(|skill| skill.files) {
            if !profile.input_modes.iter().any(|known| known == mode) {
                profile.input_modes.push((*mode).to_owned());
            }
        }
        let public = signed(card(&profile, registry), signer.as_ref());
        let body = serde_json::to_string(&public).unwrap_or_default();
        let etag = format!("\"{}\"", digest::of_bytes(body.as_bytes()));
        let modified = httpdate::fmt_http_date(OffsetDateTime::now_utc().into());
        let header = |text: String| {
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        Self {
            profile,
            signer,
            public,
            body,
            etag: header(etag),
            modified: header(modified),
        }
    }

    /// What the agent offers.
    pub(crate) fn offers(&self) -> Offers {
        self.profile.offers
    }

    /// Media types that messages may have.
    pub(crate) fn input_modes(&self) -> &[String] {
        &self.profile.input_modes
    }

    /// Extensions that callers have to know.
    pub(crate) fn required_extensions(&self) -> &[String] {
        &self.profile.required_extensions
    }

    /// Whether the agent knows an extension.
    pub(crate) fn knows_extension(&self, uri: &str) -> bool {
        let known = &self.public.capabilities.extensions;
        known.iter().any(|extension| extension.uri == uri)
    }

    /// The extended card of one caller: only the skills that it may use.
    pub(crate) fn extended(&self, may: impl Fn(&str) -> bool) -> AgentCard {
        let mut card = self.public.clone();
        card.signatures.clear();
        card.skills.retain(|skill| may(&skill.id));
        signed(card, self.signer.as_ref())
    }

    /// The public card, or that the client has it already.
    pub(crate) fn serve(&self, headers: &HeaderMap) -> Response<Body> {
        let known = self.is_known(headers);
        let body = if known { "" } else { self.body.as_str() };
        let mut response = Response::new(Body::from(body.to_owned()));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response.headers_mut().extend([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::ETAG, self.etag.clone()),
            (header::LAST_MODIFIED, self.modified.clone()),
        ]);
        response
    }

    /// `If-None-Match` counts before `If-Modified-Since`.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        if let Some(tags) = text(header::IF_NONE_MATCH) {
            let own = self.etag.to_str().unwrap_or_default();
            let mut tags = tags
                .split(',')
                .map(|tag| tag.trim().trim_start_matches("W/"));
            return tags.any(|tag| tag == own || tag == "*");
        }
        let since = text(header::IF_MODIFIED_SINCE).and_then(date);
        let modified = self.modified.to_str().ok().and_then(date);
        since
            .zip(modified)
            .is_some_and(|(since, modified)| modified <= since)
    }
}

fn signed(mut card: AgentCard, signer: Option<&identity::SigningKey>) -> AgentCard {
    card.signatures = signer.map(|key| sign(&card, key)).into_iter().collect();
    card
}

/// The input, then the files that may come with it.
fn modes(files: &[&str]) -> Vec<String> {
    let all = std::iter::once(&"application/json").chain(files);
    all.map(|&mode| mode.to_owned()).collect()
}

/// The card, unsigned.
fn card(profile: &Profile, registry: &Registry) -> AgentCard {
    let skills = registry.iter().map(|skill| AgentSkill {
        id: skill.id.to_owned(),
        name: skill.name.to_owned(),
        description: skill.description.to_owned(),
        tags: skill.tags.iter().map(|&tag| tag.to_owned()).collect(),
        input_modes: modes(skill.files),
        output_modes: vec!["application/json".into()],
        ..AgentSkill::default()
    });
    let offers = profile.offers;
    let requirement = |name: &String| SecurityRequirement {
        schemes: BTreeMap::from([(name.clone(), StringList::default())]),
    };
    AgentCard {
        name: profile.name.clone(),
        description: profile.description.clone(),
        version: profile.version.clone(),
        supported_interfaces: vec![AgentInterface {
            url: format!("{}/a2a", profile.url),
            protocol_binding: "JSONRPC".into(),
            protocol_version: "1.0".into(),
            tenant: None,
        }],
        capabilities: AgentCapabilities {
            streaming: Some(offers.streaming),
            push_notifications: Some(offers.push),
            extended_agent_card: Some(offers.extended_card),
            extensions: extensions(profile),
        },
        security_requirements: profile
            .security
            .iter()
            .map(|(name, _)| requirement(name))
            .collect(),
        security_schemes: profile.security.clone().into_iter().collect(),
        default_input_modes: profile.input_modes.clone(),
        default_output_modes: profile.output_modes.clone(),
        skills: skills.collect(),
        ..AgentCard::default()
    }
}

fn extensions(profile: &Profile) -> Vec<AgentExtension> {
    let own = |uri: &str, description: &str| AgentExtension {
        uri: uri.to_owned(),
        description: Some(description.to_owned()),
        ..AgentExtension::default()
    };
    let mut extensions = vec![own(
        IDEMPOTENT_SEND,
        "A message with the messageId of an earlier one of the same caller gives the same task; another message under \
         that id is refused.",
    )];
    if profile.offers.streaming {
        extensions.push(own(
            RESUMABLE_STREAMS,
            "Events have numbers (SSE id); SubscribeToTask with Last-Event-ID tells what came after, or the task as it \
             stands when that is too long ago.",
        ));
    }
    let required = profile
        .required_extensions
        .iter()
        .map(|uri| AgentExtension {
            uri: uri.clone(),
            required: true,
            ..AgentExtension::default()
        });
    extensions.extend(required);
    extensions
}

/// The `OpenRPC` 1.3 description of the direct methods (`rpc.discover`).
pub(crate) fn open_rpc(registry: &Registry, manifest: &Manifest) -> Value {
    let methods: Vec<Value> = registry
        .iter()
        .map(|skill| {
            let required = skill.input.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            let definitions = skill.input.get("$defs").cloned().unwrap_or_else(|| json!({}));
            let properties = skill.input.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            let params: Vec<Value> = properties
                .into_iter()
                .map(|(name, schema)| json!({"required": required.contains(&Value::String(name.clone())), "name": name, "schema": with_definitions(schema, &definitions)}))
                .collect();
            json!({
                "name": skill.id, "summary": skill.name, "description": skill.description, "paramStructure": "by-name",
                "params": params, "result": {"name": "artifact", "schema": skill.output},
            })
        })
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {"title": manifest.name, "version": version(manifest)},
        "methods": methods,
    })
}

/// A parameter's schema must stand alone, so it carries the definitions it may refer to.
fn with_definitions(mut schema: Value, definitions: &Value) -> Value {
    let refers = schema.to_string().contains("#/$defs/");
    if let Some(schema) = schema.as_object_mut().filter(|_| refers) {
        schema.insert("$defs".into(), definitions.clone());
    }
    schema
}
