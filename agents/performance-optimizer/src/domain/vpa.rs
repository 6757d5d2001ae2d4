//! The recommendation of the Kubernetes Vertical Pod Autoscaler, from recorded samples.
//!
//! Formulas and constants of VPA 1.8: `pkg/recommender/logic/{recommender,estimator}.go` and
//! `pkg/recommender/model/{container,aggregate_container_state}.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::{ContainerUsage, PodUsage, count, seconds, whole};

use super::histogram::{Buckets, DecayingHistogram, HALF_LIFE};

/// Share of samples that the target covers (`target-cpu-percentile`, `target-memory-percentile`).
pub const TARGET_SHARE: f64 = 0.9;
/// Share for the lower bound (`recommendation-lower-bound-cpu-percentile`).
pub const LOWER_SHARE: f64 = 0.5;
/// Share for the upper bound (`recommendation-upper-bound-cpu-percentile`).
pub const UPPER_SHARE: f64 = 0.95;
/// Added to every percentile (`recommendation-margin-fraction`).
pub const SAFETY_MARGIN: f64 = 0.15;
/// Smallest recommendation of a pod, shared by its containers (`pod-recommendation-min-cpu-millicores`).
pub const MIN_MILLICORES: u64 = 25;
/// Smallest recommendation of a pod, shared by its containers (`pod-recommendation-min-memory-mb`: 250 MiB).
pub const MIN_MEMORY: u64 = 250 * 1_048_576;
/// A kill for memory counts as a peak of the memory then used times this (`oom-bump-up-ratio`).
pub const OOM_RATIO: f64 = 1.2;
/// Or that memory plus this, whichever is more (`oom-min-bump-up-bytes`: 100 MiB).
pub const OOM_BYTES: f64 = 100.0 * 1_048_576.0;
/// One memory peak counts per container and this many seconds (`memory-aggregation-interval`).
pub const MEMORY_INTERVAL: i64 = 86_400;
/// Weight of a CPU sample (`minSampleWeight`); a memory peak weighs 1.
pub const CPU_WEIGHT: f64 = 0.1;
/// The updater acts when requests differ from the target by this share (`pod-update-threshold`).
pub const UPDATE_THRESHOLD: f64 = 0.1;

/// CPU in millicores and memory in bytes, whole as VPA counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// Millicores.
    pub millicores: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Bounds that the caller sets (a VPA's `minAllowed` and `maxAllowed`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Policy {
    /// Cores and bytes at least.
    pub min: usage::Resources,
    /// Cores and bytes at most.
    pub max: usage::Resources,
}

/// How far a recommendation can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confidence {
    /// CPU samples seen.
    pub samples: u64,
    /// Days of history, or samples in days of one a minute when that is less. The bounds lie at 2x and (1/1.002)x of
    /// their percentiles at 1 day.
    pub days: f64,
}

/// What VPA would write into its status for a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The requests to set.
    pub target: Amounts,
    /// Below this, a pod is replaced.
    pub lower: Amounts,
    /// Above this, a pod is replaced.
    pub upper: Amounts,
    /// How far to trust it.
    pub confidence: Confidence,
}

/// What VPA remembers of a container over all its pods.
#[derive(Debug, Clone)]
pub struct Model {
    cpu: DecayingHistogram,
    memory: DecayingHistogram,
    first: Option<i64>,
    last: Option<i64>,
    samples: usize,
}

/// The memory window of one pod's container.
#[derive(Debug, Default)]
struct Peak {
    window_end: Option<i64>,
    last: i64,
    usage: f64,
    oom: f64,
}

impl Model {
    /// Learns from all samples of a container.
    pub fn of(container: &ContainerUsage) -> Self {
        let mut model = Self {
            cpu: DecayingHistogram::new(Buckets::cpu(), HALF_LIFE),
            memory: DecayingHistogram::new(Buckets::memory(), HALF_LIFE),
            first: None,
            last: None,
            samples: 0,
        };
        let request = container.requests.memory.unwrap_or(0.0);
        for pod in &container.pods {
            model.add_cpu(pod);
            model.add_memory(pod, request);
        }
        model
    }

    fn add_cpu(&mut self, pod: &PodUsage) {
        let mut before = i64::MIN;
        for sample in pod.cpu.iter().filter(|s| s.value >= 0.0) {
            if sample.at > before {
                self.cpu.add(sample.value, CPU_WEIGHT, sample.at);
                self.first = Some(self.first.map_or(sample.at, |first| first.min(sample.at)));
                self.last = Some(self.last.map_or(sample.at, |last| last.max(sample.at)));
                self.samples += 1;
                before = sample.at;
            }
        }
    }

