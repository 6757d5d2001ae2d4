//! The skills on the recorded metrics of the example shop. Requests and answers in the README are
//! run and compared; `UPDATE_README=1 cargo test` writes the answers anew.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may stop it, and the figures are exact"
)]

use std::{path::Path, sync::Arc};

use clap::Parser;
use performance_optimizer::{
    Cli,
    domain::{resize::Verdict, utilization::Saturation},
    metrics::Metrics,
    skills::{AnalyzeUtilization, AssessResize, RecommendHpa, RecommendVpa, Tools},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shared::{
    Skill, SkillError,
    testing::{FakeAgent, readme::check_example},
};
use usage::Prices;

fn tools() -> Tools {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/metrics");
    let cli = Cli::parse_from(["test", "--metrics", folder.to_str().unwrap()]);
    Tools {
        usage: cli.usage.source(),
        prices: Arc::new(Prices::default()),
        metrics: Metrics::register(&mut Registry::default()),
    }
}

async fn ask<S: Skill>(skill: S, input: Value) -> Result<S::Output, SkillError> {
    let (context, agent) = FakeAgent::default().namespace("shop").context();
    let answer = skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await;
    assert!(
        agent
            .trail()
            .iter()
            .all(|line| line.starts_with("outcome usage.query shop/")),
        "{:?}",
        agent.trail()
    );
    answer
}

async fn run<S: Skill>(skill: S, input: Value) -> S::Output {
    ask(skill, input).await.unwrap()
}

async fn rejected<S: Skill>(skill: S, input: Value) -> String {
    match ask(skill, input).await.map(|_| ()) {
        Err(SkillError::Rejected { field, .. }) => field,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn web_is_over_provisioned_and_worker_is_not() {
    let answer = run(AnalyzeUtilization(tools()), json!({"namespace": "shop"})).await;
    let found: Vec<_> = answer
        .workloads
        .iter()
        .map(|w| {
            (
                w.name.as_str(),
                w.replicas.max,
                w.containers[0].usage.saturation,
            )
        })
        .collect();
    let expected = [
        ("report-batch", 1.0, Saturation::OverProvisioned),
        ("web", 3.0, Saturation::OverProvisioned),
        ("worker", 2.0, Saturation::Balanced),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn vpa_cuts_web_and_leaves_worker_inside_its_bounds() {
    let answer = run(RecommendVpa(tools()), json!({"namespace": "shop"})).await;
    let [_, web, worker] = answer.recommendations.as_slice() else {
        panic!("{answer:?}")
    };
    let cores = |text: &Option<String>| usage::quantity::parse(text.as_ref().unwrap()).unwrap();
    // web never uses more than 0.25 cores: the target must lie between its p90 and that, plus bucket and margin.
    assert!((0.15..=0.30).contains(&cores(&web.target.cpu)), "{web:?}");
    assert!(
        web.update_needed && web.estimated_monthly_savings_usd > 30.0,
        "{web:?}"
    );
    assert!(
        cores(&worker.lower_bound.cpu) <= 0.5 && cores(&worker.upper_bound.cpu) >= 0.5,
        "{worker:?}"
    );
    // Its limit is twice its request, and stays so (each is rounded up to a millicore).
    let doubled = cores(&worker.proportional_limits.cpu) - 2.0 * cores(&worker.target.cpu);
    assert!(doubled.abs() < 0.0021, "{worker:?}");
}

#[tokio::test]
async fn hpa_saves_replicas_of_web_without_running_short() {
    let answer = run(
        RecommendHpa(tools()),
        json!({"namespace": "shop", "workload": "web"}),
    )
    .await;
    let (recorded, replayed) = (answer.recorded.unwrap(), answer.replayed.unwrap());
    assert_eq!(
        (
            recorded.under_provisioned_seconds,
            replayed.under_provisioned_seconds
        ),
        (0, 0)
    );
    assert!(
        replayed.replica_hours < recorded.replica_hours * 0.7,
        "{replayed:?} {recorded:?}"
    );
    assert!(
        answer
            .recommendation
            .unwrap()
            .note
            .unwrap()
            .starts_with("2 replicas always suffice")
    );
}

#[tokio::test]
async fn hpa_is_planned_with_the_requests_that_vpa_would_set() {
    let answer = run(
        RecommendHpa(tools()),
        json!({"namespace": "shop", "workload": "web", "cpu_request": "250m"}),
    )
    .await;
    let (advice, replayed) = (answer.recommendation.unwrap(), answer.replayed.unwrap());
    assert!(
        advice.max_replicas > advice.min_replicas && replayed.changes > 0,
        "{advice:?} {replayed:?}"
    );
    assert!(
        replayed.under_provisioned_seconds < 8 * 86_400 / 100,
        "{replayed:?}"
    );
}

#[tokio::test]
async fn a_resize_is_judged_by_what_was_used() {
    let judge = async |cpu: &str, memory: &str| {
        let input = json!({"namespace": "shop", "workload": "web", "requests": {"cpu": cpu, "memory": memory}});
        run(AssessResize(tools()), input).await.verdict
    };
    assert_eq!(judge("500m", "512Mi").await, Verdict::Safe);
    assert_eq!(judge("150m", "512Mi").await, Verdict::Risky);
    assert_eq!(judge("20m", "64Mi").await, Verdict::Refused);
    assert_eq!(
        judge("500m", "2Gi").await,
        Verdict::Refused,
        "above its limit"
    );
}

/// The very question of cost-analyzer's `recommend_rightsizing` (its own test holds the other side).
#[tokio::test]
async fn the_question_of_the_cost_analyzer_is_answered() {
    let question = json!({
        "namespace": "shop", "workload": "web", "kind": "Deployment", "container": "web",
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "window": {"end": "2026-01-13T00:00:00Z", "days": 8.0, "step_seconds": 300}
    });
    let answer = serde_json::to_value(run(AssessResize(tools()), question).await).unwrap();
    assert_eq!(
        (&answer["verdict"], &answer["reasons"]),
        (&json!("safe"), &json!([]))
    );
}

/// Input for the shop with these further fields.
fn with(fields: &Value) -> Value {
    let mut input = json!({"namespace": "shop"});
    input
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    input
}

#[tokio::test]
async fn wrong_workloads_are_rejected_by_field() {
    let field = async |fields| rejected(AnalyzeUtilization(tools()), with(&fields)).await;
    assert_eq!(field(json!({"namespace": "Shop"})).await, "namespace");
    assert_eq!(field(json!({"kind": "Deployment"})).await, "kind");
    assert_eq!(field(json!({"workload": "none"})).await, "workload");
    assert_eq!(
        field(json!({"window": {"days": 100.0}})).await,
        "window.days"
    );
}

#[tokio::test]
async fn wrong_bounds_of_an_autoscaler_are_rejected_by_field() {
    let bounds = json!({"max_allowed": {"cpu": "much"}});
    assert_eq!(
        rejected(RecommendVpa(tools()), with(&bounds)).await,
        "max_allowed.cpu"
    );
    let web = |fields: Value| {
        let mut input = with(&fields);
        input["workload"] = json!("web");
        input
    };
    let field = async |fields| rejected(RecommendHpa(tools()), web(fields)).await;
    assert_eq!(field(json!({"min_replicas": 0})).await, "min_replicas");
    assert_eq!(
        field(json!({"min_replicas": 3, "max_replicas": 2})).await,
        "max_replicas"
    );
    assert_eq!(field(json!({"ready_seconds": 9999})).await, "ready_seconds");
    assert_eq!(field(json!({"cpu_request": "-1"})).await, "cpu_request");
}

#[tokio::test]
async fn a_wrong_resize_is_rejected_by_field() {
    let field = async |fields| rejected(AssessResize(tools()), with(&fields)).await;
    assert_eq!(field(json!({"workload": "web"})).await, "requests");
    let limits = json!({"workload": "web", "limits": {"memory": "0"}});
    assert_eq!(field(limits).await, "limits.memory");
    let container = json!({"workload": "web", "container": "sidecar", "requests": {"cpu": "1"}});
    assert_eq!(field(container).await, "container");
    let unknown = with(&json!({"workload": "web", "cpu": 1}));
    assert!(serde_json::from_value::<<AssessResize as Skill>::Input>(unknown).is_err());
}

#[tokio::test]
async fn the_readme_shows_real_answers() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let agent = || FakeAgent::default().namespace("shop");
    check_example(folder, AnalyzeUtilization(tools()), agent()).await;
    check_example(folder, RecommendVpa(tools()), agent()).await;
    check_example(folder, RecommendHpa(tools()), agent()).await;
    check_example(folder, AssessResize(tools()), agent()).await;
}
