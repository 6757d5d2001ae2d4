use serde_json::Value;

use crate::domain::object::{int, text};

/// The numbers of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rollout {
    pub(super) replicas: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
    pub(super) recreate: bool,
    pub(super) paused: bool,
    pub(super) history: usize,
    /// Seconds without progress before the rollout counts as failed.
    pub(super) deadline: i64,
}

impl Rollout {
    pub(super) fn of(deployment: &Value) -> Self {
        let replicas = int(deployment, "/spec/replicas").unwrap_or(1).max(0);
        let recreate = text(deployment, "/spec/strategy/type") == "Recreate";
        let parameter = |name: &str, up: bool| {
            let value = deployment.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
            value.map_or(0, |value| resolve(value, replicas, up))
        };
        let (surge, mut unavailable) = if recreate {
            (0, 0)
        } else {
            (
                parameter("maxSurge", true),
                parameter("maxUnavailable", false),
            )
        };
        if !recreate && surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self {
            replicas,
            surge,
            unavailable: unavailable.min(replicas),
            recreate,
            paused: deployment.pointer("/spec/paused") == Some(&Value::Bool(true)),
            history: int(deployment, "/spec/revisionHistoryLimit")
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(10),
            deadline: int(deployment, "/spec/progressDeadlineSeconds").unwrap_or(600),
        }
    }

    /// Most pods of all revisions together.
    pub(super) fn maximum(&self) -> i64 {
        self.replicas + self.surge
    }

    /// The replicas of the new revision when all revisions together have `total`
    /// (`NewRSNewReplicas`).
    pub(super) fn new_replicas(&self, current: i64, total: i64) -> i64 {
        if current > self.replicas {
            return self.replicas;
        }
        let room = (self.maximum() - total).max(0);
        current + room.min(self.replicas - current)
    }

    /// New sizes of revisions after the spec was scaled: each keeps its share, what rounding
    /// leaves over goes to the largest (`scale` in `sync.go`).
    pub(super) fn spread(&self, sizes: &[i64]) -> Vec<i64> {
        let total: i64 = sizes.iter().sum();
        let allowed = if self.replicas > 0 { self.maximum() } else { 0 };
        let change = allowed - total;
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(sizes.get(*at).copied()));
        let mut left = change;
        let mut spread = sizes.to_vec();
        for at in &order {
            let Some(size) = spread.get_mut(*at) else {
                continue;
            };
            let share = if total == 0 {
                0
            } else {
                rounded(*size * allowed, total) - *size
            };
            let share = if change >= 0 {
                share.clamp(0, left.max(0))
            } else {
                share.clamp(left.min(0), 0)
            };
            *size += share;
            left -= share;
        }
        if let Some(largest) = order.first().and_then(|at| spread.get_mut(*at)) {
            *largest = (*largest + left).max(0);
        }
        spread
    }
}

/// Division rounded half up, of numbers that are not negative.
fn rounded(dividend: i64, divisor: i64) -> i64 {
    (2 * dividend + divisor) / (2 * divisor)
}

/// A number, or a percentage of `total`, rounded up or down (`GetScaledValueFromIntOrPercent`).
fn resolve(value: &Value, total: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number.max(0);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
    let percent = percent
        .and_then(|text| text.parse::<i64>().ok())
        .unwrap_or(0);
    let hundredfold = percent.clamp(0, 100_000) * total;
    if up {
        (hundredfold + 99) / 100
    } else {
        hundredfold / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(replicas: i64, surge: &Value, unavailable: &Value) -> Rollout {
        Rollout::of(&json!({"spec": {"replicas": replicas, "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
    }

    /// "Max Unavailable" and "Max Surge" in the Kubernetes documentation of Deployments: of 10
    /// replicas, 25% is 2 unavailable (down) and 3 surge (up).
    #[test]
    fn rounds_surge_up_and_unavailable_down() {
        for (replicas, surge, unavailable) in [(10, 3, 2), (4, 1, 1), (3, 1, 0), (1, 1, 0)] {
            let percent = json!("25%");
            let rollout = rollout(replicas, &percent, &percent);
            assert_eq!(
                (rollout.surge, rollout.unavailable),
                (surge, unavailable),
                "{replicas}"
            );
        }
    }

    #[test]
    fn lets_one_pod_be_missing_when_both_are_zero() {
        assert_eq!(rollout(3, &json!(0), &json!("10%")).unavailable, 1);
    }

    /// Cases of `TestNewRSNewReplicas` in Kubernetes.
    #[test]
    fn grows_the_new_revision_up_to_the_surge() {
        let rollout = rollout(10, &json!(3), &json!(0));
        assert_eq!(rollout.new_replicas(0, 10), 3);
        assert_eq!(rollout.new_replicas(3, 13), 3);
        assert_eq!(rollout.new_replicas(8, 11), 10);
        assert_eq!(rollout.new_replicas(12, 12), 10);
    }

    /// "Proportional scaling" in the Kubernetes documentation: 8 old and 5 new of 10 replicas
    /// with surge 3, scaled to 15: 11 old and 7 new.
    #[test]
    fn spreads_a_scale_up_as_the_documentation_says() {
        let rollout = rollout(15, &json!(3), &json!(2));
        assert_eq!(rollout.spread(&[8, 5]), [11, 7]);
    }

    #[test]
    fn spreads_to_the_allowed_total_whatever_the_sizes() {
        for replicas in [0, 1, 5, 30] {
            let rollout = rollout(replicas, &json!(2), &json!(0));
            let allowed = if replicas == 0 { 0 } else { replicas + 2 };
            for sizes in [[7, 2, 1], [1, 1, 1], [0, 9, 0]] {
                let spread = rollout.spread(&sizes);
                assert_eq!(spread.iter().sum::<i64>(), allowed, "{replicas} {sizes:?}");
                assert!(spread.iter().all(|size| *size >= 0));
            }
        }
    }
}