    fn add_memory(&mut self, pod: &PodUsage, request: f64) {
        let mut peak = Peak::default();
        let mut ooms = pod.ooms.iter().peekable();
        for sample in pod.memory.iter().filter(|s| s.value >= 0.0) {
            while let Some(at) = ooms.next_if(|at| **at < sample.at) {
                self.add_oom(&mut peak, *at, request);
            }
            if sample.at >= peak.last {
                self.add_peak(&mut peak, sample.at, sample.value, false);
            }
        }
        for at in ooms {
            self.add_oom(&mut peak, *at, request);
        }
    }

    /// Counts a kill for memory, unless it lies before the current window. The peak of an earlier
    /// kill is left out, so that repeated kills do not drive each other up.
    fn add_oom(&mut self, peak: &mut Peak, at: i64, request: f64) {
        if peak
            .window_end
            .is_some_and(|end| at < end - MEMORY_INTERVAL)
        {
            return;
        }
        let used = request.max(peak.usage);
        self.add_peak(peak, at, (used + OOM_BYTES).max(used * OOM_RATIO), true);
    }

    fn add_peak(&mut self, peak: &mut Peak, at: i64, value: f64, is_oom: bool) {
        peak.last = at;
        let end = *peak.window_end.get_or_insert(at);
        if at < end {
            let before = peak.usage.max(peak.oom);
            if before == 0.0 || value <= before {
                return;
            }
            self.memory.subtract(before, 1.0, end);
        } else {
            peak.window_end =
                Some(end + (at - end) / MEMORY_INTERVAL * MEMORY_INTERVAL + MEMORY_INTERVAL);
            (peak.usage, peak.oom) = (0.0, 0.0);
        }
        self.memory.add(value, 1.0, peak.window_end.unwrap_or(at));
        *(if is_oom {
            &mut peak.oom
        } else {
            &mut peak.usage
        }) = value;
    }

    /// Percentile of both resources with the safety margin.
    fn percentile(&self, share: f64) -> Amounts {
        let cpu = whole(self.cpu.percentile(share) * 1000.0);
        let memory = whole(self.memory.percentile(share));
        Amounts {
            millicores: scaled(cpu, 1.0 + SAFETY_MARGIN),
            bytes: scaled(memory, 1.0 + SAFETY_MARGIN),
        }
    }

    /// Days of history, or of samples when a sample a minute is missing somewhere.
    fn confidence(&self) -> Confidence {
        let span = self
            .last
            .zip(self.first)
            .map_or(0, |(last, first)| last - first);
        let days = (seconds(span) / 86_400.0).min(count(self.samples) / 1440.0);
        Confidence {
            samples: whole(count(self.samples)),
            days,
        }
    }

    /// The recommendation for a pod of `containers` containers; `None` without a CPU sample, as in VPA.
    pub fn estimate(&self, containers: usize, policy: &Policy) -> Option<Estimate> {
        if self.samples == 0 {
            return None;
        }
        let confidence = self.confidence();
        let least = Amounts {
            millicores: scaled(MIN_MILLICORES, 1.0 / count(containers.max(1))),
            bytes: scaled(MIN_MEMORY, 1.0 / count(containers.max(1))),
        };
        let finish = |amounts: Amounts, factor: f64| Amounts {
            millicores: bounded(
                scaled(amounts.millicores, factor).max(least.millicores),
                policy.min.cpu,
                policy.max.cpu,
                1000.0,
            ),
            bytes: bounded(
                scaled(amounts.bytes, factor).max(least.bytes),
                policy.min.memory,
                policy.max.memory,
                1.0,
            ),
        };
        Some(Estimate {
            target: finish(self.percentile(TARGET_SHARE), 1.0),
            lower: finish(
                self.percentile(LOWER_SHARE),
                confidence_factor(confidence.days, 0.001, -2.0),
            ),
            upper: finish(
                self.percentile(UPPER_SHARE),
                confidence_factor(confidence.days, 1.0, 1.0),
            ),
            confidence,
        })
    }
}

/// `(1 + multiplier / confidence) ^ exponent`: VPA widens the bounds of a young history. The upper
/// bound has multiplier 1 and exponent 1, the lower one 0.001 and -2.
pub fn confidence_factor(days: f64, multiplier: f64, exponent: f64) -> f64 {
    (1.0 + multiplier / days).powf(exponent)
}

/// VPA's amounts are whole and end at 10^14.
fn scaled(amount: u64, factor: f64) -> u64 {
    const MOST: f64 = 1e14;
    let value = usage::seconds(i64::try_from(amount).unwrap_or(i64::MAX)) * factor;
    if value.is_nan() {
        0
    } else {
        whole(value.min(MOST))
    }
}

