//! The numbers, with what they were made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{clock::Ms, level::Level};
use crate::domain::At;

/// Whose definition of the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// As GitLab computes its DORA metrics.
    Gitlab,
    /// As Apache `DevLake` computes them.
    Devlake,
    /// This agent's own, in which every number can be traced to single deployments.
    #[default]
    Strict,
}

impl Definition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gitlab, Self::Devlake, Self::Strict];

    /// The word for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Devlake => "devlake",
            Self::Strict => "strict",
        }
    }
}

/// Length of a point of the series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// A day (UTC).
    Daily,
    /// A week from Monday (UTC).
    #[default]
    Weekly,
    /// A calendar month (UTC).
    Monthly,
    /// The whole time.
    All,
}

/// The metrics of a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Whose definition.
    pub definition: Definition,
    /// Tier of the environments.
    pub environment_tier: String,
    /// From, included.
    pub from: At,
    /// To, excluded.
    pub to: At,
    /// Projects that were measured, by path.
    pub projects: Vec<String>,
    /// Deployments a day.
    pub deployment_frequency: Metric,
    /// Seconds until a change is deployed, median.
    pub lead_time_for_changes: Metric,
    /// Share of deployments that caused a failure.
    pub change_failure_rate: Metric,
    /// Seconds until a failure was over, median.
    pub time_to_restore: Metric,
    /// Share of deployments that were made because of a failure.
    pub rework_rate: Metric,
    /// Deployments by who reported them.
    pub sources: Sources,
    /// Year of the table of clusters.
    pub clusters_of: u16,
    /// The metrics over time.
    pub series: Vec<Point>,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// One metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// The number; none when there is nothing to divide by or to take the median of.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// What was counted.
    pub numerator: u64,
    /// What it was counted of.
    pub denominator: u64,
    /// Both in words.
    pub meaning: String,
    /// The cluster it falls into; rework has none.
    pub cluster: Option<Level>,
}

/// Deployments by who reported them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    /// By Deployment Hooks of GitLab.
    pub gitlab: u64,
    /// By jobs with an environment alone.
    pub job: u64,
    /// By rollouts in the cluster.
    pub cluster: u64,
}

/// The metrics of one interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// When it begins.
    pub start: At,
    /// Deployments.
    pub deployments: u64,
    /// Median lead time.
    pub lead_time_seconds: Option<f64>,
    /// Failed deployments; under GitLab's definition incidents.
    pub failures: u64,
    /// Median time to restore.
    pub restore_seconds: Option<f64>,
    /// Deployments made because of a failure.
    pub rework: u64,
}

/// What was left out of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The metric.
    pub metric: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// The middle of a list; of the two in the middle, their mean.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a lead time stay below 2^52"
)]
pub fn median(values: &mut [Ms]) -> Option<f64> {
    values.sort_unstable();
    let half = values.len() / 2;
    let upper = *values.get(half)? as f64;
    let lower = if values.len().is_multiple_of(2) {
        *values.get(half.checked_sub(1)?)? as f64
    } else {
        upper
    };
    Some(f64::midpoint(lower, upper))
}
