//! Whether a container would live with other requests and limits, from what it used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::{ContainerUsage, Resources, count, seconds, whole};

use super::{
    distribution::{Distribution, round, share_above},
    utilization::THROTTLED,
};

/// Fewest samples to judge by: those of KRR's simple strategy.
pub const MIN_SAMPLES: u64 = 100;
/// Shortest history to judge by: a day, so that night and noon are both in it (and VPA's confidence is 1).
pub const MIN_SPAN: i64 = 86_400;
/// Share of samples above the CPU limit that is still safe.
pub const THROTTLING_SAFE: f64 = 0.01;
/// Room between the largest memory peak and the limit: VPA's safety margin.
pub const MEMORY_HEADROOM: f64 = 0.15;

/// The answer to a proposed resize.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The recorded load would have run as before.
    Safe,
    /// It would have run, but throttled, evicted or close to its limit at times.
    Risky,
    /// It would not have run, or too little is known to say.
    Refused,
}

/// What the recorded load would have met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Share of time in which a pod used more CPU than the proposed request (and depends on what its neighbours leave).
    pub cpu_above_request: f64,
    /// Share of time in which a pod wanted more CPU than the limit, so would be throttled; missing without a limit.
    pub cpu_throttled: Option<f64>,
    /// Proposed CPU request over p95, less 1: 0.15 is 15 % room.
    pub cpu_headroom: Option<f64>,
    /// Share of time in which a pod used more memory than the proposed request (and is among the first to be evicted).
    pub memory_above_request: f64,
    /// Memory limit (or request without a limit) over the largest peak, less 1.
    pub memory_headroom: Option<f64>,
    /// Kills for memory expected a day and pod: days whose peak lies above the limit.
    pub oom_kills_per_pod_day: f64,
}

/// A judged proposal.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The answer.
    pub verdict: Verdict,
    /// Why, worst first.
    pub reasons: Vec<String>,
    /// The figures.
    pub prediction: Prediction,
}

/// Requests and limits as they would be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Proposal {
    /// Requests.
    pub requests: Resources,
    /// Limits.
    pub limits: Resources,
}

impl Proposal {
    /// The container's own figures, with what is proposed in their place.
    pub fn merged(requests: Resources, limits: Resources, container: &ContainerUsage) -> Self {
        let over = |new: Resources, old: Resources| Resources {
            cpu: new.cpu.or(old.cpu),
            memory: new.memory.or(old.memory),
        };
        Self {
            requests: over(requests, container.requests),
            limits: over(limits, container.limits),
        }
    }
}

/// Judges a proposal by the recorded distribution.
pub fn assess(container: &ContainerUsage, proposal: &Proposal) -> Assessment {
    let (cpu, memory) = (
        Distribution::of(container.cpu()),
        Distribution::of(container.memory()),
    );
    let prediction = predict(container, proposal, &cpu, &memory);
    let mut reasons = evidence(container, &cpu);
    reasons.extend(contradictions(proposal));
    reasons.extend(cpu_reasons(proposal, &prediction, &cpu));
    reasons.extend(memory_reasons(proposal, &prediction, &memory));
    reasons.extend(history(container, proposal));
    reasons.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let verdict = reasons
        .first()
        .map_or(Verdict::Safe, |(verdict, _)| *verdict);
    Assessment {
        verdict,
        reasons: reasons.into_iter().map(|(_, reason)| reason).collect(),
        prediction: prediction.rounded(),
    }
}

impl Prediction {
    /// Four digits, for people.
    fn rounded(self) -> Self {
        let short = |value: f64| round(value, 4);
        Self {
            cpu_above_request: short(self.cpu_above_request),
            cpu_throttled: self.cpu_throttled.map(short),
            cpu_headroom: self.cpu_headroom.map(short),
            memory_above_request: short(self.memory_above_request),
            memory_headroom: self.memory_headroom.map(short),
            oom_kills_per_pod_day: short(self.oom_kills_per_pod_day),
        }
    }
}