fn bounded(amount: u64, min: Option<f64>, max: Option<f64>, unit: f64) -> u64 {
    let amount = amount.max(min.map_or(0, |min| whole((min * unit).ceil())));
    amount.min(max.map_or(u64::MAX, |max| whole((max * unit).floor())))
}

/// Whether VPA's updater would replace a pod with these requests: outside the bounds, or 10 % off
/// the target (summed over both resources).
pub fn needs_update(requests: &usage::Resources, estimate: &Estimate) -> bool {
    let Estimate {
        target,
        lower,
        upper,
        ..
    } = estimate;
    let (Some(cpu), Some(memory)) = (requests.cpu, requests.memory) else {
        return true;
    };
    let (cpu, memory) = (whole((cpu * 1000.0).round()), whole(memory));
    let inside = (lower.millicores..=upper.millicores).contains(&cpu)
        && (lower.bytes..=upper.bytes).contains(&memory);
    let off = |requested: u64, target: u64| {
        let requested = usage::seconds(i64::try_from(requested.max(1)).unwrap_or(i64::MAX));
        (requested - usage::seconds(i64::try_from(target).unwrap_or(i64::MAX))).abs() / requested
    };
    !inside || off(cpu, target.millicores) + off(memory, target.bytes) >= UPDATE_THRESHOLD
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use usage::{Resources, Sample};

    use super::*;

    const MIB: f64 = 1_048_576.0;
    /// 2017-04-18 17:35:05, the time of VPA's own container tests.
    const T0: i64 = 1_492_536_905;

    fn container(
        cpu: &[(i64, f64)],
        memory: &[(i64, f64)],
        ooms: &[i64],
        request: f64,
    ) -> ContainerUsage {
        let samples = |values: &[(i64, f64)]| {
            values
                .iter()
                .map(|(at, value)| Sample {
                    at: T0 + at,
                    value: *value,
                })
                .collect()
        };
        let pod = PodUsage {
            pod: "pod-1".into(),
            cpu: samples(cpu),
            memory: samples(memory),
            ooms: ooms.iter().map(|at| T0 + at).collect(),
            ..PodUsage::default()
        };
        ContainerUsage {
            name: "app".into(),
            requests: Resources {
                cpu: None,
                memory: Some(request),
            },
            pods: vec![pod],
            ..ContainerUsage::default()
        }
    }

    /// The memory peaks as the buckets that hold weight.
    fn holds(model: &Model, peaks: &[(f64, i64)]) -> bool {
        let mut expected = DecayingHistogram::new(Buckets::memory(), HALF_LIFE);
        for (value, at) in peaks {
            expected.add(*value, 1.0, T0 + at);
        }
        (0..=100).all(|p| {
            model.memory.percentile(f64::from(p) / 100.0)
                == expected.percentile(f64::from(p) / 100.0)
        })
    }

    const DAY: i64 = 86_400;

    #[test]
    fn one_peak_counts_per_day() {
        // autoscaler, container_test.go, TestAggregateContainerUsageSamples: 5, 10 in one window, 2 in the next.
        let half = DAY / 2;
        let model = Model::of(&container(
            &[],
            &[(0, 5e8), (half, 10e8), (2 * half, 2e8)],
            &[],
            0.0,
        ));
        assert!(holds(&model, &[(10e8, DAY), (2e8, 2 * DAY)]));
    }

    #[test]
    fn a_kill_for_memory_counts_as_a_larger_peak() {
        // autoscaler, container_test.go, TestRecordOOMIncreasedByBumpUp, ...IncreasedByMin, ...MaxedWithKnownSample.
        assert!(holds(
            &Model::of(&container(&[], &[], &[0], 1000.0 * MIB)),
            &[(1200.0 * MIB, DAY)]
        ));
        assert!(holds(
            &Model::of(&container(&[], &[], &[0], MIB)),
            &[(101.0 * MIB, DAY)]
        ));
        assert!(holds(
            &Model::of(&container(&[], &[(0, 3000.0 * MIB)], &[0], 1000.0 * MIB)),
            &[(3600.0 * MIB, DAY)]
        ));
    }

    #[test]
    fn repeated_kills_do_not_run_away() {
        // autoscaler, container_test.go, TestRecordOOMDontRunAway; issue 9521 is the endless case.
        let model = Model::of(&container(&[], &[], &[0, 60, 120, 180], 1000.0 * MIB));
        assert!(holds(&model, &[(1200.0 * MIB, DAY)]));
    }

    #[test]
    fn a_kill_in_a_later_window_opens_it() {
        // autoscaler, container_test.go, TestRecordOOMInNewWindow.
        let model = Model::of(&container(
            &[],
            &[(0, 2000.0 * MIB)],
            &[2 * DAY],
            1000.0 * MIB,
        ));
        assert!(holds(
            &model,
            &[(2000.0 * MIB, DAY), (2400.0 * MIB, 3 * DAY)]
        ));
    }

    #[test]
    fn the_confidence_factor_of_vpas_own_test() {
        // autoscaler, estimator_test.go, TestConfidenceMultiplier: 9 samples, 3.14 * (1 + 0.1/0.00625)^2 = 907.46.
        let cpu: Vec<_> = (0..9).map(|i| (i * 120, 1.0)).collect();
        let days = Model::of(&container(&cpu, &[], &[], 0.0)).confidence().days;
        assert_eq!(days, 0.00625);
        assert_eq!(scaled(3140, confidence_factor(days, 0.1, 2.0)), 907_460);
        // ...WithCustomInterval: confidence 0.5 gives 4.5216, cut to millicores.
        assert_eq!(scaled(3140, confidence_factor(0.5, 0.1, 2.0)), 4521);
        assert_eq!(
            scaled(3140, confidence_factor(0.0, 1.0, 1.0)),
            100_000_000_000_000
        );
        assert_eq!(scaled(3140, confidence_factor(0.0, 1.0, -1.0)), 0);
    }

    #[test]
    fn a_steady_container_by_hand() {
        // A day of 0.1 cores, a sample a minute: bucket of 0.1 is 8 (0.0955..0.1103), its end 0.11027;
        // x 1.15 = 126 m. One peak of 300 MiB lies in the bucket that ends at 330,659,541 B (number 19); x 1.15.
        // Confidence: span 1439 min = 0.99931 days; upper = 126 x 2.00069, lower = 126 x 1.0010007^-2.
        let cpu: Vec<_> = (0..1440).map(|i| (i * 60, 0.1)).collect();
        let memory: Vec<_> = (0..1440).map(|i| (i * 60, 300.0 * MIB)).collect();
        let estimate = Model::of(&container(&cpu, &memory, &[], 0.0))
            .estimate(1, &Policy::default())
            .unwrap();
        assert_eq!(
            (
                estimate.target.millicores,
                estimate.lower.millicores,
                estimate.upper.millicores
            ),
            (126, 125, 252)
        );
        let end = 1e7 * (1.05_f64.powi(20) - 1.0) / 0.05;
        assert_eq!(estimate.target.bytes, whole(end.floor() * 1.15));
    }

    #[test]
    fn the_least_is_shared_by_the_containers_of_a_pod_and_the_policy_wins() {
        let model = Model::of(&container(&[(0, 0.0), (60, 0.0)], &[(0, 1e6)], &[], 0.0));
        let one = model.estimate(1, &Policy::default()).unwrap().target;
        assert_eq!(
            one,
            Amounts {
                millicores: 25,
                bytes: 250 * 1_048_576
            }
        );
        assert_eq!(
            model.estimate(2, &Policy::default()).unwrap().target,
            Amounts {
                millicores: 12,
                bytes: 125 * 1_048_576
            }
        );
        let policy = Policy {
            min: Resources {
                cpu: Some(0.05),
                memory: None,
            },
            max: Resources {
                cpu: None,
                memory: Some(64.0 * MIB),
            },
        };
        assert_eq!(
            model.estimate(1, &policy).unwrap().target,
            Amounts {
                millicores: 50,
                bytes: 64 * 1_048_576
            }
        );
    }

    #[test]
    fn nothing_is_recommended_without_a_cpu_sample() {
        assert_eq!(
            Model::of(&container(&[], &[(0, 1e9)], &[], 0.0)).estimate(1, &Policy::default()),
            None
        );
    }

    #[test]
    fn the_updater_acts_outside_the_bounds_or_ten_percent_off() {
        let amounts = |millicores, bytes| Amounts { millicores, bytes };
        let estimate = Estimate {
            target: amounts(100, 1000),
            lower: amounts(50, 500),
            upper: amounts(200, 2000),
            confidence: Confidence {
                samples: 1,
                days: 1.0,
            },
        };
        let update = |cpu: f64, memory: f64| {
            needs_update(
                &Resources {
                    cpu: Some(cpu),
                    memory: Some(memory),
                },
                &estimate,
            )
        };
        assert!(!update(0.105, 1000.0));
        assert!(!update(0.100, 1050.0));
        assert!(update(0.112, 1000.0));
        assert!(update(0.105, 1060.0));
        assert!(update(0.049, 1000.0));
        assert!(update(0.100, 2001.0));
        assert!(needs_update(&Resources::default(), &estimate));
    }
}
