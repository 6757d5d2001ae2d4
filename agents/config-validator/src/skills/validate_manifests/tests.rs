//! The skill on the example's releases and on hostile input, with a scanner that answers as the real one does.

use std::{fmt::Write as _, path::Path};

use serde_json::{Value, json};
use shared::testing::FakeAgent;

use super::*;
use crate::domain::finding::Severity;

const RELEASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/releases");

fn skill() -> ValidateManifests {
    let workspace = Workspace::open(Path::new(RELEASES)).unwrap();
    ValidateManifests {
        schema: Arc::new(LazySchema::default()),
        workspace: Some(Arc::new(workspace)),
        metrics: Metrics::default(),
    }
}

/// security-scanner, reduced to one rule: it finds what begins like a GitLab token.
fn scanner(input: &Value) -> Value {
    let contents = input["content"].as_array().unwrap();
    let mut findings = Vec::new();
    for content in contents {
        for (i, line) in content["content"].as_str().unwrap().lines().enumerate() {
            if let Some(column) = line.find("glpat-") {
                findings.push(json!({
                    "rule": "gitlab-pat", "title": "GitLab personal access token", "severity": "critical", "confidence": "high",
                    "file": content["name"], "line": i + 1, "column": column + 1, "fingerprint": "f", "preview": "glpat-****",
                    "remediation": "revoke the token",
                }));
            }
        }
    }
    json!({"findings": findings, "scanned": {"files": contents.len(), "bytes": 0}, "truncated": false})
}

async fn run(input: Value) -> Result<Output, SkillError> {
    let (context, _) = FakeAgent::default()
        .peer("security-scanner", "detect_secrets", |input| {
            Ok(scanner(input))
        })
        .context();
    skill()
        .run(&context, serde_json::from_value(input).unwrap())
        .await
}

async fn inline(yaml: &str) -> Output {
    run(json!({"files": [{"path": "f.yaml", "content": yaml}]}))
        .await
        .unwrap()
}

/// Rule, severity, line and column of all findings.
fn short(output: &Output) -> Vec<(&str, Severity, usize, usize)> {
    output
        .findings
        .iter()
        .map(|f| (f.rule.as_str(), f.severity, f.line, f.column))
        .collect()
}

#[tokio::test]
async fn good_releases_are_accepted_even_at_the_restricted_level() {
    for release in ["1.0.0", "1.1.0"] {
        let output =
            run(json!({"paths": [format!("{release}/manifests")], "pod_security": "restricted"}))
                .await
                .unwrap();
        assert_eq!(
            (output.verdict, output.findings.as_slice()),
            (Verdict::Accepted, [].as_slice()),
            "{release}"
        );
        assert_eq!(
            (output.files, output.objects, output.kubernetes.as_str()),
            (6, 7, "v1.37.2")
        );
    }
}

#[tokio::test]
async fn the_candidate_is_refused_for_each_of_its_faults() {
    let output = run(json!({"paths": ["1.0.0-rc.1/manifests"]}))
        .await
        .unwrap();
    assert_eq!(output.verdict, Verdict::Refused);
    let errors: Vec<_> = output
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| (f.rule.as_str(), f.pointer.as_str()))
        .collect();
    let container = "/spec/template/spec/containers/0";
    assert_eq!(
        errors,
        [
            ("schema-wrong-type", "/data/CHECKOUT_ENABLED"),
            ("secret-detected", ""),
            (
                "schema-unknown-field",
                format!("{container}/readynessProbe").as_str()
            ),
            (
                "pod-security-privileged",
                format!("{container}/securityContext/privileged").as_str()
            ),
            ("rbac-wildcard", "/rules/0/apiGroups/0"),
            ("rbac-wildcard", "/rules/0/resources/0"),
            ("rbac-wildcard", "/rules/0/verbs/0"),
        ]
    );
    assert_eq!(output.counts.error, 7);
    let field = output
        .findings
        .iter()
        .find(|f| f.rule == "schema-unknown-field")
        .unwrap();
    assert_eq!(
        field.message,
        "unknown field `readynessProbe`; did you mean `readinessProbe`?"
    );
    assert!(
        !serde_json::to_string(&output)
            .unwrap()
            .contains("Zk7tQx2mVb9RwLs4Yd6N"),
        "the secret is not repeated"
    );
}

