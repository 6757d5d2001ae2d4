//! Which workloads have had nothing to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::{
    NamespaceUsage, PodUsage, Resources, Sample, Window, WorkloadKind, WorkloadUsage, count,
    seconds,
};

/// Below this share of the request, CPU and memory count as idle (OSSA reference manifest of cost-analyzer: 20 %).
pub const IDLE_SHARE: f64 = 0.2;
/// For so many days up to now, at least (the same manifest: 7).
pub const IDLE_DAYS: u32 = 7;
/// Share of the steps that must have samples. Gaps of a tenth are scrape failures, more is an absence.
pub const COVERAGE: f64 = 0.9;
/// A workload whose newest sample is older than this many seconds is gone, not idle.
pub const GONE: i64 = 3_600;

/// What counts as idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdleRule {
    /// Share of the request, 0 to 1; usage has to stay below.
    pub share: f64,
    /// Days.
    pub days: u32,
}

impl IdleRule {
    /// The days in seconds.
    pub fn seconds(&self) -> i64 {
        i64::from(self.days) * 86_400
    }
}

impl Default for IdleRule {
    fn default() -> Self {
        Self {
            share: IDLE_SHARE,
            days: IDLE_DAYS,
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Far below the threshold all the time.
    High,
    /// Below it, but not far, or with gaps.
    Medium,
}

/// For how long a workload was idle, and how much so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdleTime {
    /// Since when, Unix seconds.
    pub since: i64,
    /// Largest share of the CPU request since.
    pub cpu_share: f64,
    /// Largest share of the memory request since.
    pub memory_share: f64,
    /// Share of steps with samples since.
    pub coverage: f64,
}

impl IdleTime {
    /// High when usage stayed below half the threshold without gaps.
    pub fn confidence(&self, rule: &IdleRule) -> Confidence {
        let far = self.cpu_share.max(self.memory_share) < rule.share / 2.0;
        if far && self.coverage >= 0.99 {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }
}

/// Why a workload was not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJudged {
    /// It requests no CPU or no memory.
    NoRequest,
    /// It ends by itself.
    RunsToCompletion,
    /// It has no recent samples.
    Gone,
}

impl NotJudged {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoRequest => {
                "a container requests no cpu or no memory, so there is no share to compare"
            }
            Self::RunsToCompletion => "it runs to completion and reserves nothing in between",
            Self::Gone => "it had no samples in the last hour",
        }
    }
}

/// Whether a workload was idle for the rule's days up to the end of the window: usage of all its
/// pods together stayed below the share of their requests, CPU and memory, at every point.
///
/// # Errors
/// The workload cannot be judged.
pub fn idle_time(
    usage: &NamespaceUsage,
    workload: &WorkloadUsage,
    rule: &IdleRule,
) -> Result<Option<IdleTime>, NotJudged> {
    if matches!(workload.kind, WorkloadKind::Job | WorkloadKind::CronJob) {
        return Err(NotJudged::RunsToCompletion);
    }
    let window = usage.window;
    let cpu = Shares::of(window, workload, |r| r.cpu, |p| &p.cpu).ok_or(NotJudged::NoRequest)?;
    let memory =
        Shares::of(window, workload, |r| r.memory, |p| &p.memory).ok_or(NotJudged::NoRequest)?;
    let gone = window.end() - GONE.max(window.step());
    if cpu.newest().is_none_or(|at| at < gone) {
        return Err(NotJudged::Gone);
    }
    let since = cpu
        .last_busy(rule.share)
        .max(memory.last_busy(rule.share))
        .unwrap_or_else(|| window.start());
    let length = window.end() - since;
    let covered = cpu.after(since).count().min(memory.after(since).count());
    let idle = IdleTime {
        since,
        cpu_share: cpu.after(since).fold(0.0, f64::max),
        memory_share: memory.after(since).fold(0.0, f64::max),
        coverage: count(covered) * seconds(window.step()) / seconds(length.max(1)),
    };
    Ok((length >= rule.seconds() && idle.coverage >= COVERAGE).then_some(idle))
}

/// Usage of all pods as a share of what those pods request, at each point of a window.
struct Shares {
    window: Window,
    /// Used and requested; nothing is requested where no pod has a sample.
    sums: Vec<(f64, f64)>,
}

impl Shares {
    /// `None` when a container requests nothing.
    fn of(
        window: Window,
        workload: &WorkloadUsage,
        request: impl Fn(&Resources) -> Option<f64>,
        samples: impl Fn(&PodUsage) -> &Vec<Sample>,
    ) -> Option<Self> {
        let mut sums = vec![(0.0, 0.0); window.steps()];
        for container in &workload.containers {
            let requested = request(&container.requests).filter(|r| *r > 0.0)?;
            for sample in container.pods.iter().flat_map(&samples) {
                let index = usize::try_from((sample.at - window.start()) / window.step() - 1).ok();
                if let Some((used, all)) = index.and_then(|index| sums.get_mut(index)) {
                    *used += sample.value;
                    *all += requested;
                }
            }
        }
        Some(Self { window, sums })
    }

