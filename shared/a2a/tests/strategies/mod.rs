//! Objects of the protocol at random.

use std::collections::BTreeMap;

use a2a::{card, types};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json};

/// One scheme of each kind.
pub(crate) fn schemes() -> Value {
    let urls = json!({"authorizationUrl": "https://example.com/a", "tokenUrl": "https://example.com/t",
        "refreshUrl": "https://example.com/r", "scopes": {"call": "call it"}, "pkceRequired": true});
    json!({
        "key": {"apiKeySecurityScheme": {"location": "header", "name": "x-key", "description": "d"}},
        "http": {"httpAuthSecurityScheme": {"scheme": "Bearer", "bearerFormat": "JWT"}},
        "oauth": {"oauth2SecurityScheme": {"flows": {"authorizationCode": urls}, "oauth2MetadataUrl": "https://example.com/m"}},
        "oidc": {"openIdConnectSecurityScheme": {"openIdConnectUrl": "https://example.com/o"}},
        "mtls": {"mtlsSecurityScheme": {"description": "a certificate"}}, "bare": {"mtlsSecurityScheme": {}},
    })
}

fn text() -> impl Strategy<Value = String> {
    // Letters of several scripts, quotes, escapes and signs beyond the basic plane.
    "[a-zA-Z0-9 /:.\"\\\\\n\u{e9}\u{5b57}\u{1f600}]{1,12}"
}

/// The largest integer up to which doubles hold all: 2 to the power of 53.
const EXACT: i64 = 1 << 53;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        // RFC 8785 knows doubles only, so larger integers are not signed to the last digit.
        (-EXACT..=EXACT).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Option<Map<String, Value>>> {
    // An empty object is the same as none; the official types leave it out of a part.
    option::of(
        prop::collection::btree_map(text(), any_json(), 1..3)
            .prop_map(|map| map.into_iter().collect()),
    )
}

fn any_part() -> impl Strategy<Value = types::Part> {
    let content = prop_oneof![
        text().prop_map(types::Part::text),
        any_json().prop_map(types::Part::json),
        text().prop_map(|url| types::Part {
            url: Some(url),
            ..types::Part::default()
        }),
        Just(types::Part {
            raw: Some("AAEC".into()),
            ..types::Part::default()
        }),
    ];
    (content, option::of(text()), option::of(text()), metadata()).prop_map(
        |(content, media_type, filename, metadata)| types::Part {
            media_type,
            filename,
            metadata,
            ..content
        },
    )
}

prop_compose! {
    fn any_message()(
        message_id in text(), agent in any::<bool>(), parts in vec(any_part(), 1..4), context_id in option::of(text()),
        task_id in option::of(text()), metadata in metadata(), extensions in vec(text(), 0..3),
        reference_task_ids in vec(text(), 0..3),
    ) -> types::Message {
        let role = if agent { types::Role::Agent } else { types::Role::User };
        types::Message { message_id, role, parts, context_id, task_id, metadata, extensions, reference_task_ids }
    }
}

prop_compose! {
    fn any_artifact()(
        artifact_id in text(), name in option::of(text()), description in option::of(text()),
        parts in vec(any_part(), 1..4), metadata in metadata(), extensions in vec(text(), 0..3),
    ) -> types::Artifact {
        types::Artifact { artifact_id, name, description, parts, metadata, extensions }
    }
}

prop_compose! {
    fn any_status()(
        state in prop::sample::select(vec![
            types::TaskState::Submitted, types::TaskState::Working, types::TaskState::Completed, types::TaskState::Failed,
            types::TaskState::Canceled, types::TaskState::InputRequired, types::TaskState::Rejected, types::TaskState::AuthRequired,
        ]),
        message in option::of(any_message()),
        // Their clock leaves out a fraction of zero.
        milliseconds in option::of(1_u32..1000),
    ) -> types::TaskStatus {
        let timestamp = milliseconds.map_or_else(String::new, |it| format!("2026-01-02T03:04:05.{it:03}Z"));
        types::TaskStatus { state, message, timestamp }
    }
}

prop_compose! {
    pub(crate) fn any_task()(
        id in text(), context_id in text(), status in any_status(), artifacts in vec(any_artifact(), 0..3),
        history in vec(any_message(), 0..3), metadata in metadata(),
    ) -> types::Task {
        types::Task { id, context_id, status, artifacts, history, metadata: metadata.unwrap_or_default() }
    }
}

prop_compose! {
    pub(crate) fn any_push()(
        id in prop_oneof![Just(String::new()), text()], task_id in prop_oneof![Just(String::new()), text()], url in text(),
        token in option::of(text()), authentication in option::of((text(), option::of(text()))),
    ) -> types::PushConfig {
        let authentication = authentication.map(|(scheme, credentials)| types::PushAuthentication { scheme, credentials });
        types::PushConfig { id, task_id, url, token, authentication }
    }
}

