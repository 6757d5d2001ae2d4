//! The numbers of what was counted, and their course over time.

use std::collections::BTreeMap;

use super::{
    clock::{self, DAY, Ms},
    level,
    measure::{Question, Tally},
    report::{Definition, Interval, LeftOut, Metric, Point, Report, median},
};
use crate::domain::At;

#[derive(Default)]
struct Bin {
    deployments: u64,
    failures: u64,
    rework: u64,
    leads: Vec<Ms>,
    restores: Vec<Ms>,
}

impl Tally {
    /// The numbers.
    pub fn report(mut self, question: &Question) -> Report {
        let series = self.series(question);
        let [
            deployment_frequency,
            lead_time_for_changes,
            change_failure_rate,
            time_to_restore,
            rework_rate,
        ] = self.metrics(question);
        Report {
            definition: question.definition,
            environment_tier: question.tier.clone(),
            from: At::from_millis(question.from),
            to: At::from_millis(question.to),
            projects: self.projects.into_iter().collect(),
            deployment_frequency,
            lead_time_for_changes,
            change_failure_rate,
            time_to_restore,
            rework_rate,
            sources: self.sources,
            clusters_of: level::YEAR,
            series,
            left_out: self.left_out.into_iter().map(left_out).collect(),
        }
    }

    fn metrics(&self, question: &Question) -> [Metric; 5] {
        let deployments = count(&self.deployments);
        let days = u64::try_from((question.to - question.from).max(0) / DAY)
            .unwrap_or(0)
            .max(1);
        let releases = deployments + self.unfinished;
        let (failed, rework) = (count(&self.failures), count(&self.rework));
        let (changed, over) = (count(&self.leads), count(&self.restores));
        let frequency = ratio(deployments, days);
        let lead = seconds(self.leads.iter().map(|(_, lead)| *lead).collect());
        let rate = ratio(failed, releases);
        let recovery = seconds(self.restores.iter().map(|(_, lasted)| *lasted).collect());
        let [lead_words, rate_words, restore_words] = words(question.definition);
        let metric = |value, unit: &str, (numerator, denominator), meaning: &str, cluster| Metric {
            value,
            unit: unit.to_owned(),
            numerator,
            denominator,
            meaning: meaning.to_owned(),
            cluster,
        };
        [
            metric(
                frequency,
                "deployments per day",
                (deployments, days),
                "successful deployments / days",
                frequency.map(level::of_frequency),
            ),
            metric(
                lead,
                "s",
                (changed, self.changes),
                lead_words,
                lead.map(level::of_lead_time),
            ),
            metric(
                rate,
                "ratio",
                (failed, releases),
                rate_words,
                rate.map(level::of_failure_rate),
            ),
            metric(
                recovery,
                "s",
                (over, over + self.open),
                restore_words,
                recovery.map(level::of_recovery),
            ),
            metric(
                ratio(rework, deployments),
                "ratio",
                (rework, deployments),
                "deployments made because of a failure / deployments",
                None,
            ),
        ]
    }

    fn series(&mut self, question: &Question) -> Vec<Point> {
        let mut bins: BTreeMap<Ms, Bin> = BTreeMap::new();
        for start in starts(question) {
            bins.entry(start).or_default();
        }
        let start = |at| start_of(at, question);
        for at in &self.deployments {
            bins.entry(start(*at)).or_default().deployments += 1;
        }
        for at in &self.failures {
            bins.entry(start(*at)).or_default().failures += 1;
        }
        for at in &self.rework {
            bins.entry(start(*at)).or_default().rework += 1;
        }
        for (at, lead) in &self.leads {
            bins.entry(start(*at)).or_default().leads.push(*lead);
        }
        for (at, lasted) in &self.restores {
            bins.entry(start(*at)).or_default().restores.push(*lasted);
        }
        let point = |(start, bin): (Ms, Bin)| Point {
            start: At::from_millis(start.max(question.from)),
            deployments: bin.deployments,
            lead_time_seconds: seconds(bin.leads),
            failures: bin.failures,
            restore_seconds: seconds(bin.restores),
            rework: bin.rework,
        };
        bins.into_iter().map(point).collect()
    }
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

fn seconds(mut values: Vec<Ms>) -> Option<f64> {
    median(&mut values).map(|millis| millis / 1_000.0)
}

fn left_out(((metric, reason), (count, examples)): ((&str, &str), (u64, Vec<String>))) -> LeftOut {
    LeftOut {
        metric: metric.to_owned(),
        reason: reason.to_owned(),
        count,
        examples: examples
            .into_iter()
            .filter(|example| !example.is_empty())
            .collect(),
    }
}

/// What numerator and denominator are, for lead time, failure rate and restore.
fn words(definition: Definition) -> [&'static str; 3] {
    match definition {
        Definition::Gitlab => [
            "median time from merge to deployment, over each environment that a merge request reached / those found",
            "incidents opened / deployments",
            "median time that incidents were open, by the day they were closed / those and the open ones",
        ],
        Definition::Devlake => [
            "median of first commit to merge request, to merge, to its first deployment, minutes rounded up / changes",
            "deployments with an incident before the next one / deployments",
            "median time from the deployment that an incident belongs to, to the incident's end / those and the open ones",
        ],
        Definition::Strict => [
            "median time from merge to its first deployment / changes",
            "deployments that caused a failure / deployments and releases that failed before they were complete",
            "median time from the failed deployment to the end of its last failure / those and the open ones",
        ],
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events stay below 2^52"
)]
fn ratio(numerator: u64, denominator: u64) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}

fn start_of(at: Ms, question: &Question) -> Ms {
    match question.interval {
        Interval::Daily => clock::day_of(at),
        Interval::Weekly => clock::week_of(at),
        Interval::Monthly => clock::month_of(at),
        Interval::All => question.from,
    }
}

/// Starts of all intervals of the time, empty ones too.
fn starts(question: &Question) -> Vec<Ms> {
    let mut starts = Vec::new();
    let mut start = start_of(question.from, question);
    while start < question.to {
        starts.push(start);
        start = match question.interval {
            Interval::Daily => start + DAY,
            Interval::Weekly => start + 7 * DAY,
            Interval::Monthly => clock::next_month(start),
            Interval::All => question.to,
        };
    }
    starts
}
