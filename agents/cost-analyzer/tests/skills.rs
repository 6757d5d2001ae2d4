//! The skills on the recorded metrics of the example shop, with a performance-optimizer that is
//! scripted. Requests and answers in the README are run and compared; `UPDATE_README=1 cargo test`
//! writes the answers anew.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    reason = "a test's helpers may stop it, and the figures are exact"
)]

use std::{path::Path, sync::Arc};

use clap::Parser;
use cost_analyzer::{
    Cli,
    domain::idle::Confidence,
    metrics::Metrics,
    skills::{
        FindIdleResources, RecommendRightsizing, Tools,
        find_idle_resources::FindingKind,
        recommend_rightsizing::{Output, Verdict},
    },
};
use prometheus_client::registry::Registry;
use serde_json::json;
use shared::{
    Skill, SkillError,
    testing::{FakeAgent, readme::check_example},
};
use usage::Prices;

fn tools(flags: &[&str]) -> Tools {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/metrics");
    let cli = Cli::parse_from(
        ["test", "--metrics", folder.to_str().unwrap()]
            .iter()
            .chain(flags),
    );
    Tools {
        usage: cli.usage.source(),
        prices: Arc::new(Prices::default()),
        idle: cli.idle(),
        cut: cli.cut(),
        metrics: Metrics::register(&mut Registry::default()),
    }
}

/// A performance-optimizer that finds requests safe from `safe_from` cores on.
fn optimizer(safe_from: f64) -> FakeAgent {
    FakeAgent::default().namespace("shop").peer(
        "performance-optimizer",
        "assess_resize",
        move |question| {
            assert_eq!(
                question["window"],
                json!({"end": "2026-01-13T00:00:00Z", "days": 8.0, "step_seconds": 300})
            );
            let cores =
                usage::quantity::parse(question["requests"]["cpu"].as_str().unwrap()).unwrap();
            let (verdict, reasons) = if cores >= safe_from {
                ("safe", json!([]))
            } else {
                ("risky", json!(["too little"]))
            };
            Ok(json!({"verdict": verdict, "reasons": reasons, "prediction": {"ignored": true}}))
        },
    )
}

async fn rightsize(flags: &[&str], safe_from: f64) -> (Output, Vec<String>) {
    let (context, agent) = optimizer(safe_from).context();
    let input = serde_json::from_value(json!({"namespace": "shop"})).unwrap();
    (
        RecommendRightsizing(tools(flags))
            .run(&context, input)
            .await
            .unwrap(),
        agent.trail(),
    )
}

#[tokio::test]
async fn report_batch_and_the_leftovers_are_idle() {
    let (context, _) = FakeAgent::default().context();
    let input = serde_json::from_value(json!({"namespace": "shop"})).unwrap();
    let found = FindIdleResources(tools(&[]))
        .run(&context, input)
        .await
        .unwrap();
    let names: Vec<_> = found
        .findings
        .iter()
        .map(|f| (f.kind, f.resource.as_str()))
        .collect();
    let expected = [
        (FindingKind::UnusedService, "Service/legacy-web"),
        (FindingKind::IdleWorkload, "Deployment/report-batch"),
        (
            FindingKind::UnmountedVolume,
            "PersistentVolumeClaim/old-exports",
        ),
        (
            FindingKind::OversizedVolume,
            "PersistentVolumeClaim/uploads",
        ),
    ];
    assert_eq!(names, expected);
    let batch = &found.findings[1];
    // 0.5 cores and 1 GiB on demand: (0.5 * 0.031611 + 0.004237) * 730.
    assert_eq!(
        (batch.monthly_savings_usd, batch.confidence),
        (14.63, Confidence::High)
    );
    assert_eq!(batch.undo, "scale to 1 replicas");
    // 200 GiB; and 100 GiB less twice 9 GiB, at 0.04 a month and GiB.
    assert_eq!(
        (
            found.findings[2].monthly_savings_usd,
            found.findings[3].monthly_savings_usd
        ),
        (8.0, 3.28)
    );
    assert_eq!(found.findings[0].monthly_savings_usd, 18.25);
}

