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
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use identity::{Authority, SpiffeId, TlsFiles, TlsIdentity};
use serde_json::json;
use tests::{Mesh, post};

const AGENT: &str = "security-scanner";

fn client(files: TlsFiles, id: &SpiffeId, expected: SpiffeId) -> reqwest::Client {
    let tls = TlsIdentity::from_files(files, id).unwrap();
    let config = rustls::ClientConfig::clone(&tls.client_config(expected));
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .build()
        .unwrap()
}

fn folder(root: &Path, name: &str) -> std::path::PathBuf {
    let folder = root.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_authority_expired_wrong_domain_and_wrong_server_are_refused() {
    let mesh = Mesh::start().await.unwrap();
    let root = mesh.ground.root.join("wrong");
    let operator = SpiffeId::external("mesh.local", "operator").unwrap();
    let right = mesh.target(AGENT);

    let other = Authority::generate("mesh.local").unwrap();
    let mut files = other
        .issue_to(
            &folder(&root, "authority"),
            &operator,
            Duration::from_mins(10),
        )
        .unwrap();
    // The client trusts both authorities, so that only the agent can refuse.
    let both = format!("{}{}", other.ca_pem(), mesh.ground.authority.ca_pem());
    files.ca = root.join("both.pem");
    std::fs::write(&files.ca, both).unwrap();
    let foreign = client(files, &operator, right.id.clone());
    assert!(
        post(&foreign, &right.url, "detect_secrets", &json!({}))
            .await
            .is_err(),
        "another authority"
    );

    let elsewhere = Authority::generate("else.where").unwrap();
    let stranger = SpiffeId::external("else.where", "operator").unwrap();
    let mut files = elsewhere
        .issue_to(&folder(&root, "domain"), &stranger, Duration::from_mins(10))
        .unwrap();
    let both = format!("{}{}", elsewhere.ca_pem(), mesh.ground.authority.ca_pem());
    files.ca = root.join("domains.pem");
    std::fs::write(&files.ca, both).unwrap();
    let foreign = client(files, &stranger, right.id.clone());
    assert!(
        post(&foreign, &right.url, "detect_secrets", &json!({}))
            .await
            .is_err(),
        "another trust domain"
    );

    let now = time::OffsetDateTime::now_utc();
    let hour = time::Duration::hours(1);
    let pair = mesh
        .ground
        .authority
        .issue_between(&operator, now - hour * 2, now - hour)
        .unwrap();
    let expired = folder(&root, "expired");
    for (name, text) in [
        ("cert.pem", &pair.cert_pem),
        ("key.pem", &pair.key_pem),
        ("ca.pem", &mesh.ground.authority.ca_pem().to_owned()),
    ] {
        std::fs::write(expired.join(name), text).unwrap();
    }
    match TlsIdentity::from_files(TlsFiles::in_folder(&expired), &operator) {
        Err(_) => {}
        Ok(tls) => {
            let config = rustls::ClientConfig::clone(&tls.client_config(right.id.clone()));
            let late = reqwest::Client::builder()
                .tls_backend_preconfigured(config)
                .no_proxy()
                .build()
                .unwrap();
            assert!(
                post(&late, &right.url, "detect_secrets", &json!({}))
                    .await
                    .is_err(),
                "an expired certificate"
            );
        }
    }

    let mistaken = client(
        TlsFiles::in_folder(&mesh.ground.root.join("callers/operator")),
        &operator,
        mesh.target("db-migrator").id,
    );
    assert!(
        post(&mistaken, &right.url, "detect_secrets", &json!({}))
            .await
            .is_err(),
        "another server than expected"
    );

    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(
        post(
            &plain,
            &right.url.replace("https", "http"),
            "detect_secrets",
            &json!({})
        )
        .await
        .is_err(),
        "plaintext"
    );
    mesh.stop().await.unwrap();
}

/// The SAN has to name an agent where the manifests put it.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_disagrees_with_the_manifests_is_nobody() {
    let mesh = Mesh::start().await.unwrap();
    for (namespace, account) in [
        ("wrong-system", "config-validator"),
        ("platform-system", "config-validator2"),
        ("security-system", "config-validator"),
    ] {
        let id = SpiffeId::workload("mesh.local", namespace, account).unwrap();
        let (status, answer) = post(
            &mesh.client_as(&id, AGENT).unwrap(),
            &mesh.ground.url(AGENT),
            "detect_secrets",
            &json!({}),
        )
        .await
        .unwrap();
        assert_eq!(
            (status, answer["error"]["code"].as_i64()),
            (401, Some(-32050)),
            "{id}"
        );
    }
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