#[tokio::test]
async fn without_the_scanner_nothing_is_accepted() {
    for (name, agent) in [
        ("refused", FakeAgent::default()),
        (
            "down",
            FakeAgent::default().peer("security-scanner", "detect_secrets", |_| {
                Err(SkillError::unavailable(
                    "security-scanner",
                    "connection refused",
                ))
            }),
        ),
        (
            "broken",
            FakeAgent::default().peer("security-scanner", "detect_secrets", |_| {
                Ok(json!({"unexpected": true}))
            }),
        ),
        (
            "partial",
            FakeAgent::default().peer("security-scanner", "detect_secrets", |_| {
                Ok(json!({"findings": [], "scanned": {"files": 0}}))
            }),
        ),
        (
            "rejecting",
            FakeAgent::default().peer("security-scanner", "detect_secrets", |_| {
                Err(SkillError::rejected("content", "less", "more"))
            }),
        ),
    ] {
        let (context, agent) = agent.context();
        let input = serde_json::from_value(json!({"paths": ["1.0.0/manifests"]})).unwrap();
        let error = skill().run(&context, input).await.unwrap_err();
        assert_eq!(
            error.kind(),
            if name == "refused" {
                "denied"
            } else {
                "unavailable"
            },
            "{name}: {error}"
        );
        assert!(
            agent
                .trail()
                .contains(&"call security-scanner/detect_secrets".to_owned())
        );
    }
}

#[tokio::test]
async fn findings_know_their_place() {
    let yaml = "apiVersion: v1\nkind: Service\nmetadata:\n  name: Web\n  labels: {a: b, a: c}\nspec:\n  ports:\n  - port: 70000\n    targetPort: yes\n    protocol: tcp\n  selector: {app: web}\n";
    let output = inline(yaml).await;
    assert_eq!(
        short(&output),
        [
            ("name-invalid", Severity::Error, 4, 9),
            ("yaml-duplicate-field", Severity::Error, 5, 18),
            ("port-invalid", Severity::Error, 8, 11),
            ("schema-wrong-type", Severity::Error, 9, 17),
            ("schema-unknown-value", Severity::Error, 10, 15),
            ("selects-nothing", Severity::Warning, 11, 13),
        ]
    );
    let value = &output.findings[4];
    assert_eq!(
        (
            value.pointer.as_str(),
            value.expected.as_deref(),
            value.got.as_deref()
        ),
        (
            "/spec/ports/0/protocol",
            Some("one of SCTP, TCP, UDP"),
            Some("string \"tcp\"")
        )
    );
}

#[tokio::test]
async fn removed_unknown_and_misspelt_kinds_are_told_apart() {
    let object =
        |api: &str, kind: &str| format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\n");
    for (api, kind, rule, severity, words) in [
        (
            "policy/v1beta1",
            "PodDisruptionBudget",
            "schema-removed-api",
            Severity::Error,
            "deprecated since 1.21, removed in 1.25",
        ),
        (
            "extensions/v1beta1",
            "Ingress",
            "schema-removed-api",
            Severity::Error,
            "removed in 1.22",
        ),
        (
            "apps/v1",
            "Deploymnet",
            "schema-unknown-kind",
            Severity::Error,
            "did you mean apps/v1 Deployment?",
        ),
        (
            "v1",
            "Deployment",
            "schema-unknown-kind",
            Severity::Error,
            "did you mean apps/v1 Deployment?",
        ),
        (
            "cert-manager.io/v1",
            "Certificate",
            "schema-unknown-kind",
            Severity::Warning,
            "without its CustomResourceDefinition",
        ),
    ] {
        let output = inline(&object(api, kind)).await;
        let found = &output.findings[0];
        assert_eq!(
            (found.rule.as_str(), found.severity),
            (rule, severity),
            "{api} {kind}"
        );
        assert!(found.message.contains(words), "{}", found.message);
    }
    assert_eq!(inline("a: 1\n").await.findings[0].rule, "schema-no-kind");
    let nameless = inline("apiVersion: v1\nkind: ConfigMap\n---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n").await;
    assert_eq!(
        short(&nameless),
        [
            ("name-missing", Severity::Error, 1, 1),
            ("schema-unknown-kind", Severity::Warning, 5, 7)
        ]
    );
}

