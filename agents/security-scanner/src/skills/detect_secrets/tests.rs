use serde_json::json;
use shared::testing::FakeAgent;

use super::*;
use crate::{clients::workspace::Workspace, domain::secrets::Fingerprints};

fn skill(tree: Workspace) -> DetectSecrets {
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    DetectSecrets {
        detector: Arc::new(Detector::new(Fingerprints::default())),
        tree: Arc::new(tree),
        metrics,
    }
}

async fn run(tree: Workspace, input: serde_json::Value) -> Result<DetectSecretsOutput, SkillError> {
    let (context, _) = FakeAgent::default().context();
    skill(tree)
        .run(&context, serde_json::from_value(input).unwrap())
        .await
}

fn token() -> String {
    ["gl", "pat-", "Zk3vQ9sLm2XwRt7YpB4n"].concat()
}

#[tokio::test]
async fn finds_a_token_in_inline_content_and_never_repeats_it() {
    let input = json!({"content": [{"name": "values.yaml", "content": format!("a: 1\nci:\n  token: {}\n", token())}, {"name": "clean.txt", "content": "hello"}]});
    let output = run(Workspace::default(), input).await.unwrap();
    let [finding] = output.findings.as_slice() else {
        panic!("one finding, not {:?}", output.findings)
    };
    assert_eq!(
        (
            finding.rule.as_str(),
            finding.file.as_str(),
            finding.line,
            finding.column
        ),
        ("gitlab-pat", "values.yaml", 3, 10)
    );
    assert_eq!(finding.preview, ["gl", "pat-****"].concat());
    assert_eq!((output.summary.critical, output.scanned.files), (1, 2));
    assert!(!serde_json::to_string(&output).unwrap().contains(&token()));
}

#[tokio::test]
async fn scans_folders_and_records_what_it_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("app")).unwrap();
    std::fs::write(folder.path().join("app/.env"), token()).unwrap();
    std::fs::write(folder.path().join("app/logo.png"), b"\x89PNG\0\0").unwrap();
    let (context, agent) = FakeAgent::default().context();
    let input = serde_json::from_value(json!({"paths": ["app"]})).unwrap();
    let output = skill(Workspace::open(folder.path()).unwrap())
        .run(&context, input)
        .await
        .unwrap();
    assert_eq!(
        output
            .findings
            .iter()
            .map(|f| f.file.as_str())
            .collect::<Vec<_>>(),
        ["app/.env"]
    );
    assert_eq!((output.scanned.files, output.skipped.binary), (1, 1));
    assert_eq!(agent.trail(), ["outcome workspace.list app ok"]);
}

#[tokio::test]
async fn the_baseline_holds_back_what_was_judged_and_names_what_is_stale() {
    let content = json!([{"name": "a", "content": token()}]);
    let first = run(Workspace::default(), json!({"content": content.clone()}))
        .await
        .unwrap();
    let stale = "0".repeat(32);
    let second = run(
        Workspace::default(),
        json!({"content": content, "baseline": [first.findings[0].fingerprint, stale]}),
    )
    .await
    .unwrap();
    assert_eq!(
        (
            second.findings.len(),
            second.suppressed,
            second.unused_baseline
        ),
        (0, 1, vec![stale])
    );
}

#[tokio::test]
async fn names_the_field_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = || Workspace::open(folder.path()).unwrap();
    for (input, field) in [
        (json!({}), "content"),
        (
            json!({"content": [{"name": "", "content": "x"}]}),
            "content[0].name",
        ),
        (
            json!({"content": [{"name": "a", "content": "x"}], "baseline": [token()]}),
            "baseline[0]",
        ),
        (json!({"paths": [".", "../x"]}), "paths[1]"),
        (json!({"paths": ["/etc/passwd"]}), "paths[0]"),
    ] {
        match run(workspace(), input).await {
            Err(error @ SkillError::Rejected { .. }) => {
                assert!(
                    error.to_string().starts_with(&format!("{field}: expected")),
                    "{error}"
                );
                assert!(!error.to_string().contains(&token()));
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn debug_output_of_the_input_hides_the_content() {
    let input: DetectSecretsInput =
        serde_json::from_value(json!({"content": [{"name": "a", "content": token()}]})).unwrap();
    assert!(!format!("{input:?}").contains(&token()));
}