#[tokio::test]
async fn a_window_shorter_than_the_idle_days_is_rejected() {
    let (context, _) = FakeAgent::default().context();
    let input =
        serde_json::from_value(json!({"namespace": "shop", "window": {"days": 6.9}})).unwrap();
    let answer = FindIdleResources(tools(&[])).run(&context, input).await;
    assert!(matches!(answer, Err(SkillError::Rejected { field, .. }) if field == "window.days"));
    let (context, _) = FakeAgent::default().context();
    let input =
        serde_json::from_value(json!({"namespace": "shop", "window": {"days": 2.0}})).unwrap();
    assert!(
        FindIdleResources(tools(&["--idle-days", "2"]))
            .run(&context, input)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_safe_cut_is_recommended_and_priced() {
    let (answer, trail) = rightsize(&[], 0.0).await;
    let [web] = answer.recommendations.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (
            web.workload.as_str(),
            web.recommended.cpu.as_deref(),
            web.recommended.memory.as_deref()
        ),
        ("web", Some("500m"), Some("512Mi"))
    );
    // Two pods on demand and one on spot, half a core and half a GiB each:
    // (2 * (0.5 * 0.031611 + 0.5 * 0.004237) + 0.5 * 0.006655 + 0.5 * 0.000892) * 730 = 28.92, and a
    // step less for the pods that the release replaced.
    assert!(
        (web.monthly_savings_usd - 28.92).abs() < 0.05,
        "{}",
        web.monthly_savings_usd
    );
    assert_eq!(
        (web.cpu_reduction, web.memory_reduction, web.more_possible),
        (0.5, 0.5, true)
    );
    assert_eq!(answer.potential_savings_usd, web.monthly_savings_usd);
    let kept: Vec<_> = answer
        .kept
        .iter()
        .map(|k| (k.workload.as_str(), k.reason.as_str()))
        .collect();
    assert_eq!(
        kept,
        [
            ("report-batch", "idle: see find_idle_resources"),
            ("worker", "its use with 15 % room allows no cut of 30 %")
        ]
    );
    assert_eq!(
        trail,
        [
            "outcome usage.query shop/* ok",
            "call performance-optimizer/assess_resize"
        ]
    );
}

/// The question that performance-optimizer's own test answers.
#[tokio::test]
async fn the_question_is_the_one_that_the_performance_optimizer_knows() {
    let (context, _) = FakeAgent::default()
        .peer("performance-optimizer", "assess_resize", |question| {
            let known = json!({
                "namespace": "shop", "workload": "web", "kind": "Deployment", "container": "web",
                "requests": {"cpu": "500m", "memory": "512Mi"},
                "window": {"end": "2026-01-13T00:00:00Z", "days": 8.0, "step_seconds": 300}
            });
            assert_eq!(question, &known);
            Ok(json!({"verdict": "safe", "reasons": []}))
        })
        .context();
    let input = serde_json::from_value(json!({"namespace": "shop"})).unwrap();
    assert!(
        RecommendRightsizing(tools(&[]))
            .run(&context, input)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_risky_cut_is_halved_when_enough_is_left_of_it() {
    let (answer, trail) = rightsize(&["--min-reduction", "0.2"], 0.7).await;
    let web = &answer.recommendations[0];
    assert_eq!(web.recommended.cpu.as_deref(), Some("750m"));
    assert_eq!(
        web.checks.iter().map(|c| c.verdict).collect::<Vec<_>>(),
        [Verdict::Risky, Verdict::Safe]
    );
    assert_eq!(trail.len(), 3);
}

#[tokio::test]
async fn a_risky_cut_is_withheld_with_its_reasons() {
    let (answer, _) = rightsize(&[], 0.7).await;
    assert!(answer.recommendations.is_empty());
    assert_eq!(
        answer.withheld[0]
            .checks
            .iter()
            .map(|c| c.reasons.clone())
            .collect::<Vec<_>>(),
        [["too little"]]
    );
    assert_eq!(answer.potential_savings_usd, 0.0);
    let (answer, trail) = rightsize(&["--min-reduction", "0.2"], 0.9).await;
    assert_eq!((answer.withheld[0].checks.len(), trail.len()), (2, 3));
}

#[tokio::test]
async fn nothing_is_recommended_unchecked() {
    let (context, _) = FakeAgent::default()
        .peer("performance-optimizer", "assess_resize", |_| {
            Err(SkillError::unavailable(
                "performance-optimizer",
                "connection refused",
            ))
        })
        .context();
    let input = serde_json::from_value(json!({"namespace": "shop"})).unwrap();
    let answer = RecommendRightsizing(tools(&[])).run(&context, input).await;
    assert!(
        matches!(
            answer,
            Err(SkillError::Unavailable {
                dependency: "performance-optimizer",
                ..
            })
        ),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_number_of_checks_is_bounded() {
    let (context, _) = optimizer(0.0).context();
    let input = serde_json::from_value(json!({"namespace": "shop", "max_checks": 201})).unwrap();
    let answer = RecommendRightsizing(tools(&[])).run(&context, input).await;
    assert!(matches!(answer, Err(SkillError::Rejected { field, .. }) if field == "max_checks"));
}

#[tokio::test]
async fn the_readme_shows_real_answers() {
    let folder = env!("CARGO_MANIFEST_DIR");
    check_example(folder, FindIdleResources(tools(&[])), optimizer(0.0)).await;
    check_example(folder, RecommendRightsizing(tools(&[])), optimizer(0.0)).await;
}
