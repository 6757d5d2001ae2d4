//! By how much requests may be cut.

use usage::{ContainerUsage, Resources, quantity};

/// Cuts smaller than this are not worth a rollout (OSSA reference manifest of cost-analyzer: right-size by 30 to 50 %).
pub const MIN_REDUCTION: f64 = 0.3;
/// One step cuts no more than this (the same manifest); what is left is cut after another week of data.
pub const MAX_REDUCTION: f64 = 0.5;
/// Room above the 99th percentile of CPU and the largest memory peak (VPA and KRR: 15 %).
pub const HEADROOM: f64 = 0.15;
/// Requests never fall below this many cores (KRR: 10 m).
pub const LEAST_CORES: f64 = 0.01;
/// Requests never fall below this many bytes (KRR: 100 MB).
pub const LEAST_BYTES: f64 = 100e6;

/// How far to cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutRule {
    /// Smallest cut, 0 to 1.
    pub min: f64,
    /// Largest cut, 0 to 1.
    pub max: f64,
    /// Room above what was used.
    pub headroom: f64,
}

impl Default for CutRule {
    fn default() -> Self {
        Self {
            min: MIN_REDUCTION,
            max: MAX_REDUCTION,
            headroom: HEADROOM,
        }
    }
}

/// A cut: requests of the resources that are cut, in whole millicores and mebibytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// New requests; `None` where a resource stays.
    pub requests: Resources,
    /// What the requests would be without a largest cut.
    pub floor: Resources,
}

impl Cut {
    /// Cores and bytes that become free.
    pub fn freed(&self, current: &Resources) -> Resources {
        let less = |old: Option<f64>, new: Option<f64>| old.zip(new).map(|(old, new)| old - new);
        Resources {
            cpu: less(current.cpu, self.requests.cpu),
            memory: less(current.memory, self.requests.memory),
        }
    }

    /// Whether even less would do.
    pub fn goes_on(&self) -> bool {
        let lower = |floor: Option<f64>, new: Option<f64>| {
            floor
                .zip(new)
                .is_some_and(|(floor, new)| floor < new * 0.99)
        };
        lower(self.floor.cpu, self.requests.cpu) || lower(self.floor.memory, self.requests.memory)
    }

    /// Half the cut; `None` when too little is left of it.
    #[must_use]
    pub fn halved(&self, current: &Resources, rule: &CutRule) -> Option<Self> {
        let half = |old: Option<f64>, new: Option<f64>| {
            old.zip(new).map(|(old, new)| f64::midpoint(old, new))
        };
        let requests = Resources {
            cpu: worth(
                current.cpu,
                half(current.cpu, self.requests.cpu).map(whole_millicores),
                rule,
            ),
            memory: worth(
                current.memory,
                half(current.memory, self.requests.memory).map(whole_mebibytes),
                rule,
            ),
        };
        (requests != Resources::default()).then_some(Self { requests, ..*self })
    }
}

/// The cut for a container: down to p99 of CPU and the largest memory peak, each with headroom, but
/// by no more than the rule's largest cut; `None` for what that cuts by less than the smallest.
pub fn propose(container: &ContainerUsage, rule: &CutRule) -> Option<Cut> {
    let ContainerUsage { requests, .. } = container;
    let floor = Resources {
        cpu: percentile(container.cpu().collect(), 0.99)
            .map(|p99| (p99 * (1.0 + rule.headroom)).max(LEAST_CORES)),
        memory: percentile(container.memory().collect(), 1.0)
            .map(|max| (max * (1.0 + rule.headroom)).max(LEAST_BYTES)),
    };
    let cut = |current: Option<f64>, floor: Option<f64>| {
        current.zip(floor).map(|(c, f)| f.max(c * (1.0 - rule.max)))
    };
    let cut = Resources {
        cpu: worth(
            requests.cpu,
            cut(requests.cpu, floor.cpu).map(whole_millicores),
            rule,
        ),
        memory: worth(
            requests.memory,
            cut(requests.memory, floor.memory).map(whole_mebibytes),
            rule,
        ),
    };
    (cut != Resources::default()).then_some(Cut {
        requests: cut,
        floor,
    })
}

