//! How the client finds an agent and what it makes of its card.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod support;

use std::sync::Arc;

use a2a::{
    client::{
        CallError, CallOptions, CardCache, Client, ClientOptions, DiscoverError, SignaturePolicy,
    },
    signature::{SignatureError, TrustStore, sign},
    types::{GetTaskRequest, TaskIdRequest},
};
use identity::SigningKey;
use serde_json::json;
use support::{Agent, Answer, http, send, task};

fn options() -> CallOptions {
    CallOptions::default()
}

fn get() -> GetTaskRequest {
    GetTaskRequest {
        id: "t-1".into(),
        history_length: Some(3),
    }
}

#[tokio::test]
async fn never_falls_back_to_another_version() {
    let agent = Agent::start(
        |card| {
            card["supportedInterfaces"].as_array_mut().unwrap().pop();
        },
        vec![],
    )
    .await;
    let error = Client::discover(http(), &agent.url, ClientOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the agent offers GRPC 1.0, JSONRPC 0.3, but only JSONRPC 1.0 is spoken here"
    );
}

#[tokio::test]
async fn picks_by_major_and_minor_version() {
    for (version, good) in [
        ("1.0", true),
        ("1.0.1", true),
        ("1.00", false),
        ("1.1", false),
        ("10.0", false),
        ("", false),
    ] {
        let agent = Agent::start(
            |card| card["supportedInterfaces"][2]["protocolVersion"] = json!(version),
            vec![],
        )
        .await;
        let client = Client::discover(http(), &agent.url, ClientOptions::default()).await;
        assert_eq!(client.is_ok(), good, "{version}");
    }
}

#[tokio::test]
async fn refuses_extensions_that_it_would_have_to_know() {
    let extension = json!({"uri": "https://example.com/ext", "required": true});
    let agent = Agent::start(
        |card| card["capabilities"]["extensions"] = json!([extension]),
        vec![Answer::Result(json!({"task": task("COMPLETED")}))],
    )
    .await;
    let error = Client::discover(http(), &agent.url, ClientOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoverError::ExtensionRequired(uri) if uri == "https://example.com/ext")
    );
    let known = ClientOptions {
        extensions: vec![
            "https://example.com/other".into(),
            "https://example.com/ext".into(),
        ],
        ..ClientOptions::default()
    };
    send(&agent.client_with(known).await).await.unwrap();
    assert_eq!(
        agent.received()[0].header("a2a-extensions"),
        Some("https://example.com/ext")
    );
}

#[tokio::test]
async fn keeps_a_card_while_it_is_fresh() {
    let agent = Agent::start(|_| (), vec![]).await;
    agent.serve_card(&[("cache-control", "max-age=3600")], |_| ());
    let cards = CardCache::default();
    let options = ClientOptions {
        cards,
        ..ClientOptions::default()
    };
    let client = agent.client_with(options.clone()).await;
    client.refresh().await.unwrap();
    agent.client_with(options).await;
    assert_eq!(agent.fetched().len(), 1);
    agent.client().await;
    assert_eq!(agent.fetched().len(), 2, "another cache asks for itself");
}

#[tokio::test]
async fn asks_whether_a_stale_card_still_holds() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (validator, value, condition) in [
        ("etag", "\"v1\"", "if-none-match"),
        ("last-modified", date, "if-modified-since"),
    ] {
        for age in ["no-cache", "max-age=0"] {
            let agent = Agent::start(|_| (), vec![]).await;
            agent.serve_card(&[("cache-control", age), (validator, value)], |_| ());
            let client = agent.client().await;
            client.refresh().await.unwrap();
            assert_eq!(
                agent.fetched()[1].get(condition).unwrap(),
                value,
                "{validator} {age}"
            );
            assert_eq!(client.card().name, "Scripted");
            agent.serve_card(&[("cache-control", age), (validator, "\"v2\"")], |card| {
                card["name"] = json!("New");
            });
            client.refresh().await.unwrap();
            assert_eq!(client.card().name, "New", "{validator} {age}");
        }
    }
}

#[tokio::test]
async fn keeps_nothing_that_it_must_not_keep() {
    for headers in [
        vec![("cache-control", "no-store"), ("etag", "\"v1\"")],
        vec![],
    ] {
        let agent = Agent::start(|_| (), vec![]).await;
        agent.serve_card(&headers, |_| ());
        let client = agent.client().await;
        client.refresh().await.unwrap();
        assert_eq!(agent.fetched().len(), 2);
        assert!(agent.fetched()[1].get("if-none-match").is_none());
    }
}

#[tokio::test]
async fn goes_by_the_signature_policy() {
    let key = SigningKey::generate();
    let mut keys = TrustStore::default();
    keys.trust(key.public());
    let keys = Arc::new(keys);
    let attempt = async |agent: &Agent, signatures| {
        let options = ClientOptions {
            signatures,
            ..ClientOptions::default()
        };
        Client::discover(http(), &agent.url, options)
            .await
            .map(|client| client.card().name)
    };
    let present = || SignaturePolicy::WhenPresent(keys.clone());
    let required = || SignaturePolicy::Required(keys.clone());

    let agent = Agent::start(|_| (), vec![]).await;
    assert_eq!(attempt(&agent, present()).await.unwrap(), "Scripted");
    let unsigned = attempt(&agent, required()).await.unwrap_err();
    assert!(matches!(
        unsigned,
        DiscoverError::Signature(SignatureError::Unsigned)
    ));

    agent.serve_card(&[], |card| {
        let signature = sign(&serde_json::from_value(card.clone()).unwrap(), &key);
        card["signatures"] = json!([signature]);
    });
    assert_eq!(attempt(&agent, required()).await.unwrap(), "Scripted");

    agent.serve_card(&[], |card| card["name"] = json!("Forged"));
    for policy in [present(), required()] {
        let forged = attempt(&agent, policy).await.unwrap_err();
        assert!(matches!(
            forged,
            DiscoverError::Signature(SignatureError::Invalid(_))
        ));
    }
    assert_eq!(
        attempt(&agent, SignaturePolicy::Off).await.unwrap(),
        "Forged"
    );
}

#[tokio::test]
async fn replaces_the_public_card_by_the_extended_one() {
    let extended = json!({"name": "Extended", "version": "1", "capabilities": {"extendedAgentCard": true}, "skills": null});
    let agent = Agent::start(
        |_| (),
        vec![Answer::Result(extended), Answer::Result(task("WORKING"))],
    )
    .await;
    let client = agent.client().await;
    assert_eq!(
        client
            .get_extended_agent_card(&options())
            .await
            .unwrap()
            .name,
        "Extended"
    );
    assert_eq!(client.card().name, "Extended");
    assert!(matches!(
        client
            .subscribe_to_task(&TaskIdRequest { id: "t".into() }, &options())
            .await,
        Err(CallError::NotOffered(_))
    ));
    client.get_task(&get(), &options()).await.unwrap();
    assert_eq!(
        agent.received()[1].body["params"]["tenant"],
        "blue",
        "the interface stays"
    );
    client.refresh().await.unwrap();
    assert_eq!(client.card().name, "Scripted");
}
