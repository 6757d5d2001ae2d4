//! Certificates at the door of a real agent: only the right ones get in, and rotation loses no call.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::{
    collections::BTreeSet,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use identity::{Authority, CertificatePair, SpiffeId, TlsFiles};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::AlertDescription;
use serde_json::{Value, json};
use tests::{Mesh, Verdict, Wire, post, wire::uri};
use time::OffsetDateTime;

const AGENT: &str = "security-scanner";
const OPERATOR: &str = "spiffe://mesh.local/external/operator";

/// Spoils a good certificate.
type Mistake = fn(&mut CertificateParams);

/// What may be wrong with a certificate that the mesh's own authority signed, and the alert it earns.
const MISTAKES: [(&str, AlertDescription, Mistake); 11] = [
    ("expired", AlertDescription::CertificateExpired, |p| {
        p.not_after = OffsetDateTime::now_utc() - time::Duration::SECOND;
    }),
    ("not yet valid", AlertDescription::CertificateExpired, |p| {
        p.not_before = OffsetDateTime::now_utc() + time::Duration::HOUR;
    }),
    ("two URIs", AlertDescription::CertificateUnknown, |p| {
        p.subject_alt_names.push(uri(
            "spiffe://mesh.local/ns/platform-system/sa/config-validator",
        ));
    }),
    (
        "same URI twice",
        AlertDescription::CertificateUnknown,
        |p| {
            p.subject_alt_names.extend(p.subject_alt_names.clone());
        },
    ),
    (
        "host name only",
        AlertDescription::CertificateUnknown,
        |p| {
            p.subject_alt_names = vec![SanType::DnsName("operator".try_into().unwrap())];
        },
    ),
    ("no SPIFFE URI", AlertDescription::CertificateUnknown, |p| {
        p.subject_alt_names = vec![uri("https://mesh.local/external/operator")];
    }),
    (
        "trust domain only",
        AlertDescription::CertificateUnknown,
        |p| {
            p.subject_alt_names = vec![uri("spiffe://mesh.local")];
        },
    ),
    (
        "another trust domain",
        AlertDescription::CertificateUnknown,
        |p| {
            p.subject_alt_names = vec![uri("spiffe://else.where/external/operator")];
        },
    ),
    (
        "may sign others",
        AlertDescription::CertificateUnknown,
        |p| {
            p.key_usages.push(KeyUsagePurpose::KeyCertSign);
        },
    ),
    (
        "for servers only",
        AlertDescription::UnsupportedCertificate,
        |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        },
    ),
    (
        "for mail only",
        AlertDescription::UnsupportedCertificate,
        |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        },
    ),
];

/// A good certificate of another authority.
fn foreign(trust_domain: &str) -> CertificatePair {
    let id = SpiffeId::external(trust_domain, "operator").unwrap();
    let authority = Authority::generate(trust_domain).unwrap();
    authority.issue(&id, Duration::from_mins(10)).unwrap()
}

/// The caller is plain rustls, so that nobody but the agent can refuse.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_itself_refuses_every_bad_certificate_in_the_handshake() {
    let mesh = Mesh::start().await.unwrap();
    let wire = Wire::new(&mesh);
    let good = wire.sign(OPERATOR, |_| ());
    let bad = MISTAKES.map(|(what, alert, spoil)| (what, alert, Some(wire.sign(OPERATOR, spoil))));
    let others = [
        ("none", AlertDescription::CertificateRequired, None),
        (
            "another authority",
            AlertDescription::DecryptError,
            Some(foreign("mesh.local")),
        ),
        (
            "another authority and domain",
            AlertDescription::UnknownCA,
            Some(foreign("else.where")),
        ),
    ];
    for agent in mesh.ground.fleet.mesh.agents.keys() {
        for (what, alert, certificate) in bad.iter().chain(&others) {
            let verdict = wire.ask(agent, certificate.as_ref()).await;
            assert_eq!(verdict, Verdict::Alert(*alert), "{agent}: {what}");
        }
        match wire.ask(agent, Some(&good)).await {
            Verdict::Answered(200, body) => assert!(body["result"].is_object(), "{agent}: {body}"),
            verdict => panic!("{agent} refused a good certificate: {verdict:?}"),
        }
    }
    // They proved no identity that a record could name. A stranger with one comes last, and is the only one there.
    let stranger = "spiffe://mesh.local/external/stranger";
    let certificate = wire.sign(stranger, |_| ());
    let mut expected = BTreeSet::new();
    for agent in mesh.ground.fleet.mesh.agents.keys() {
        let verdict = wire.ask(agent, Some(&certificate)).await;
        assert!(matches!(verdict, Verdict::Answered(401, _)), "{agent}");
        expected.insert((mesh.target(agent).id.to_string(), stranger.to_owned()));
    }
    assert_eq!(turned_away(&mesh, expected.len()).await, expected);
    mesh.stop().await.unwrap();
}

