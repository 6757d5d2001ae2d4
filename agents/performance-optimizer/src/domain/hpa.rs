//! The algorithm of the Kubernetes Horizontal Pod Autoscaler (HPA) for a CPU utilization target.
//!
//! From Kubernetes 1.36 `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go` and
//! the manual page "Horizontal Pod Autoscaling", section "Algorithm details".

use std::collections::VecDeque;

/// No change while the ratio of utilization to target lies this close to 1 (`--horizontal-pod-autoscaler-tolerance`).
pub const TOLERANCE: f64 = 0.1;
/// Seconds between two decisions (`--horizontal-pod-autoscaler-sync-period`).
pub const SYNC: i64 = 15;
/// Scaling down follows the largest recommendation of this many seconds (`--horizontal-pod-autoscaler-downscale-stabilization`).
pub const STABILIZATION: i64 = 300;
/// One decision at most doubles the replicas, or goes to this many (`scaleUpLimitFactor`, `scaleUpLimitMinimum`).
pub const UP_LIMIT: u32 = 4;

/// Pods in one condition, summed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pods {
    /// How many.
    pub count: u32,
    /// Sum of their requests, millicores.
    pub requests: f64,
    /// Sum of their usage, millicores; only read of ready pods.
    pub usage: f64,
}

/// What the controller sees of a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observed {
    /// Ready, with metrics.
    pub ready: Pods,
    /// Not ready yet: count as idle when scaling up.
    pub unready: Pods,
    /// Ready but without metrics: count as idle when scaling up, as on target (or at the full request) when scaling down.
    pub missing: Pods,
}

/// Replicas that the controller wants before stabilization and limits.
pub fn desired(observed: &Observed, target_percent: u32) -> u32 {
    let Observed {
        ready,
        unready,
        missing,
    } = observed;
    let current = ready.count + unready.count + missing.count;
    let target = f64::from(target_percent);
    if ready.requests <= 0.0 || target <= 0.0 {
        return current;
    }
    let ratio = percent(ready.usage, ready.requests) / target;
    let unready_matters = unready.count > 0 && ratio > 1.0;
    if !unready_matters && missing.count == 0 {
        return if within_tolerance(ratio) {
            current
        } else {
            ceil(ratio * f64::from(ready.count))
        };
    }
    let (mut usage, mut requests, mut counted) = (ready.usage, ready.requests, ready.count);
    let on_target = (ratio - 1.0).abs() < f64::EPSILON;
    if missing.count > 0 && !on_target {
        usage += if ratio < 1.0 {
            missing.requests * target.max(100.0) / 100.0
        } else {
            0.0
        };
        requests += missing.requests;
        counted += missing.count;
    }
    if unready_matters {
        requests += unready.requests;
        counted += unready.count;
    }
    let rebalanced = percent(usage, requests) / target;
    let flipped = (ratio < 1.0 && rebalanced > 1.0) || (ratio > 1.0 && rebalanced < 1.0);
    let replicas = ceil(rebalanced * f64::from(counted));
    let wrong_way =
        (rebalanced < 1.0 && replicas > current) || (rebalanced > 1.0 && replicas < current);
    if within_tolerance(rebalanced) || flipped || wrong_way {
        current
    } else {
        replicas
    }
}

/// Utilization in whole percent, cut, as the controller computes it.
fn percent(usage: f64, requests: f64) -> f64 {
    (usage * 100.0 / requests).trunc()
}

fn within_tolerance(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

fn ceil(replicas: f64) -> u32 {
    u32::try_from(usage::whole(replicas.ceil())).unwrap_or(u32::MAX)
}

/// An autoscaler as its object describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Replicas at least.
    pub min: u32,
    /// Replicas at most.
    pub max: u32,
    /// Average CPU utilization to hold, in percent of the request.
    pub target_percent: u32,
}

/// The controller's memory: its recommendations within the stabilization window.
#[derive(Debug, Clone, Default)]
pub struct Controller {
    recommended: VecDeque<(i64, u32)>,
}

