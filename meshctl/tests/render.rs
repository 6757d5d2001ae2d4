//! `meshctl render`: what lies in `deploy/` says what the manifests say, and nothing more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use common::{documents, fleet, meshctl, of_kind, root, string, text};
use manifest::Caller;
use serde_json::Value;

#[test]
fn what_lies_in_deploy_is_up_to_date() {
    let output = meshctl(&["render", "--check"]);
    assert!(
        output.status.success(),
        "run `meshctl render`:\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn check_lists_stale_missing_and_left_over_files_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    assert!(meshctl(&["render", "--out", &out]).status.success());
    assert!(
        meshctl(&["render", "--out", &out, "--check"])
            .status
            .success()
    );
    fs::write(folder.path().join("istio/db-migrator.yaml"), "spec: {}\n").unwrap();
    fs::remove_file(folder.path().join("grafana/db-migrator.json")).unwrap();
    fs::write(folder.path().join("kubernetes/old.yaml"), "").unwrap();
    let check = meshctl(&["render", "--out", &out, "--check"]);
    assert_eq!(check.status.code(), Some(1));
    let lines: BTreeSet<String> = String::from_utf8(check.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let expected = [
        ("left over", "kubernetes/old.yaml"),
        ("missing", "grafana/db-migrator.json"),
        ("stale", "istio/db-migrator.yaml"),
    ];
    assert_eq!(
        lines,
        expected
            .map(|(why, file)| format!("{why}: {out}/{file}"))
            .into()
    );
    assert_eq!(
        text(&folder.path().join("istio/db-migrator.yaml")),
        "spec: {}\n"
    );
}

#[test]
fn a_target_more_in_the_mesh_is_a_role_more_and_an_edge_less_a_policy_less() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    for entry in fs::read_dir(root().join("manifests")).unwrap() {
        let path = entry.unwrap().path();
        let changed = text(&path)
            .replace(
                "rollback-coordinator: [shop]",
                "rollback-coordinator: [shop, cart]",
            )
            .replace(
                "    - {type: a2a, name: security-scanner, config: {skills: [detect_secrets]}}\n",
                "",
            )
            .replace(
                "starts_after: [compliance-auditor, security-scanner]",
                "starts_after: [compliance-auditor]",
            );
        fs::write(manifests.join(path.file_name().unwrap()), changed).unwrap();
    }
    let out = folder.path().join("deploy");
    let rendered = meshctl(&[
        "render",
        "--manifests",
        &manifests.display().to_string(),
        "--out",
        &out.display().to_string(),
    ]);
    assert!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let read =
        |file: &str| -> Vec<Value> { serde_saphyr::from_multiple(&text(&out.join(file))).unwrap() };
    let roles = read("kubernetes/rollback-coordinator.yaml");
    let namespaces: Vec<String> = of_kind(&roles, "Role")
        .map(|role| string(&role["metadata"]["namespace"]))
        .collect();
    assert_eq!(namespaces, ["shop", "cart"]);
    let policies = |documents: &[Value]| {
        of_kind(documents, "AuthorizationPolicy")
            .map(|policy| string(&policy["metadata"]["name"]))
            .collect::<BTreeSet<_>>()
    };
    let (before, after) = (
        policies(&documents("istio/security-scanner.yaml")),
        policies(&read("istio/security-scanner.yaml")),
    );
    let gone: Vec<&str> = before.difference(&after).map(String::as_str).collect();
    assert_eq!(
        (gone, after.is_subset(&before)),
        (vec!["security-scanner-from-config-validator"], true)
    );
}

#[test]
fn istio_allows_exactly_the_declared_edges_by_service_account() {
    let fleet = fleet();
    let mut expected = BTreeSet::new();
    let mut found = BTreeSet::new();
    for callee in &fleet.manifests {
        for (caller, _) in fleet.edges().callers(&callee.name) {
            if let Caller::Agent(name) = caller {
                let account = format!("{}/{name}", fleet.manifest(name).unwrap().namespace);
                expected.insert((account, callee.name.clone(), "8080".to_owned()));
            }
        }
        expected.insert((
            "monitoring/prometheus".to_owned(),
            callee.name.clone(),
            "9090".to_owned(),
        ));
        for policy in of_kind(
            &documents(&format!("istio/{}.yaml", callee.name)),
            "AuthorizationPolicy",
        ) {
            let spec = &policy["spec"];
            assert_eq!(
                (&policy["metadata"]["namespace"], &spec["action"]),
                (&callee.namespace.as_str().into(), &"ALLOW".into())
            );
            let [rule] = spec["rules"].as_array().unwrap().as_slice() else {
                panic!("one rule: {policy}")
            };
            let source = rule["from"][0]["source"].as_object().unwrap();
            assert_eq!(
                source.keys().collect::<Vec<_>>(),
                ["serviceAccounts"],
                "accounts only: {policy}"
            );
            assert_eq!(
                rule["to"][0]["operation"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .collect::<Vec<_>>(),
                ["ports"],
                "L4 only: {policy}"
            );
            let selected = string(&spec["selector"]["matchLabels"]["app.kubernetes.io/name"]);
            found.insert((
                string(&source["serviceAccounts"][0]),
                selected,
                string(&rule["to"][0]["operation"]["ports"][0]),
            ));
        }
    }
    assert_eq!(found, expected);
    assert!(found.iter().all(|(account, _, _)| !account.contains('*')));
}

#[test]
fn every_namespace_is_strict_restricted_and_closed() {
    let fleet = fleet();
    let (istio, kubernetes) = (
        documents("istio/namespaces.yaml"),
        documents("kubernetes/namespaces.yaml"),
    );
    let expected: BTreeSet<String> = fleet
        .manifests
        .iter()
        .map(|manifest| manifest.namespace.clone())
        .collect();
    let found = |documents: &[Value], kind, field: &str, spec: Value| -> BTreeSet<String> {
        let matching = of_kind(documents, kind).filter(|object| object["spec"] == spec);
        matching
            .map(|object| string(&object["metadata"][field]))
            .collect()
    };
    assert_eq!(
        found(
            &istio,
            "PeerAuthentication",
            "namespace",
            serde_json::json!({"mtls": {"mode": "STRICT"}})
        ),
        expected
    );
    assert_eq!(
        found(
            &istio,
            "AuthorizationPolicy",
            "namespace",
            serde_json::json!({})
        ),
        expected
    );
    let closed = serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    assert_eq!(
        found(&kubernetes, "NetworkPolicy", "namespace", closed),
        expected
    );
    let restricted = of_kind(&kubernetes, "Namespace")
        .filter(|n| n["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted");
    assert_eq!(
        restricted
            .map(|n| string(&n["metadata"]["name"]))
            .collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn roles_hold_the_manifests_rules_in_target_namespaces_only() {
    let fleet = fleet();
    for manifest in &fleet.manifests {
        let documents = documents(&format!("kubernetes/{}.yaml", manifest.name));
        let in_scope = |scope| -> Vec<Value> {
            let rules = manifest
                .kubernetes_rules()
                .iter()
                .filter(|rule| rule.scope == scope);
            rules.map(|rule| serde_json::json!({"apiGroups": rule.api_groups, "resources": rule.resources, "verbs": rule.verbs})).collect()
        };
        let (namespaced, cluster) = (
            in_scope(manifest::KubernetesScope::Namespace),
            in_scope(manifest::KubernetesScope::Cluster),
        );
        let roles: BTreeMap<String, &Value> = of_kind(&documents, "Role")
            .map(|role| (string(&role["metadata"]["namespace"]), &role["rules"]))
            .collect();
        let targets: BTreeSet<&String> = fleet
            .mesh
            .targets(&manifest.name)
            .iter()
            .filter(|_| !namespaced.is_empty())
            .collect();
        assert_eq!(
            roles.keys().collect::<BTreeSet<_>>(),
            targets,
            "{}",
            manifest.name
        );
        assert!(
            roles
                .values()
                .all(|found| **found == Value::from(namespaced.clone())),
            "{}",
            manifest.name
        );
        let cluster_roles: Vec<Value> = of_kind(&documents, "ClusterRole")
            .map(|role| role["rules"].clone())
            .collect();
        let expected: Vec<Value> = Some(cluster)
            .filter(|rules| !rules.is_empty())
            .map(Value::from)
            .into_iter()
            .collect();
        assert_eq!(cluster_roles, expected, "{}", manifest.name);
        for document in documents
            .iter()
            .filter(|d| string(&d["kind"]).ends_with("Binding"))
        {
            let subject = serde_json::json!([{"kind": "ServiceAccount", "name": manifest.name, "namespace": manifest.namespace}]);
            assert_eq!(document["subjects"], subject);
        }
    }
}

#[test]
fn network_policies_open_the_edges_in_both_directions() {
    let fleet = fleet();
    let agents = |peers: &Value| -> BTreeSet<String> {
        let names = peers.as_array().unwrap().iter().filter_map(|peer| {
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"].as_str()
        });
        names.map(str::to_owned).collect()
    };
    for manifest in &fleet.manifests {
        let documents = documents(&format!("kubernetes/{}.yaml", manifest.name));
        let policy = of_kind(&documents, "NetworkPolicy").next().unwrap();
        let open = |direction: &str, peers: &str| -> BTreeSet<String> {
            let rules = policy["spec"][direction]
                .as_array()
                .unwrap()
                .iter()
                .filter(|rule| rule["ports"][0]["port"] == 8080);
            rules.flat_map(|rule| agents(&rule[peers])).collect()
        };
        let callers = fleet
            .edges()
            .callers(&manifest.name)
            .filter(|(caller, _)| matches!(caller, Caller::Agent(_)));
        assert_eq!(
            open("ingress", "from"),
            callers
                .map(|(caller, _)| caller.name().to_owned())
                .collect(),
            "{}",
            manifest.name
        );
        let own = Caller::agent(&manifest.name);
        assert_eq!(
            open("egress", "to"),
            fleet
                .edges()
                .callees(&own)
                .map(|(name, _)| name.to_owned())
                .collect(),
            "{}",
            manifest.name
        );
    }
}