/// Keeps a new request when it cuts enough.
fn worth(current: Option<f64>, new: Option<f64>, rule: &CutRule) -> Option<f64> {
    new.zip(current)
        .filter(|(new, current)| *current > 0.0 && 1.0 - new / current >= rule.min - 1e-9)
        .map(|(new, _)| new)
}

/// Nearest rank.
fn percentile(mut samples: Vec<f64>, share: f64) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let rank = usage::whole((share * usage::count(samples.len())).ceil()).max(1);
    samples.get(usize::try_from(rank - 1).ok()?).copied()
}

/// Rounded up to what a quantity in millicores can say.
fn whole_millicores(cores: f64) -> f64 {
    quantity::parse(&quantity::cpu(cores)).unwrap_or(cores)
}

/// Rounded up to what a quantity in mebibytes can say.
fn whole_mebibytes(bytes: f64) -> f64 {
    quantity::parse(&quantity::memory(bytes)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cost::tests::namespace;

    const MIB: f64 = 1_048_576.0;

    fn container(cpu: f64, memory: f64) -> ContainerUsage {
        let requests = Resources {
            cpu: Some(1.0),
            memory: Some(1000.0 * MIB),
        };
        let usage = namespace(&[cpu; 200], &[memory * MIB; 200], requests);
        usage.workloads[0].containers[0].clone()
    }

    fn cut(cpu: f64, memory: f64) -> Option<(Option<String>, Option<String>)> {
        let cut = propose(&container(cpu, memory), &CutRule::default())?;
        Some((
            cut.requests.cpu.map(quantity::cpu),
            cut.requests.memory.map(quantity::memory),
        ))
    }

    #[test]
    fn one_step_cuts_half_at_most_and_less_than_a_third_not_at_all() {
        assert_eq!(
            cut(0.01, 10.0),
            Some((Some("500m".into()), Some("500Mi".into())))
        );
        // 0.6 x 1.15 = 690m: a cut of 31 %. 0.61 x 1.15 = 702m: 29.8 %, not worth it.
        assert_eq!(cut(0.6, 900.0), Some((Some("690m".into()), None)));
        assert_eq!(cut(0.61, 900.0), None);
        // 600 x 1.15 = 690Mi.
        assert_eq!(cut(0.9, 600.0), Some((None, Some("690Mi".into()))));
    }

    #[test]
    fn cpu_follows_p99_and_memory_the_largest_peak() {
        let mut container = container(0.1, 100.0);
        container.pods[0].cpu[0].value = 5.0;
        container.pods[0].memory[0].value = 600.0 * MIB;
        let cut = propose(&container, &CutRule::default()).unwrap();
        assert_eq!(
            cut.requests.cpu,
            Some(0.5),
            "one sample in 200 is above p99"
        );
        assert_eq!(
            cut.requests.memory.map(quantity::memory).as_deref(),
            Some("690Mi")
        );
    }

    #[test]
    fn halving_a_cut_ends_below_the_smallest() {
        let (rule, current) = (CutRule::default(), container(0.0, 0.0).requests);
        let cut = propose(&container(0.1, 900.0), &rule).unwrap();
        assert!(cut.goes_on());
        assert_eq!(
            cut.halved(&current, &rule),
            None,
            "half of 50 % is less than 30 %"
        );
        let rule = CutRule { min: 0.1, ..rule };
        let half = cut.halved(&current, &rule).unwrap();
        assert_eq!(
            (half.requests.cpu, half.requests.memory),
            (Some(0.75), None)
        );
        assert_eq!(half.freed(&current).cpu, Some(0.25));
    }

    #[test]
    fn nothing_is_cut_below_the_least() {
        let rule = CutRule {
            max: 1.0,
            ..CutRule::default()
        };
        let cut = propose(&container(0.0, 1.0), &rule).unwrap();
        assert_eq!(
            (cut.requests.cpu, cut.requests.memory.map(quantity::memory)),
            (Some(0.01), Some("96Mi".into()))
        );
    }

    #[test]
    fn more_use_never_cuts_more() {
        let of = |i: u32| {
            propose(&container(f64::from(i) / 100.0, 900.0), &CutRule::default())
                .and_then(|c| c.requests.cpu)
                .unwrap_or(1.0)
        };
        assert!((1..100).map(of).collect::<Vec<_>>().is_sorted());
    }
}
