//! `meshctl init` against the Deployments that mount what it makes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::{collections::BTreeMap, fs};

use common::{documents, fleet, meshctl, of_kind, string, text};
use serde_json::Value;

#[test]
fn init_makes_every_secret_that_the_deployments_mount_and_keeps_keys_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let flag = |name: &str| path(name).display().to_string();
    let run = || {
        meshctl(&[
            "init",
            "--state",
            &flag("state"),
            "--share",
            &flag("share"),
            "--kubernetes",
            &flag("identity.yaml"),
        ])
    };
    let first = run();
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let key = text(&path("share/agents/db-migrator/signing-key.pem"));
    let certificate = text(&path("share/agents/db-migrator/tls/cert.pem"));
    assert!(run().status.success());
    assert_eq!(
        text(&path("share/agents/db-migrator/signing-key.pem")),
        key,
        "keys stay"
    );
    assert_ne!(
        text(&path("share/agents/db-migrator/tls/cert.pem")),
        certificate,
        "certificates are made anew"
    );
    for secret in ["share/public/ca", "share/ca", "share/public/approvers"] {
        assert!(!path(secret).exists(), "{secret} is nobody's business");
    }
    let list: Value = serde_saphyr::from_str(&text(&path("identity.yaml"))).unwrap();
    let objects: BTreeMap<(String, String), &Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| {
            (
                (
                    string(&o["metadata"]["namespace"]),
                    string(&o["metadata"]["name"]),
                ),
                o,
            )
        })
        .collect();
    for manifest in &fleet().manifests {
        let documents = documents(&format!("kubernetes/{}.yaml", manifest.name));
        let deployment = of_kind(&documents, "Deployment").next().unwrap();
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap()
        {
            let name = match volume["name"].as_str().unwrap() {
                "tls" | "signing-key" => string(&volume["secret"]["secretName"]),
                "directory" => string(&volume["configMap"]["name"]),
                _ => continue,
            };
            assert!(
                objects.contains_key(&(manifest.namespace.clone(), name.clone())),
                "{name} of {}",
                manifest.name
            );
        }
        let tls = objects[&(manifest.namespace.clone(), format!("{}-tls", manifest.name))];
        assert_eq!(
            tls["stringData"]
                .as_object()
                .unwrap()
                .keys()
                .collect::<Vec<_>>(),
            ["ca.pem", "cert.pem", "key.pem"]
        );
    }
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path(name)).unwrap().permissions())
            & 0o777
    };
    assert_eq!(
        (
            mode("identity.yaml"),
            mode("share/agents/db-migrator/tls/key.pem")
        ),
        (0o600, 0o600)
    );
}
