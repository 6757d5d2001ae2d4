//! The skill with the real engine on the example's policies and releases, and on policies that misbehave.

use std::{path::Path, time::Duration};

use serde_json::json;
use shared::testing::FakeAgent;

use super::*;
use crate::clients::rego::Regorus;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop");

async fn run(input: Value) -> Result<Output, SkillError> {
    let open = |folder: &str| {
        Some(Arc::new(
            Workspace::open(&Path::new(SHOP).join(folder)).unwrap(),
        ))
    };
    let engine = Arc::new(Regorus::new(
        Duration::from_millis(500),
        4 * 1024 * 1024 * 1024,
    ));
    let skill = EvaluatePolicies {
        engine,
        workspace: open("releases"),
        policies: open("policies"),
        metrics: Metrics::default(),
    };
    let (context, _) = FakeAgent::default().context();
    skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await
}

const POD: &str = "# a comment\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\n";

fn with_policy(policy: &str) -> Value {
    json!({"files": [{"path": "f.yaml", "content": POD}], "policies": [{"path": "p.rego", "content": policy}]})
}

#[tokio::test]
async fn the_shops_policies_accept_the_good_releases() {
    for release in ["1.0.0", "1.1.0"] {
        let output = run(json!({"paths": [format!("{release}/manifests")]}))
            .await
            .unwrap();
        assert_eq!(
            (output.verdict, output.denied, output.warned),
            (Verdict::Accepted, 0, 0),
            "{:?}",
            output.results
        );
        assert_eq!((output.rules, output.objects), (5, 7));
        assert_eq!((output.errors, output.caveats), (vec![], vec![]));
    }
}

#[tokio::test]
async fn the_shops_policies_refuse_the_candidate() {
    let output = run(json!({"paths": ["1.0.0-rc.1/manifests"]}))
        .await
        .unwrap();
    assert_eq!(output.verdict, Verdict::Refused);
    let mut denied: Vec<_> = output
        .results
        .iter()
        .map(|r| (r.policy.as_str(), r.object.as_str(), r.line))
        .collect();
    denied.sort_unstable();
    assert_eq!(
        denied,
        [
            ("access.rego", "Role shop/web", 1),
            ("access.rego", "Role shop/web", 1),
            ("access.rego", "Role shop/web", 1),
            ("availability.rego", "Deployment shop/web", 1),
            ("images.rego", "Deployment shop/web", 1),
        ]
    );
}

#[tokio::test]
async fn results_name_policy_rule_file_document_and_line() {
    let output = run(with_policy(
        "package main\nwarn_kind contains msg if { input.kind == \"Service\"; msg := \"seen\" }",
    ))
    .await
    .unwrap();
    let expected = PolicyResult {
        policy: "p.rego".into(),
        package: "main".into(),
        rule: "warn_kind".into(),
        level: Level::Warn,
        message: "seen".into(),
        file: "f.yaml".into(),
        document: 1,
        line: 6,
        object: "Service c".into(),
    };
    assert_eq!(
        (output.verdict, output.results),
        (Verdict::Accepted, vec![expected])
    );
}

#[tokio::test]
async fn gatekeeper_templates_get_a_review_and_parameters() {
    let policy = "package k8srequiredname\nviolation[{\"msg\": msg}] { input.review.kind.kind == input.parameters.kind; msg := input.review.object.metadata.name }";
    let mut input = with_policy(policy);
    input["parameters"] = json!({"kind": "Pod"});
    let output = run(input).await.unwrap();
    assert_eq!(
        (
            output.denied,
            output.results[0].message.as_str(),
            output.results[0].level
        ),
        (1, "a", Level::Violation)
    );
}

#[tokio::test]
async fn a_rule_that_fails_does_not_pass() {
    let output = run(with_policy("package main\nx := 1 if input.kind == \"Pod\"\nx := 2 if input.metadata.name == \"a\"\ndeny contains \"never\" if x == 3")).await.unwrap();
    assert_eq!(
        (output.verdict, output.denied, output.errors.len()),
        (Verdict::Refused, 0, 1)
    );
    assert_eq!(
        (output.errors[0].rule.as_str(), output.errors[0].line),
        ("main.deny", 2)
    );
}

#[tokio::test]
async fn misbehaving_policies_are_refused_with_their_field() {
    for (name, policy, field, words) in [
        (
            "syntax",
            "package main\ndeny contains",
            "policies[0]",
            "p.rego does not compile",
        ),
        (
            "no rule",
            "package main\nallow := true",
            "policies",
            "none in these policies",
        ),
        (
            "recursion",
            "package main\nf(x) := f(x)\ndeny contains f(1)",
            "policies[0]",
            "forbids recursion",
        ),
        (
            "nesting",
            &format!("package main\ndeny contains {}", "[".repeat(5000)),
            "policies[0]",
            "nested deeper than 64",
        ),
        (
            "endless",
            "package main\nr := numbers.range(1, 500)\ndeny contains \"x\" if { r[_] + r[_] + r[_] + r[_] < 0 }",
            "policies",
            "ran longer than 500 ms",
        ),
    ] {
        let error = run(with_policy(policy)).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field: f, .. } if f == field),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn hostile_files_and_paths_are_refused_with_their_field() {
    let policy =
        json!([{"path": "p.rego", "content": "package main\ndeny contains \"x\" if false"}]);
    for (name, input, field) in [
        ("no files", json!({"policies": policy}), "files"),
        (
            "escape",
            json!({"files": [{"path": "a", "content": "a: 1"}], "policy_paths": ["../releases"]}),
            "policy_paths[0]",
        ),
        (
            "not yaml",
            json!({"files": [{"path": "a", "content": "a: ["}], "policies": policy}),
            "files[0].content",
        ),
        (
            "deep",
            json!({"files": [{"path": "a", "content": "[".repeat(500)}], "policies": policy}),
            "files[0].content",
        ),
    ] {
        let error = run(input).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field: f, .. } if f == field),
            "{name}: {error}"
        );
    }
}
