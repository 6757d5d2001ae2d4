//! `meshctl init` against the Deployments that mount what it makes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{documents, fleet, meshctl, of_kind, string, text};
use serde_json::Value;

/// Runs `init` into a folder: its state, what it shares, and its Kubernetes file.
fn init(folder: &Path) -> [PathBuf; 3] {
    let paths = ["state", "share", "identity.yaml"].map(|name| folder.join(name));
    let [state, share, file] = paths.each_ref().map(|path| path.display().to_string());
    let flags = ["--state", &state, "--share", &share, "--kubernetes", &file];
    let output = meshctl(&[&["init"][..], &flags].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    paths
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_second_run_keeps_keys_and_renews_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let [_, share, _] = init(folder.path());
    let agent = share.join("agents/db-migrator");
    let read = || {
        (
            text(&agent.join("signing-key.pem")),
            text(&agent.join("tls/cert.pem")),
        )
    };
    let (key, certificate) = read();
    init(folder.path());
    let (same, renewed) = read();
    assert_eq!(key, same);
    assert_ne!(certificate, renewed);
}

#[test]
fn what_is_shared_holds_no_key_but_each_agents_own() {
    let folder = tempfile::tempdir().unwrap();
    let [state, share, file] = init(folder.path());
    for name in [
        "ca/ca-key.pem",
        "approvers/local-approver.pem",
        "callers/operator/key.pem",
    ] {
        assert!(state.join(name).exists(), "{name}");
    }
    let mut shared: Vec<_> = fs::read_dir(&share)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    shared.sort();
    assert_eq!(shared, ["agents", "public"]);
    let mut public: Vec<_> = fs::read_dir(share.join("public"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    public.sort();
    assert_eq!(public, ["directory.json", "manifests"]);
    assert_eq!(
        (
            mode(&file),
            mode(&share.join("agents/db-migrator/tls/key.pem"))
        ),
        (0o600, 0o600)
    );
}

#[test]
fn every_secret_that_the_deployments_mount_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let [_, _, file] = init(folder.path());
    let list: Value = serde_saphyr::from_str(&text(&file)).unwrap();
    let place = |object: &Value| {
        (
            string(&object["metadata"]["namespace"]),
            string(&object["metadata"]["name"]),
        )
    };
    let objects: BTreeMap<(String, String), &Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (place(object), object))
        .collect();
    for manifest in &fleet().manifests {
        let documents = documents(&format!("kubernetes/{}.yaml", manifest.name));
        let deployment = of_kind(&documents, "Deployment").next().unwrap();
        let mut mounted = 0;
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap()
        {
            let name = match volume["name"].as_str().unwrap() {
                "tls" | "signing-key" => string(&volume["secret"]["secretName"]),
                "directory" => string(&volume["configMap"]["name"]),
                _ => continue,
            };
            mounted += 1;
            assert!(
                objects.contains_key(&(manifest.namespace.clone(), name.clone())),
                "{name} of {}",
                manifest.name
            );
        }
        assert_eq!(mounted, 3, "{}", manifest.name);
        let tls = objects[&(manifest.namespace.clone(), format!("{}-tls", manifest.name))];
        let keys: Vec<&String> = tls["stringData"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ca.pem", "cert.pem", "key.pem"]);
    }
}