type Reason = (Verdict, String);

fn predict(
    container: &ContainerUsage,
    proposal: &Proposal,
    cpu: &Distribution,
    memory: &Distribution,
) -> Prediction {
    let Proposal { requests, limits } = proposal;
    let room = |have: f64, need: f64| (need > 0.0).then(|| have / need - 1.0);
    Prediction {
        cpu_above_request: share_above(container.cpu(), requests.cpu.unwrap_or(0.0)),
        cpu_throttled: limits.cpu.map(|limit| share_above(container.cpu(), limit)),
        cpu_headroom: requests.cpu.and_then(|request| room(request, cpu.p95)),
        memory_above_request: share_above(container.memory(), requests.memory.unwrap_or(0.0)),
        memory_headroom: limits
            .memory
            .or(requests.memory)
            .and_then(|have| room(have, memory.max)),
        oom_kills_per_pod_day: limits
            .memory
            .map_or(0.0, |limit| oom_days(container, limit)),
    }
}

/// Share of pod-days whose largest memory peak lies above the limit.
fn oom_days(container: &ContainerUsage, limit: f64) -> f64 {
    let (mut killed, mut all) = (0_usize, 0_usize);
    for pod in &container.pods {
        let mut days = std::collections::BTreeMap::<i64, f64>::new();
        for sample in &pod.memory {
            let peak = days.entry(sample.at.div_euclid(86_400)).or_default();
            *peak = peak.max(sample.value);
        }
        all += days.len();
        killed += days.values().filter(|peak| **peak > limit).count();
    }
    count(killed) / count(all.max(1))
}

fn evidence(container: &ContainerUsage, cpu: &Distribution) -> Vec<Reason> {
    let times = || {
        container
            .pods
            .iter()
            .flat_map(|p| p.cpu.iter().map(|s| s.at))
    };
    let span = times()
        .max()
        .zip(times().min())
        .map_or(0, |(last, first)| last - first);
    let memory = container.memory().count();
    let mut reasons = Vec::new();
    if cpu.samples < MIN_SAMPLES || whole(count(memory)) < MIN_SAMPLES {
        reasons.push((
            Verdict::Refused,
            format!(
                "{} cpu and {memory} memory samples are fewer than the {MIN_SAMPLES} to judge by",
                cpu.samples
            ),
        ));
    } else if span < MIN_SPAN {
        reasons.push((
            Verdict::Refused,
            format!(
                "a history of {:.1} h is shorter than a day",
                seconds(span) / 3600.0
            ),
        ));
    }
    reasons
}

fn contradictions(Proposal { requests, limits }: &Proposal) -> Vec<Reason> {
    let above = |request: Option<f64>, limit: Option<f64>| {
        request
            .zip(limit)
            .is_some_and(|(r, l)| r > l * (1.0 + 1e-9))
    };
    let mut reasons = Vec::new();
    if above(requests.cpu, limits.cpu) {
        reasons.push((
            Verdict::Refused,
            String::from("the cpu request is above the cpu limit"),
        ));
    }
    if above(requests.memory, limits.memory) {
        reasons.push((
            Verdict::Refused,
            String::from("the memory request is above the memory limit"),
        ));
    }
    reasons
}

fn cpu_reasons(proposal: &Proposal, prediction: &Prediction, cpu: &Distribution) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match proposal.requests.cpu {
        Some(request) if request < cpu.p50 => {
            reasons.push((
                Verdict::Refused,
                format!(
                    "the cpu request is below the median use of {}",
                    usage::quantity::cpu(cpu.p50)
                ),
            ));
        }
        Some(request) if request < cpu.p95 => {
            reasons.push((
                Verdict::Risky,
                format!(
                    "the cpu request is below the 95th percentile of {}",
                    usage::quantity::cpu(cpu.p95)
                ),
            ));
        }
        Some(_) | None => {}
    }
    if let Some(share) = prediction
        .cpu_throttled
        .filter(|share| *share > THROTTLING_SAFE)
    {
        let verdict = if share > 0.5 {
            Verdict::Refused
        } else {
            Verdict::Risky
        };
        reasons.push((
            verdict,
            format!("it would be throttled {:.1} % of the time", share * 100.0),
        ));
    }
    reasons
}