#[tokio::test]
async fn references_between_the_manifests_are_advice() {
    let yaml = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: wrong}}\n    spec:\n      serviceAccountName: nobody\n      automountServiceAccountToken: false\n      containers:\n      - name: web\n        image: web:1\n        resources: {requests: {cpu: \"2\", memory: 1Gi}, limits: {cpu: 500m, memory: 1Gi}}\n        envFrom: [{configMapRef: {name: none}}, {secretRef: {name: none, optional: true}}]\n        volumeMounts: [{name: data, mountPath: /data}]\n        readinessProbe: {httpGet: {path: /, port: http}}\n        ports: [{name: web, containerPort: 80}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: wrong}, ports: [{port: 80, targetPort: http}]}\n";
    let output = inline(yaml).await;
    let found: Vec<_> = output
        .findings
        .iter()
        .filter(|f| !f.rule.starts_with("pod-security"))
        .map(|f| (f.rule.as_str(), f.severity, f.pointer.as_str()))
        .collect();
    let container = "/spec/template/spec/containers/0";
    assert_eq!(
        found,
        [
            ("selector-mismatch", Severity::Error, "/spec/selector"),
            (
                "reference-missing",
                Severity::Warning,
                "/spec/template/spec/serviceAccountName"
            ),
            (
                "request-over-limit",
                Severity::Error,
                format!("{container}/resources/requests/cpu").as_str()
            ),
            (
                "reference-missing",
                Severity::Warning,
                format!("{container}/envFrom/0/configMapRef/name").as_str()
            ),
            (
                "volume-missing",
                Severity::Error,
                format!("{container}/volumeMounts/0/name").as_str()
            ),
            (
                "probe-port-missing",
                Severity::Error,
                format!("{container}/readinessProbe/httpGet/port").as_str()
            ),
            (
                "target-port-missing",
                Severity::Warning,
                "/spec/ports/0/targetPort"
            ),
        ]
    );
}

#[tokio::test]
async fn values_where_people_keep_secrets_are_never_shown() {
    let yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\nstringData: {pin: 31337, word: [hunter2]}\ndata: {key: \"not base64: hunter2\"}\n";
    let output = inline(yaml).await;
    assert_eq!(output.counts.error, 3);
    let text = serde_json::to_string(&output).unwrap();
    assert!(
        !text.contains("31337") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn hostile_input_is_refused_with_its_field() {
    let mut laughs = String::from("a0: &a0 [lol]\n");
    for i in 1..=10 {
        writeln!(
            laughs,
            "a{i}: &a{i} [{}]",
            format!("*a{}, ", i - 1).repeat(10)
        )
        .unwrap();
    }
    let file = |content: String| json!({"files": [{"path": "f.yaml", "content": content}]});
    for (name, input, field) in [
        ("nothing", json!({}), "files"),
        ("billion laughs", file(laughs), "files[0].content"),
        ("deep", file("[".repeat(500)), "files[0].content"),
        (
            "large",
            file("a".repeat(1024 * 1024 + 1)),
            "files[0].content",
        ),
        (
            "no name",
            json!({"files": [{"path": "", "content": ""}]}),
            "files[0].path",
        ),
        (
            "same name",
            json!({"files": [{"path": "a", "content": ""}, {"path": "a", "content": ""}]}),
            "files[1].path",
        ),
        (
            "too many",
            json!({"files": (0..501).map(|i| json!({"path": i.to_string(), "content": ""})).collect::<Vec<_>>()}),
            "files",
        ),
        (
            "escape",
            json!({"paths": ["1.0.0", "../../../Cargo.toml"]}),
            "paths[1]",
        ),
        ("absolute", json!({"paths": ["/etc/passwd"]}), "paths[0]"),
        ("missing", json!({"paths": ["9.9.9"]}), "paths[0]"),
        ("no text", json!({"paths": ["a\u{0}b"]}), "paths[0]"),
    ] {
        let error = run(input).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field: f, .. } if f == field),
            "{name}: {error}"
        );
    }
    let broken = inline("a: [1\nb: 2\n").await;
    assert_eq!(
        (broken.verdict, broken.findings[0].rule.as_str()),
        (Verdict::Refused, "yaml-syntax")
    );
}

#[tokio::test]
async fn the_findings_are_bounded_and_the_counts_are_not() {
    let mut yaml =
        String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata:\n");
    for i in 0..1500 {
        writeln!(yaml, "  k{i}: {i}").unwrap();
    }
    let output = inline(&yaml).await;
    assert_eq!(
        (
            output.counts.error,
            output.findings.len(),
            output.findings_left_out
        ),
        (1500, 1000, true)
    );
}