impl Controller {
    /// Decides at time `now`: recommendation, stabilization, limits.
    pub fn decide(&mut self, now: i64, observed: &Observed, settings: &Settings) -> u32 {
        let current = observed.ready.count + observed.unready.count + observed.missing.count;
        let desired = desired(observed, settings.target_percent);
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| *at < now - STABILIZATION)
        {
            self.recommended.pop_front();
        }
        while self
            .recommended
            .back()
            .is_some_and(|(_, replicas)| *replicas <= desired)
        {
            self.recommended.pop_back();
        }
        self.recommended.push_back((now, desired));
        let stabilized = self
            .recommended
            .front()
            .map_or(desired, |(_, largest)| *largest);
        let up_limit = current.saturating_mul(2).max(UP_LIMIT);
        stabilized
            .min(up_limit)
            .clamp(settings.min, settings.max.max(settings.min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods of one core each with these usages in millicores.
    fn pods(usages: &[u32]) -> Pods {
        Pods {
            count: u32::try_from(usages.len()).unwrap(),
            requests: 1000.0 * usage::count(usages.len()),
            usage: usages.iter().map(|u| f64::from(*u)).sum(),
        }
    }

    fn ready(usages: &[u32], target: u32) -> u32 {
        desired(
            &Observed {
                ready: pods(usages),
                ..Observed::default()
            },
            target,
        )
    }

    #[test]
    fn the_examples_of_the_manual() {
        // "if the current metric value is 200m, and the desired value is 100m, the number of
        // replicas will be doubled [...] If the current value is instead 50m, you'll halve".
        let requests = Pods {
            count: 4,
            requests: 400.0,
            usage: 0.0,
        };
        let at = |usage: f64| {
            desired(
                &Observed {
                    ready: Pods {
                        usage: usage * 4.0,
                        ..requests
                    },
                    ..Observed::default()
                },
                100,
            )
        };
        assert_eq!((at(200.0), at(50.0)), (8, 2));
        // The walkthrough: one php-apache pod at 305 % of its request, target 50 %, becomes 7.
        assert_eq!(
            desired(
                &Observed {
                    ready: Pods {
                        count: 1,
                        requests: 200.0,
                        usage: 610.0
                    },
                    ..Observed::default()
                },
                50
            ),
            7
        );
    }

    /// The same with some of the pods unready or without metrics.
    fn partly(usages: &[u32], unready: usize, missing: usize, target: u32) -> u32 {
        let without = |number: usize| Pods {
            usage: 0.0,
            ..pods(&vec![0; number])
        };
        let observed = Observed {
            ready: pods(usages),
            unready: without(unready),
            missing: without(missing),
        };
        desired(&observed, target)
    }

    #[test]
    fn the_cases_of_the_controllers_own_tests() {
        // kubernetes, replica_calculator_test.go: ScaleUp, ScaleDown, Tolerance.
        assert_eq!(ready(&[300, 500, 700], 30), 5);
        assert_eq!(ready(&[100, 300, 500, 250, 250], 50), 3);
        assert_eq!(ready(&[1010, 1030, 1020], 100), 3);
        // ScaleUpUnreadyLessScale: 3 pods, one unready. ScaleUpUnreadyNoScale: on target, two unready.
        assert_eq!(partly(&[500, 700], 1, 0, 30), 4);
        assert_eq!(partly(&[400], 2, 0, 40), 3);
        // MissingMetricsNoChangeEq, ...Gt, ...Lt: 2 pods, one without metrics.
        assert_eq!(partly(&[1000], 0, 1, 100), 2);
        assert_eq!(partly(&[1900], 0, 1, 100), 2);
        assert_eq!(partly(&[600], 0, 1, 100), 2);
    }

    #[test]
    fn the_tolerance_holds_at_its_edges() {
        assert_eq!((ready(&[550, 550], 50), ready(&[560, 560], 50)), (2, 3));
        assert_eq!(
            (ready(&[450, 450, 450], 50), ready(&[330, 330, 330], 50)),
            (3, 2)
        );
    }

    #[test]
    fn scaling_down_waits_for_the_stabilization_window() {
        let settings = Settings {
            min: 1,
            max: 10,
            target_percent: 50,
        };
        let mut controller = Controller::default();
        let busy = Observed {
            ready: pods(&[500, 500, 500, 500]),
            ..Observed::default()
        };
        let idle = Observed {
            ready: pods(&[100, 100, 100, 100]),
            ..Observed::default()
        };
        assert_eq!(controller.decide(0, &busy, &settings), 4);
        assert_eq!(controller.decide(300, &idle, &settings), 4);
        assert_eq!(controller.decide(315, &idle, &settings), 1);
    }

    #[test]
    fn one_decision_doubles_at_most() {
        let settings = Settings {
            min: 1,
            max: 100,
            target_percent: 10,
        };
        let mut controller = Controller::default();
        assert_eq!(
            controller.decide(
                0,
                &Observed {
                    ready: pods(&[2000]),
                    ..Observed::default()
                },
                &settings
            ),
            4
        );
        assert_eq!(
            controller.decide(
                15,
                &Observed {
                    ready: pods(&[2000; 8]),
                    ..Observed::default()
                },
                &settings
            ),
            16
        );
    }
}