fn memory_reasons(
    proposal: &Proposal,
    prediction: &Prediction,
    memory: &Distribution,
) -> Vec<Reason> {
    let peak = usage::quantity::memory(memory.max);
    let mut reasons = Vec::new();
    match proposal.limits.memory {
        Some(limit) if limit < memory.max => {
            let kills = prediction.oom_kills_per_pod_day;
            reasons.push((Verdict::Refused, format!("the memory limit is below the largest peak of {peak}: {kills:.2} kills a day and pod")));
        }
        Some(limit) if limit < memory.max * (1.0 + MEMORY_HEADROOM) => {
            reasons.push((
                Verdict::Risky,
                format!("the memory limit leaves less than 15 % above the largest peak of {peak}"),
            ));
        }
        Some(_) | None => {}
    }
    match proposal.requests.memory {
        Some(request) if request < memory.p50 => {
            reasons.push((
                Verdict::Refused,
                format!(
                    "the memory request is below the median use of {}",
                    usage::quantity::memory(memory.p50)
                ),
            ));
        }
        Some(request) if request < memory.max => {
            reasons.push((
                Verdict::Risky,
                format!(
                    "the memory request is below the largest peak of {peak}: first to be evicted"
                ),
            ));
        }
        Some(_) | None => {}
    }
    reasons
}

