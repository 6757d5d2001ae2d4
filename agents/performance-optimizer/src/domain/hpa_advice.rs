//! Settings for an autoscaler from a recorded load, and a replay of that load under them.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::{ContainerUsage, Sample, seconds, whole};

use super::{
    distribution::{nearest_rank, round},
    hpa::{Controller, Observed, Pods, SYNC, Settings},
};

/// Seconds that a metric is old when the controller reads it: metrics-server scrapes every 15 s and
/// averages over its last two scrapes, so a change is half seen after 15 s and fully after 30 s.
pub const METRIC_AGE: i64 = 30;
/// Utilization of the request that counts as saturated: 90 %, the rest is for bursts shorter than a step.
pub const SATURATION: f64 = 0.9;
/// Fewest samples for advice: those of KRR's simple strategy.
pub const MIN_SAMPLES: usize = 100;
/// Replicas at least when the caller does not say: two survive the loss of a node.
pub const DEFAULT_MIN_REPLICAS: u32 = 2;
/// Most replicas that are ever advised.
pub const MOST_REPLICAS: u32 = 1_000;

/// CPU that a workload used in all its pods together.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Cores at each point in time.
    pub cores: Vec<Sample>,
    /// Pods at each point in time.
    pub replicas: BTreeMap<i64, u32>,
    /// Cores that a pod requests.
    pub request: f64,
    /// Seconds between points.
    pub step: i64,
}

impl Load {
    /// Adds the containers of a workload up. `None` when one of them has no CPU request: an
    /// autoscaler has then no utilization to hold.
    pub fn of(containers: &[ContainerUsage], step: i64) -> Option<Self> {
        let request = containers
            .iter()
            .map(|c| c.requests.cpu.filter(|r| *r > 0.0))
            .sum::<Option<f64>>()?;
        let mut cores = BTreeMap::<i64, f64>::new();
        for sample in containers.iter().flat_map(|c| &c.pods).flat_map(|p| &p.cpu) {
            *cores.entry(sample.at).or_default() += sample.value;
        }
        let replicas = containers
            .iter()
            .map(ContainerUsage::replicas)
            .max_by_key(BTreeMap::len)?;
        let cores = cores
            .into_iter()
            .map(|(at, value)| Sample { at, value })
            .collect();
        Some(Self {
            cores,
            replicas,
            request,
            step,
        })
    }

    /// Load at a time: what the step that contains it used on average.
    fn at(&self, time: i64) -> Option<f64> {
        let index = self.cores.partition_point(|s| s.at < time);
        self.cores
            .get(index)
            .filter(|s| s.at - time < self.step)
            .map(|s| s.value)
    }

    /// Load at a time, on the line between the two points around it.
    fn between(&self, time: i64) -> Option<f64> {
        let index = self.cores.partition_point(|s| s.at < time);
        let after = self.cores.get(index)?;
        let before = self.cores.get(index.checked_sub(1)?)?;
        let span = after.at - before.at;
        (span == self.step).then(|| {
            before.value + (after.value - before.value) * seconds(time - before.at) / seconds(span)
        })
    }
}

/// What the caller wants to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wishes {
    /// Replicas at least.
    pub min_replicas: u32,
    /// Replicas at most, for example a quota.
    pub max_replicas: Option<u32>,
    /// Seconds from a new pod to readiness.
    pub ready_seconds: i64,
}

/// Advice with its reasons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Advice {
    /// The settings.
    pub settings: Settings,
    /// Seconds from a rise in load to a pod that takes it.
    pub lead_seconds: i64,
    /// 99th percentile of the growth of the load within that time.
    pub growth: f64,
    /// Replicas that the largest loads need, before `max_replicas`.
    pub needed_max: u32,
}

/// No advice is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAdvice {
    /// The history is too short.
    #[error("needs at least {MIN_SAMPLES} samples, has {0}")]
    TooFewSamples(usize),
    /// Nothing ran.
    #[error("used no cpu")]
    NoLoad,
}

/// Chooses settings:
/// - lead = metric age + one decision + time to readiness;
/// - growth = 99th percentile over history of `load(t + lead) / load(t)`;
/// - target = saturation / growth: load that rises while a pod starts does not saturate the others;
/// - min = what the 5th percentile of load needs at the target, but not below the caller's;
/// - max = what the 99.9th percentile, grown, needs at the target.
///
/// # Errors
/// A history that is too short or empty.
pub fn advise(load: &Load, wishes: &Wishes) -> Result<Advice, NoAdvice> {
    if load.cores.len() < MIN_SAMPLES {
        return Err(NoAdvice::TooFewSamples(load.cores.len()));
    }
    let mut sorted: Vec<f64> = load.cores.iter().map(|s| s.value).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.last().is_none_or(|largest| *largest <= 0.0) {
        return Err(NoAdvice::NoLoad);
    }
    let lead_seconds = METRIC_AGE + SYNC + wishes.ready_seconds;
    let growth = growth(load, lead_seconds);
    let target_percent = u32::try_from(whole(SATURATION / growth * 100.0))
        .unwrap_or(90)
        .clamp(10, 90);
    let capacity = load.request * f64::from(target_percent) / 100.0;
    let replicas = |cores: f64| {
        u32::try_from(whole((cores / capacity - 1e-9).ceil()))
            .unwrap_or(MOST_REPLICAS)
            .clamp(1, MOST_REPLICAS)
    };
    let min = replicas(nearest_rank(&sorted, 0.05)).max(wishes.min_replicas);
    let needed_max = replicas(nearest_rank(&sorted, 0.999) * growth);
    let max = needed_max
        .max(min)
        .min(wishes.max_replicas.unwrap_or(MOST_REPLICAS));
    Ok(Advice {
        settings: Settings {
            min: min.min(max),
            max,
            target_percent,
        },
        lead_seconds,
        growth,
        needed_max,
    })
}