    /// Points with samples, newest first.
    fn newest_first(&self) -> impl Iterator<Item = (i64, f64)> {
        let times = self.window.points().skip(1).collect::<Vec<_>>().into_iter();
        let points = times.zip(&self.sums).rev();
        points
            .filter(|(_, (_, all))| *all > 0.0)
            .map(|(at, (used, all))| (at, used / all))
    }

    fn newest(&self) -> Option<i64> {
        self.newest_first().next().map(|(at, _)| at)
    }

    fn last_busy(&self, share: f64) -> Option<i64> {
        self.newest_first()
            .find(|(_, used)| *used >= share)
            .map(|(at, _)| at)
    }

    fn after(&self, since: i64) -> impl Iterator<Item = f64> {
        self.newest_first()
            .take_while(move |(at, _)| *at > since)
            .map(|(_, used)| used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cost::tests::{GIB, namespace};

    const REQUESTS: Resources = Resources {
        cpu: Some(1.0),
        memory: Some(GIB),
    };

    /// Eight days of one sample an hour; CPU and memory as shares of the request, with changes at hours from 1.
    fn judge(
        cpu: f64,
        memory: f64,
        changes: &[(usize, f64)],
    ) -> Result<Option<IdleTime>, NotJudged> {
        let mut series = vec![cpu; 192];
        for (hour, value) in changes {
            series[hour - 1] = *value;
        }
        let usage = namespace(&series, &[memory * GIB; 192], REQUESTS);
        idle_time(&usage, &usage.workloads[0], &IdleRule::default())
    }

    #[test]
    fn idle_is_below_a_fifth_of_both_requests() {
        assert!(judge(0.199, 0.199, &[]).unwrap().is_some());
        assert_eq!(judge(0.2, 0.1, &[]).unwrap(), None);
        assert_eq!(judge(0.1, 0.2, &[]).unwrap(), None);
    }

    #[test]
    fn seven_days_count_from_the_last_busy_point() {
        // 192 hours: busy at hour 24 leaves exactly 168 hours, busy at hour 25 leaves 167.
        assert_eq!(
            judge(0.1, 0.1, &[(24, 0.2)]).unwrap().map(|i| i.since),
            Some(24 * 3600)
        );
        assert_eq!(judge(0.1, 0.1, &[(25, 0.2)]).unwrap(), None);
        assert_eq!(
            judge(0.1, 0.1, &[(1, 0.9), (24, 0.9)])
                .unwrap()
                .map(|i| i.cpu_share),
            Some(0.1)
        );
    }

    #[test]
    fn confidence_is_high_far_below_the_threshold() {
        let rule = IdleRule::default();
        assert_eq!(
            judge(0.09, 0.05, &[]).unwrap().unwrap().confidence(&rule),
            Confidence::High
        );
        assert_eq!(
            judge(0.11, 0.05, &[]).unwrap().unwrap().confidence(&rule),
            Confidence::Medium
        );
    }

    #[test]
    fn gaps_of_more_than_a_tenth_are_not_idleness() {
        let mut usage = namespace(&[0.1; 192], &[0.1 * GIB; 192], REQUESTS);
        let judge =
            |usage: &NamespaceUsage| idle_time(usage, &usage.workloads[0], &IdleRule::default());
        usage.workloads[0].containers[0].pods[0].cpu.drain(50..69);
        assert!(judge(&usage).unwrap().is_some());
        usage.workloads[0].containers[0].pods[0].cpu.drain(50..51);
        assert_eq!(judge(&usage).unwrap(), None);
        usage.workloads[0].containers[0].pods[0].cpu.truncate(160);
        assert_eq!(judge(&usage), Err(NotJudged::Gone));
    }

    #[test]
    fn without_requests_or_as_a_job_it_is_not_judged() {
        let usage = namespace(
            &[0.1; 192],
            &[0.1; 192],
            Resources {
                cpu: Some(1.0),
                memory: None,
            },
        );
        assert_eq!(
            idle_time(&usage, &usage.workloads[0], &IdleRule::default()),
            Err(NotJudged::NoRequest)
        );
        let mut usage = namespace(&[0.1; 192], &[0.1; 192], REQUESTS);
        usage.workloads[0].kind = WorkloadKind::CronJob;
        assert_eq!(
            idle_time(&usage, &usage.workloads[0], &IdleRule::default()),
            Err(NotJudged::RunsToCompletion)
        );
    }
}