/// What went wrong already must not get worse.
fn history(container: &ContainerUsage, proposal: &Proposal) -> Vec<Reason> {
    let lower = |new: Option<f64>, old: Option<f64>| match (new, old) {
        (Some(new), Some(old)) => new <= old,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let ooms: usize = container.pods.iter().map(|p| p.ooms.len()).sum();
    let throttled = Distribution::of(
        container
            .pods
            .iter()
            .flat_map(|p| p.throttled.iter().map(|s| s.value)),
    )
    .mean;
    let mut reasons = Vec::new();
    if ooms > 0 && lower(proposal.limits.memory, container.limits.memory) {
        reasons.push((
            Verdict::Risky,
            format!("it was killed for memory {ooms} times, and the memory limit would not rise"),
        ));
    }
    if throttled >= THROTTLED && lower(proposal.limits.cpu, container.limits.cpu) {
        let reason = format!(
            "it is throttled in {:.0} % of the scheduler periods, and the cpu limit would not rise",
            throttled * 100.0
        );
        reasons.push((Verdict::Risky, reason));
    }
    reasons
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use usage::{PodUsage, Sample};

    use super::*;

    const MIB: f64 = 1_048_576.0;

    /// 1,000 samples over three days: CPU 0.001 to 1 core, memory 100 MiB and once 200 MiB.
    fn container() -> ContainerUsage {
        let at = |i: i64| i * 260;
        let pod = PodUsage {
            cpu: (1..=1000)
                .map(|i| Sample {
                    at: at(i),
                    value: seconds(i) / 1000.0,
                })
                .collect(),
            memory: (1..=1000)
                .map(|i| Sample {
                    at: at(i),
                    value: if i == 500 { 200.0 * MIB } else { 100.0 * MIB },
                })
                .collect(),
            ..PodUsage::default()
        };
        ContainerUsage {
            requests: Resources {
                cpu: Some(2.0),
                memory: Some(1024.0 * MIB),
            },
            limits: Resources {
                cpu: None,
                memory: Some(1024.0 * MIB),
            },
            pods: vec![pod],
            ..ContainerUsage::default()
        }
    }

    fn judge(
        container: &ContainerUsage,
        cpu: f64,
        memory: f64,
        limits: (Option<f64>, Option<f64>),
    ) -> Assessment {
        let requests = Resources {
            cpu: Some(cpu),
            memory: Some(memory * MIB),
        };
        let limits = Resources {
            cpu: limits.0,
            memory: limits.1.map(|l| l * MIB),
        };
        assess(container, &Proposal::merged(requests, limits, container))
    }

    #[test]
    fn room_above_p95_and_the_largest_peak_is_safe() {
        let safe = judge(&container(), 0.95, 230.0, (None, Some(230.0)));
        assert_eq!((safe.verdict, safe.reasons.len()), (Verdict::Safe, 0));
        assert!((safe.prediction.cpu_above_request - 0.05).abs() < 1e-9);
        assert!((safe.prediction.memory_headroom.unwrap() - 0.15).abs() < 1e-9);
    }

    #[test]
    fn less_than_p95_or_than_the_peak_is_risky() {
        assert_eq!(
            judge(&container(), 0.94, 300.0, (None, None)).verdict,
            Verdict::Risky
        );
        assert_eq!(
            judge(&container(), 1.0, 199.0, (None, None)).verdict,
            Verdict::Risky
        );
        assert_eq!(
            judge(&container(), 1.0, 200.0, (None, Some(229.0))).verdict,
            Verdict::Risky
        );
        let throttled = judge(&container(), 0.95, 300.0, (Some(0.98), None));
        assert_eq!(
            (throttled.verdict, throttled.prediction.cpu_throttled),
            (Verdict::Risky, Some(0.02))
        );
    }

    #[test]
    fn less_than_the_median_or_a_limit_below_the_peak_is_refused() {
        assert_eq!(
            judge(&container(), 0.49, 300.0, (None, None)).verdict,
            Verdict::Refused
        );
        assert_eq!(
            judge(&container(), 1.0, 99.0, (None, None)).verdict,
            Verdict::Refused
        );
        let killed = judge(&container(), 1.0, 150.0, (None, Some(150.0)));
        assert_eq!(killed.verdict, Verdict::Refused);
        // The peak lies on one of four calendar days (260,000 s touch four).
        assert_eq!(killed.prediction.oom_kills_per_pod_day, 0.25);
    }

    #[test]
    fn a_request_above_its_limit_is_refused() {
        assert!(
            judge(&container(), 1.0, 2048.0, (None, None)).reasons[0]
                .contains("above the memory limit")
        );
        assert!(
            judge(&container(), 1.0, 300.0, (Some(0.99), None)).reasons[0]
                .contains("above the cpu limit")
        );
    }

    #[test]
    fn too_short_a_history_is_refused() {
        let mut few = container();
        few.pods[0].cpu.truncate(99);
        assert!(judge(&few, 2.0, 1024.0, (None, None)).reasons[0].contains("99 cpu"));
        let mut short = container();
        short.pods[0].cpu.truncate(330);
        assert!(judge(&short, 2.0, 1024.0, (None, None)).reasons[0].contains("shorter than a day"));
    }

    #[test]
    fn past_kills_and_throttling_must_not_get_worse() {
        let mut hurt = container();
        hurt.limits.cpu = Some(4.0);
        hurt.pods[0].ooms = vec![260];
        hurt.pods[0].throttled = vec![Sample {
            at: 260,
            value: 0.06,
        }];
        assert_eq!(judge(&hurt, 1.0, 300.0, (None, None)).reasons.len(), 2);
        assert_eq!(
            judge(&hurt, 1.0, 300.0, (Some(5.0), Some(1100.0))).verdict,
            Verdict::Safe
        );
    }

    #[test]
    fn more_is_never_judged_worse() {
        let container = container();
        for memory in [90.0, 150.0, 230.0, 400.0] {
            let verdicts: Vec<_> = (1..=12)
                .map(|i| judge(&container, seconds(i) / 10.0, memory, (None, None)).verdict)
                .collect();
            assert!(
                verdicts.is_sorted_by(|a, b| a >= b),
                "{memory}: {verdicts:?}"
            );
        }
    }
}