/// 99th percentile of the growth `within` so many seconds, at least 1. Loads below a hundredth of a
/// core are left out: their ratios say nothing.
fn growth(load: &Load, within: i64) -> f64 {
    let ratio = |s: &Sample| {
        (s.value >= 0.01)
            .then(|| load.between(s.at + within).map(|later| later / s.value))
            .flatten()
    };
    let mut ratios: Vec<f64> = load.cores.iter().filter_map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    nearest_rank(&ratios, 0.99).max(1.0)
}

/// What a replay of the load counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Seconds in which the load was above what all ready pods request.
    pub under_provisioned_seconds: i64,
    /// Pods times hours.
    pub replica_hours: f64,
    /// Most pods at once.
    pub peak_replicas: u32,
    /// How often the number of pods was changed.
    pub changes: u32,
}

/// Plays the recorded load to an autoscaler with these settings, a decision every 15 s: metrics
/// arrive late, new pods become ready late, the load spreads evenly over ready pods.
pub fn replay(load: &Load, settings: &Settings, ready_seconds: i64) -> Replay {
    let (Some(first), Some(last)) = (load.cores.first(), load.cores.last()) else {
        return Replay::default();
    };
    let mut controller = Controller::default();
    let mut ready = settings
        .min
        .max(
            load.replicas
                .first_key_value()
                .map_or(0, |(_, n)| *n)
                .min(settings.max),
        )
        .max(1);
    let mut starting: VecDeque<(i64, u32)> = VecDeque::new();
    let mut tally = Tally::default();
    let mut now = first.at - load.step + SYNC;
    while now <= last.at {
        while starting.front().is_some_and(|(at, _)| *at <= now) {
            ready += starting.pop_front().map_or(0, |(_, n)| n);
        }
        let unready: u32 = starting.iter().map(|(_, n)| n).sum();
        if let Some(actual) = load.at(now) {
            let seen = load.at(now - METRIC_AGE).unwrap_or(actual);
            tally.count(SYNC, ready + unready, is_short(actual, ready, load.request));
            let wanted = controller.decide(now, &observed(load, seen, ready, unready), settings);
            resize(wanted, &mut ready, &mut starting, now + ready_seconds);
        }
        now += SYNC;
    }
    tally.finish()
}

fn observed(load: &Load, cores: f64, ready: u32, unready: u32) -> Observed {
    let requests = |count: u32| f64::from(count) * load.request * 1000.0;
    Observed {
        ready: Pods {
            count: ready,
            requests: requests(ready),
            usage: cores * 1000.0,
        },
        unready: Pods {
            count: unready,
            requests: requests(unready),
            usage: 0.0,
        },
        missing: Pods::default(),
    }
}

fn is_short(cores: f64, ready: u32, request: f64) -> bool {
    cores > f64::from(ready) * request + 1e-9
}

/// Sums in whole seconds.
#[derive(Debug, Default)]
struct Tally {
    replay: Replay,
    replica_seconds: i64,
    before: Option<u32>,
}

impl Tally {
    fn count(&mut self, seconds: i64, replicas: u32, is_short: bool) {
        self.replay.under_provisioned_seconds += if is_short { seconds } else { 0 };
        self.replica_seconds += i64::from(replicas) * seconds;
        self.replay.peak_replicas = self.replay.peak_replicas.max(replicas);
        self.replay.changes += u32::from(self.before.is_some_and(|n| n != replicas));
        self.before = Some(replicas);
    }

    fn finish(self) -> Replay {
        Replay {
            replica_hours: round(seconds(self.replica_seconds) / 3600.0, 2),
            ..self.replay
        }
    }
}

/// New pods start; pods go from those that start first, as a Deployment does.
fn resize(wanted: u32, ready: &mut u32, starting: &mut VecDeque<(i64, u32)>, ready_at: i64) {
    let unready: u32 = starting.iter().map(|(_, n)| n).sum();
    let current = *ready + unready;
    if wanted > current {
        starting.push_back((ready_at, wanted - current));
    }
    let mut surplus = current.saturating_sub(wanted);
    while surplus > 0 {
        let Some((_, newest)) = starting.back_mut() else {
            break;
        };
        let gone = surplus.min(*newest);
        *newest -= gone;
        surplus -= gone;
        if *newest == 0 {
            starting.pop_back();
        }
    }
    *ready -= surplus.min(*ready);
}