prop_compose! {
    pub(crate) fn any_request()(
        message in any_message(), metadata in metadata(), set in any::<bool>(), accepted_output_modes in vec(text(), 0..3),
        history_length in option::of(0_i64..i64::from(i32::MAX)), return_immediately in any::<bool>(), push in option::of(any_push()),
    ) -> types::SendMessageRequest {
        let configuration = set.then_some(types::SendMessageConfiguration {
            accepted_output_modes, history_length, return_immediately, task_push_notification_config: push,
        });
        types::SendMessageRequest { message, configuration, metadata }
    }
}

pub(crate) fn any_event() -> impl Strategy<Value = types::StreamResponse> {
    let status = (text(), text(), any_status(), metadata()).prop_map(
        |(task_id, context_id, status, metadata)| {
            types::StreamResponse::StatusUpdate(types::TaskStatusUpdateEvent {
                task_id,
                context_id,
                status,
                metadata,
            })
        },
    );
    let artifact = (
        text(),
        text(),
        any_artifact(),
        any::<(bool, bool)>(),
        metadata(),
    )
        .prop_map(
            |(task_id, context_id, artifact, (append, last_chunk), metadata)| {
                types::StreamResponse::ArtifactUpdate(types::TaskArtifactUpdateEvent {
                    task_id,
                    context_id,
                    artifact,
                    append,
                    last_chunk,
                    metadata,
                })
            },
        );
    prop_oneof![
        any_task().prop_map(types::StreamResponse::Task),
        any_message().prop_map(types::StreamResponse::Message),
        status,
        artifact,
    ]
}

fn any_requirements() -> impl Strategy<Value = Vec<card::SecurityRequirement>> {
    let scopes = vec(text(), 1..3).prop_map(|list| card::StringList { list });
    vec(
        prop::collection::btree_map(text(), scopes, 0..3)
            .prop_map(|schemes| card::SecurityRequirement { schemes }),
        0..3,
    )
}

prop_compose! {
    fn any_skill()(
        id in text(), name in text(), description in text(), tags in vec(text(), 0..3), examples in vec(text(), 0..3),
        input_modes in vec(text(), 0..3), output_modes in vec(text(), 0..3), security_requirements in any_requirements(),
    ) -> card::AgentSkill {
        card::AgentSkill { id, name, description, tags, examples, input_modes, output_modes, security_requirements }
    }
}

prop_compose! {
    fn any_capabilities()(
        streaming in option::of(any::<bool>()), push_notifications in option::of(any::<bool>()),
        extended_agent_card in option::of(any::<bool>()),
        extensions in vec((text(), option::of(text()), any::<bool>(), metadata()), 0..3),
    ) -> card::AgentCapabilities {
        let extensions = extensions.into_iter()
            .map(|(uri, description, required, params)| card::AgentExtension { uri, description, required, params })
            .collect();
        card::AgentCapabilities { streaming, push_notifications, extensions, extended_agent_card }
    }
}

prop_compose! {
    pub(crate) fn any_card()(
        texts in [text(), text(), text()], links in [option::of(text()), option::of(text())],
        interfaces in vec((text(), text(), text(), option::of(text())), 0..3), provider in option::of((text(), text())),
        capabilities in any_capabilities(), schemed in any::<bool>(), security_requirements in any_requirements(),
        modes in [vec(text(), 0..3), vec(text(), 0..3)], skills in vec(any_skill(), 0..3),
        signatures in vec((text(), text(), metadata()), 0..2),
    ) -> card::AgentCard {
        let [name, description, version] = texts;
        let [documentation_url, icon_url] = links;
        let [default_input_modes, default_output_modes] = modes;
        let supported_interfaces = interfaces.into_iter().map(|(url, protocol_binding, protocol_version, tenant)| {
            card::AgentInterface { url, protocol_binding, protocol_version, tenant }
        }).collect();
        let security_schemes: BTreeMap<_, _> = if schemed { serde_json::from_value(schemes()).unwrap() } else { BTreeMap::new() };
        card::AgentCard {
            name, description, supported_interfaces, version, documentation_url, capabilities, security_schemes,
            security_requirements, default_input_modes, default_output_modes, skills, icon_url,
            provider: provider.map(|(url, organization)| card::AgentProvider { url, organization }),
            signatures: signatures.into_iter()
                .map(|(protected, signature, header)| card::AgentCardSignature { protected, signature, header })
                .collect(),
        }
    }
}
