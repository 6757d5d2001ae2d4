//! Exact percentiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::{count, whole};

/// Percentiles of samples, by nearest rank: the smallest sample that is not exceeded by the share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Number of samples.
    pub samples: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest sample.
    pub max: f64,
}

impl Distribution {
    /// The distribution of samples; all zero when there are none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            samples: whole(count(sorted.len())),
            mean: sorted.iter().sum::<f64>() / count(sorted.len().max(1)),
            p50: nearest_rank(&sorted, 0.50),
            p95: nearest_rank(&sorted, 0.95),
            p99: nearest_rank(&sorted, 0.99),
            max: sorted.last().copied().unwrap_or(0.0),
        }
    }
}

impl Distribution {
    /// The same with fewer digits, for people.
    #[must_use]
    pub fn rounded(self, digits: i32) -> Self {
        let Self {
            samples,
            mean,
            p50,
            p95,
            p99,
            max,
        } = self;
        let short = |value| round(value, digits);
        Self {
            samples,
            mean: short(mean),
            p50: short(p50),
            p95: short(p95),
            p99: short(p99),
            max: short(max),
        }
    }
}

/// A number with so many digits behind the point.
pub fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// The nearest-rank percentile of sorted samples: rank = ceil(share * n), from 1; 0 when there are none.
pub fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    let rank = whole((share * count(sorted.len())).ceil()).max(1);
    let index = usize::try_from(rank - 1)
        .unwrap_or(usize::MAX)
        .min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Share (0 to 1) of samples above a bound.
pub fn share_above(samples: impl IntoIterator<Item = f64>, bound: f64) -> f64 {
    let (mut above, mut all) = (0_usize, 0_usize);
    for sample in samples {
        all += 1;
        above += usize::from(sample > bound);
    }
    count(above) / count(all.max(1))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_of_the_textbook_example() {
        // Wikipedia, "Percentile", nearest-rank method: {15, 20, 35, 40, 50}.
        let sorted = [15.0, 20.0, 35.0, 40.0, 50.0];
        for (share, value) in [
            (0.05, 15.0),
            (0.30, 20.0),
            (0.40, 20.0),
            (0.50, 35.0),
            (1.0, 50.0),
        ] {
            assert_eq!(nearest_rank(&sorted, share), value, "{share}");
        }
    }

    #[test]
    fn no_samples_are_all_zero() {
        assert_eq!(Distribution::of([]), Distribution::default());
        assert_eq!(share_above([], 1.0), 0.0);
    }

    #[test]
    fn a_share_counts_what_is_strictly_above() {
        assert_eq!(share_above([1.0, 2.0, 3.0, 4.0], 2.0), 0.5);
    }
}