/// The recorded number of pods, counted the same way.
pub fn as_recorded(load: &Load) -> Replay {
    let mut tally = Tally::default();
    for sample in &load.cores {
        let replicas = load.replicas.get(&sample.at).copied().unwrap_or(0);
        tally.count(
            load.step,
            replicas,
            is_short(sample.value, replicas, load.request),
        );
    }
    tally.finish()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use super::*;

    const WISHES: Wishes = Wishes {
        min_replicas: 1,
        max_replicas: None,
        ready_seconds: 30,
    };

    fn load(cores: impl Fn(i64) -> f64, points: i64, replicas: u32) -> Load {
        let times = || (1..=points).map(|i| i * 60);
        Load {
            cores: times()
                .map(|at| Sample {
                    at,
                    value: cores(at),
                })
                .collect(),
            replicas: times().map(|at| (at, replicas)).collect(),
            request: 1.0,
            step: 60,
        }
    }

    #[test]
    fn a_steady_load_gets_the_saturation_as_target() {
        // 4.5 cores, one core a pod, 90 %: 5 pods exactly.
        let advice = advise(&load(|_| 4.5, 200, 9), &WISHES).unwrap();
        assert_eq!(
            advice.settings,
            Settings {
                min: 5,
                max: 5,
                target_percent: 90
            }
        );
        assert_eq!((advice.growth, advice.lead_seconds), (1.0, 75));
    }

    #[test]
    fn a_load_that_doubles_within_the_lead_gets_half_the_target() {
        // 1 and 2 cores in turns of one minute: 75 s after a low minute the load is between the
        // next high point and the low one after it: 2 - 15/60 = 1.75, so the target is 90 / 1.75 = 51.
        let advice = advise(
            &load(|at| if at / 60 % 2 == 0 { 1.0 } else { 2.0 }, 400, 5),
            &WISHES,
        )
        .unwrap();
        assert_eq!((advice.growth, advice.settings.target_percent), (1.75, 51));
        assert_eq!(advice.needed_max, 7, "2 cores x 1.75 / 0.51");
    }

    #[test]
    fn advice_keeps_the_callers_bounds() {
        let wishes = Wishes {
            min_replicas: 3,
            max_replicas: Some(4),
            ready_seconds: 30,
        };
        let advice = advise(&load(|_| 4.5, 200, 9), &wishes).unwrap();
        assert_eq!(
            (advice.settings.min, advice.settings.max, advice.needed_max),
            (4, 4, 5)
        );
    }

    #[test]
    fn no_advice_without_history_or_load() {
        assert_eq!(
            advise(&load(|_| 1.0, 99, 1), &WISHES),
            Err(NoAdvice::TooFewSamples(99))
        );
        assert_eq!(
            advise(&load(|_| 0.0, 200, 1), &WISHES),
            Err(NoAdvice::NoLoad)
        );
    }

    #[test]
    fn a_replay_of_a_steady_load_costs_what_it_needs() {
        let load = load(|_| 4.5, 600, 9);
        let replay = replay(
            &load,
            &Settings {
                min: 5,
                max: 9,
                target_percent: 90,
            },
            30,
        );
        assert_eq!(
            (replay.under_provisioned_seconds, replay.peak_replicas),
            (0, 9)
        );
        // 9 pods until the stabilization window has passed (it starts empty: at once), then 5 for 10 h.
        assert!(
            (replay.replica_hours - 50.0).abs() < 0.1,
            "{}",
            replay.replica_hours
        );
        assert_eq!(as_recorded(&load).replica_hours, 90.0);
    }

    #[test]
    fn a_jump_is_short_until_the_new_pods_are_ready() {
        // 1 core until 6000 s, then 3. Seen at 6000 + 30 + up to 15 s, ready 60 s later.
        let load = load(|at| if at <= 6000 { 1.0 } else { 3.0 }, 200, 2);
        let short = |ready| {
            replay(
                &load,
                &Settings {
                    min: 2,
                    max: 8,
                    target_percent: 50,
                },
                ready,
            )
            .under_provisioned_seconds
        };
        assert!((90..=105).contains(&short(60)), "{}", short(60));
        assert!(short(120) > short(60));
    }

    #[test]
    fn too_small_a_maximum_shows_as_under_provisioned() {
        let load = load(|_| 3.0, 200, 4);
        let replay = replay(
            &load,
            &Settings {
                min: 1,
                max: 2,
                target_percent: 50,
            },
            30,
        );
        assert_eq!(
            (replay.under_provisioned_seconds, replay.peak_replicas),
            (12_000, 2)
        );
    }

    #[test]
    fn starting_pods_go_first() {
        let (mut ready, mut starting) = (3, VecDeque::from([(10, 1), (20, 2)]));
        resize(4, &mut ready, &mut starting, 30);
        assert_eq!((ready, &starting), (3, &VecDeque::from([(10, 1)])));
        resize(1, &mut ready, &mut starting, 30);
        assert_eq!((ready, starting.len()), (1, 0));
        resize(6, &mut ready, &mut starting, 40);
        assert_eq!(starting, [(40, 5)]);
    }
}
