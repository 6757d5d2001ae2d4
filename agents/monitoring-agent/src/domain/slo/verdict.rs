//! From what was measured of an objective to what it tells about its workload.

use super::{
    Budget, Burn, Counts, Objective, RULES, Standing, budget, burn, standing,
    statistics::{chance_of_larger, chance_of_more, median},
};
use crate::domain::{
    At, Requests, Thresholds,
    requests::RequestSign,
    slo::{HOUR, MINUTE, Span},
    thresholds::{ERROR_WINDOW_MS, LATENCY_WINDOW_MS},
};

/// A difference that comes by chance less often than this is one: 1 in 100.
const SIGNIFICANT: f64 = 0.01;
/// What was before a change, or before now: the hour before.
pub const BASELINE_MS: i64 = HOUR;
/// Fewer samples of latency than this, before or after, prove nothing.
const MIN_SAMPLES: usize = 8;
/// Requests after a change are counted over at least this long.
const MIN_AFTER_MS: i64 = MINUTE;

/// What was measured of an objective.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Requests of the long and short window of each rule.
    pub rules: Vec<(Counts, Counts)>,
    /// Requests of the whole period.
    pub period: Counts,
    /// Requests of the last five minutes.
    pub recent: Counts,
    /// Requests since the change, or of the last five minutes when there was none lately.
    pub after: Counts,
    /// Requests of the hour before that.
    pub before: Counts,
    /// 95th percentiles of latency of the last ten minutes, in seconds.
    pub latency: Vec<f64>,
    /// Those of the hour before the change, or before the last ten minutes.
    pub latency_before: Vec<f64>,
}

/// Which windows are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Long and short window of each rule.
    pub rules: Vec<(Span, Span)>,
    /// The whole period.
    pub period: Span,
    /// The last five minutes.
    pub recent: Span,
    /// Since the change.
    pub after: Span,
    /// Before it.
    pub before: Span,
    /// Latency: the last ten minutes.
    pub latency: Span,
    /// Latency: before.
    pub latency_before: Span,
}

/// What to ask for, at a time, when the workload changed last at `changed`.
pub fn plan(objective: &Objective, now: At, changed: Option<At>, thresholds: &Thresholds) -> Plan {
    let span = |at, window_ms| Span { at, window_ms };
    let lately = changed.filter(|at| (0..=thresholds.release_window_ms).contains(&now.since(*at)));
    let since = |at: At| now.since(at).max(MIN_AFTER_MS);
    let after = lately.map_or(ERROR_WINDOW_MS, since);
    let latency = lately.map_or(LATENCY_WINDOW_MS, |at| since(at).min(LATENCY_WINDOW_MS));
    let edge = |window: i64| lately.unwrap_or_else(|| now.plus(-window));
    Plan {
        rules: RULES
            .iter()
            .map(|rule| (span(now, rule.long_ms), span(now, rule.short_ms)))
            .collect(),
        period: span(now, objective.period_ms),
        recent: span(now, ERROR_WINDOW_MS),
        after: span(now, after),
        before: span(edge(after), BASELINE_MS),
        latency: span(now, latency),
        latency_before: span(edge(latency), BASELINE_MS),
    }
}

/// An objective as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How it stands.
    pub standing: Standing,
    /// The budget of the whole period.
    pub budget: Budget,
    /// Each rule.
    pub burns: Vec<Burn>,
    /// Median of the 95th percentiles of latency, now and before, in seconds.
    pub latency: Option<(f64, f64)>,
    /// What it tells about the workload; `since` is the time of this judgement.
    pub trouble: Option<Requests>,
}

/// Judges an objective.
pub fn judge(
    objective: &Objective,
    samples: &Samples,
    now: At,
    thresholds: &Thresholds,
) -> Measured {
    let rules = RULES.iter().zip(&samples.rules);
    let burns: Vec<Burn> = rules
        .map(|(rule, counts)| burn(rule, *counts, objective))
        .collect();
    let budget = budget(samples.period, objective);
    let latency = median(&samples.latency).zip(median(&samples.latency_before));
    let slow = is_slow(samples, latency, thresholds);
    let failing = samples.recent.at_least() * 100.0 > thresholds.max_error_percent;
    let standing = standing(&budget, &burns);
    let sign = match standing {
        Standing::FastBurn => Some(RequestSign::FastBurn),
        _ if failing => Some(RequestSign::ErrorRate),
        _ if slow => Some(RequestSign::Latency),
        Standing::SlowBurn => Some(RequestSign::SlowBurn),
        Standing::NoData | Standing::Met | Standing::Exhausted => None,
    };
    let trouble = sign.map(|sign| Requests {
        sign,
        since: now,
        failing_share: samples.recent.share(),
        worse_than_before: worse(samples, sign),
        traffic_ratio: traffic(samples),
        evidence: evidence(objective, samples, &burns, latency),
    });
    Measured {
        standing,
        budget,
        burns,
        latency,
        trouble,
    }
}

fn is_slow(samples: &Samples, latency: Option<(f64, f64)>, thresholds: &Thresholds) -> bool {
    let enough =
        samples.latency.len() >= MIN_SAMPLES && samples.latency_before.len() >= MIN_SAMPLES;
    let larger = latency.is_some_and(|(now, before)| now > before * thresholds.max_latency_ratio);
    enough && larger && chance_of_larger(&samples.latency_before, &samples.latency) < SIGNIFICANT
}

fn worse(samples: &Samples, sign: RequestSign) -> Option<bool> {
    if sign == RequestSign::Latency {
        // Slow is by definition slower than before.
        return Some(true);
    }
    let Samples { before, after, .. } = samples;
    if before.total < 1.0 || after.total < 1.0 {
        return None;
    }
    let chance = chance_of_more((before.bad, before.total), (after.bad, after.total));
    Some(chance < SIGNIFICANT)
}

/// Requests a second now, as a multiple of those before.
#[expect(
    clippy::cast_precision_loss,
    reason = "windows of milliseconds are far below 2^52"
)]
fn traffic(samples: &Samples) -> Option<f64> {
    let before = samples.before.total / BASELINE_MS as f64;
    let now = samples.recent.total / ERROR_WINDOW_MS as f64;
    (before > 0.0).then(|| now / before)
}

fn evidence(
    objective: &Objective,
    samples: &Samples,
    burns: &[Burn],
    latency: Option<(f64, f64)>,
) -> Vec<String> {
    let percent = |counts: &Counts| format!("{:.2} %", counts.share() * 100.0);
    let mut evidence = vec![format!(
        "objective {}: {} of {:.0} requests failed in 5 minutes, {} in the hour before",
        objective.name,
        percent(&samples.recent),
        samples.recent.total,
        percent(&samples.before),
    )];
    evidence.extend(burns.iter().filter(|burn| burn.firing).map(|burn| {
        format!(
            "objective {}: burn rate {:.1} over {} h and {:.1} over {} min, more than {:.1}",
            objective.name,
            burn.long,
            burn.long_ms / HOUR,
            burn.short,
            burn.short_ms / MINUTE,
            burn.threshold
        )
    }));
    evidence.extend(latency.map(|(now, before)| {
        format!(
            "objective {}: 95th percentile of latency {:.0} ms, {:.0} ms before",
            objective.name,
            now * 1_000.0,
            before * 1_000.0
        )
    }));
    evidence
}
