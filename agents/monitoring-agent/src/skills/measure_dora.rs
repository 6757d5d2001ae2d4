//! `measure_dora`: how software is delivered, in numbers that show what they were made of.

use a2a::types::{Artifact, Part};
use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use crate::{
    archive::Archive,
    domain::{
        At,
        dora::{Definition, Interval, Question, Report, clock::DAY, page::page},
    },
    dora::{self, GAUGE_DAYS, TIER},
    watch::now,
};

/// Longest time that is measured, in days: two years and a day.
const MOST_DAYS: i64 = 731;
/// Tiers that GitLab knows.
const TIERS: [&str; 5] = ["production", "staging", "testing", "development", "other"];
/// Longest path of a project.
const MAX_PROJECT: usize = 1_024;

/// Measures delivery.
#[derive(Debug, Clone)]
pub struct MeasureDora(pub Archive);

/// What to measure.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Path of a GitLab project, or `cluster/NAMESPACE` for what no project owns; all when absent.
    #[serde(default)]
    pub project: Option<String>,
    /// Tier of the environments: production, staging, testing, development or other; production when absent.
    #[serde(default)]
    pub environment_tier: Option<String>,
    /// From, included; 30 days before `to` when absent.
    #[serde(default)]
    pub from: Option<At>,
    /// To, excluded; now when absent.
    #[serde(default)]
    pub to: Option<At>,
    /// Whose definition; strict when absent.
    #[serde(default)]
    pub definition: Option<Definition>,
    /// Length of a point of the series; weekly when absent.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// `html` adds the page `dora.html` to the task's artifacts.
    #[serde(default)]
    pub format: Option<Format>,
}

/// Form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The numbers.
    Json,
    /// The numbers, and a page with plots.
    Html,
}

/// What is asked, when it can be answered.
fn question(input: &Input, now: At) -> Result<Question, SkillError> {
    let to = input.to.unwrap_or(now).millis();
    let from = input.from.map_or(to - GAUGE_DAYS * DAY, At::millis);
    if from >= to {
        return Err(SkillError::rejected(
            "from",
            "a time before `to`",
            At::from_millis(from).to_string(),
        ));
    }
    if to - from > MOST_DAYS * DAY {
        let days = (to - from) / DAY;
        return Err(SkillError::rejected(
            "from",
            "at most 731 days before `to`",
            format!("{days} days"),
        ));
    }
    let tier = input.environment_tier.as_deref().unwrap_or(TIER);
    if !TIERS.contains(&tier) {
        return Err(SkillError::rejected(
            "environment_tier",
            TIERS.join(", "),
            "another text",
        ));
    }
    if input
        .project
        .as_ref()
        .is_some_and(|project| project.len() > MAX_PROJECT)
    {
        return Err(SkillError::rejected(
            "project",
            "the path of a project",
            "a longer text",
        ));
    }
    Ok(Question {
        from,
        to,
        tier: tier.to_owned(),
        definition: input.definition.unwrap_or_default(),
        interval: input.interval.unwrap_or_default(),
    })
}

fn artifact(report: &Report) -> Artifact {
    Artifact {
        artifact_id: "dora-page".into(),
        name: Some("DORA metrics".into()),
        parts: vec![Part {
            media_type: Some("text/html".into()),
            filename: Some("dora.html".into()),
            ..Part::text(page(report))
        }],
        description: Some("The metrics with plots, for a browser.".into()),
        metadata: None,
        extensions: Vec::new(),
    }
}

impl Skill for MeasureDora {
    const ID: &'static str = "measure_dora";
    const NAME: &'static str = "Measure DORA";
    const DESCRIPTION: &'static str = "Measures deployment frequency, lead time for changes, change failure rate, time to restore and rework rate under GitLab's, DevLake's or a strict definition, with numerators, denominators, a series and what was left out.";
    const TAGS: &'static [&'static str] = &["dora", "delivery", "gitlab", "monitoring"];

    type Input = Input;
    type Output = Report;

    async fn run(&self, context: &Context, input: Input) -> Result<Report, SkillError> {
        let question = question(&input, now())?;
        let report = dora::measure(&self.0, input.project.as_deref(), &question).await?;
        if input.format == Some(Format::Html) {
            context.artifact(artifact(&report), false, true)?;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use shared::testing::FakeAgent;
    use store::memory::MemoryStore;

    use super::*;
    use crate::{archive::Intake, domain::dora::hook::read};

    fn archive() -> Archive {
        Archive(Arc::new(MemoryStore::default()))
    }

    async fn ask(archive: &Archive, input: Value) -> (Result<Report, SkillError>, Vec<String>) {
        let (context, agent) = FakeAgent::default().context();
        let input = serde_json::from_value(input).unwrap();
        let answer = MeasureDora(archive.clone()).run(&context, input).await;
        (answer, agent.trail())
    }

    async fn deploy(archive: &Archive, path: &str, at: &str) {
        let body = json!({"object_kind": "deployment", "status": "success", "status_changed_at": at,
            "deployment_id": 1, "environment": "production", "commit_url": null,
            "project": {"id": 5, "path_with_namespace": path}});
        let hook = read(body.to_string().as_bytes()).unwrap();
        let intake = Intake::open(archive.clone());
        intake
            .keep(hook.project.unwrap(), hook.facts)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn measures_what_came_in_for_the_project_and_the_time() {
        let archive = archive();
        deploy(&archive, "shop/<b>web</b>", "2026-11-10 10:00:00 UTC").await;
        let time =
            json!({"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z", "format": "html"});
        let (report, trail) = ask(&archive, time.clone()).await;
        let report = report.unwrap();
        let frequency = &report.deployment_frequency;
        assert_eq!((frequency.numerator, frequency.denominator), (1, 30));
        assert_eq!(report.left_out[0].reason, "commit_unknown");
        assert_eq!(trail, ["artifact dora-page"]);
        let html = page(&report);
        assert!(html.contains("shop/&lt;b&gt;web&lt;/b&gt;") && !html.contains("<script"));
        assert!(html.contains("2026-11-09: 1"), "the bar of the week");

        let mut other = time;
        other["project"] = json!("shop/other");
        let (refused, _) = ask(&archive, other).await;
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .starts_with("project: expected the path")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_rejected_with_its_field() {
        for (input, message) in [
            (
                json!({"from": "2026-11-02T00:00:00Z", "to": "2026-11-02T00:00:00Z"}),
                "from: expected a time before `to`",
            ),
            (
                json!({"from": "2020-11-02T00:00:00Z", "to": "2026-11-02T00:00:00Z"}),
                "from: expected at most 731 days",
            ),
            (
                json!({"environment_tier": "prod"}),
                "environment_tier: expected production, staging",
            ),
            (
                json!({"project": "x".repeat(2_000)}),
                "project: expected the path of a project",
            ),
        ] {
            let (answer, _) = ask(&archive(), input).await;
            let error = answer.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let (nothing, trail) = ask(&archive(), json!({"interval": "all"})).await;
        let nothing = nothing.unwrap();
        assert_eq!(
            (nothing.change_failure_rate.value, nothing.series.len()),
            (None, 1)
        );
        assert!(trail.is_empty());
    }
}