/// The SAN has to name an agent where the manifests put it, or a declared caller.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_disagrees_with_the_manifests_is_nobody_and_audited() {
    let mesh = Mesh::start().await.unwrap();
    let wire = Wire::new(&mesh);
    let strangers = [
        "spiffe://mesh.local/ns/wrong-system/sa/config-validator",
        "spiffe://mesh.local/ns/platform-system/sa/config-validator2",
        "spiffe://mesh.local/ns/security-system/sa/config-validator",
        "spiffe://mesh.local/external/nobody",
        "spiffe://mesh.local/operator",
    ];
    for id in strangers {
        match wire.ask(AGENT, Some(&wire.sign(id, |_| ()))).await {
            Verdict::Answered(401, body) => assert_eq!(body["error"]["code"], -32050, "{id}"),
            verdict => panic!("{id}: {verdict:?}"),
        }
    }
    let declared = wire.sign(
        "spiffe://mesh.local/ns/platform-system/sa/config-validator",
        |_| (),
    );
    assert!(matches!(
        wire.ask(AGENT, Some(&declared)).await,
        Verdict::Answered(200, _)
    ));
    let agent = mesh.target(AGENT).id.to_string();
    assert_eq!(
        turned_away(&mesh, strangers.len()).await,
        strangers.map(|id| (agent.clone(), id.to_owned())).into()
    );
    mesh.stop().await.unwrap();
}

/// Which agents turned whom away before any skill, once the trail has as many as expected.
async fn turned_away(mesh: &Mesh, expected: usize) -> BTreeSet<(String, String)> {
    let input = json!({"action": "connect", "decision": "denied", "limit": 200});
    let mut found = BTreeSet::new();
    for _ in 0..100 {
        let page = mesh
            .call("compliance-auditor", "query_audit_trail", &input)
            .await
            .unwrap()
            .ok()
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found = page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| &found["record"])
            .map(|record| (text(&record["agent"]), text(&record["caller"])))
            .collect();
        if found.len() >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_refuse_another_server_than_expected_and_agents_refuse_plaintext() {
    let mesh = Mesh::start().await.unwrap();
    let url = mesh.ground.url(AGENT);
    let operator = SpiffeId::external("mesh.local", "operator").unwrap();
    let mistaken = mesh.client_as(&operator, "db-migrator").unwrap();
    let right = mesh.client_as(&operator, AGENT).unwrap();
    assert!(
        post(&mistaken, &url, "rpc.discover", &json!({}))
            .await
            .is_err(),
        "another server than expected"
    );
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let plaintext = url.replace("https", "http");
    assert!(
        post(&plain, &plaintext, "rpc.discover", &json!({}))
            .await
            .is_err(),
        "plaintext"
    );
    let (status, _) = post(&right, &url, "rpc.discover", &json!({}))
        .await
        .unwrap();
    assert_eq!(status, 200);
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_rotate_under_load_without_a_failed_call() {
    let mesh = Mesh::start().await.unwrap();
    let right = mesh.target(AGENT);
    let stop = Arc::new(AtomicBool::new(false));
    let caller = mesh.caller("operator");
    let load = tokio::spawn({
        let (stop, right) = (stop.clone(), right.clone());
        async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                // A new client a call, so each one shakes hands anew.
                let answer = caller
                    .call(
                        &right,
                        "detect_secrets",
                        &json!({"content": [{"name": "a", "content": "x"}]}),
                        None,
                    )
                    .await
                    .unwrap();
                answer.ok().unwrap();
                calls += 1;
            }
            calls
        }
    });
    let files = TlsFiles::in_folder(&mesh.ground.agent_dir(AGENT).join("tls"));
    let before = std::fs::read(&files.cert).unwrap();
    for _ in 0..3 {
        mesh.ground
            .certificate(&mesh.ground.agent_dir(AGENT).join("tls"), &right.id)
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1300)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 10, "the load really ran");
    assert_ne!(before, std::fs::read(&files.cert).unwrap());
    mesh.stop().await.unwrap();
}
