//! The decaying histogram of the Kubernetes Vertical Pod Autoscaler (VPA).
//!
//! Rules, from VPA 1.8 `pkg/recommender/util/{histogram,decaying_histogram,histogram_options}.go`:
//! bucket `i` starts at `first * (ratio^i - 1) / (ratio - 1)`; a sample of age `a` weighs
//! `2^(-a / half_life)` of a new one; a percentile is the *end* of the bucket in which the
//! cumulated weight reaches the share, so it never lies below the exact one.

use usage::{count, seconds, whole};

/// Each bucket is 5 % wider than the one before (VPA `histogramBucketSizeGrowth`).
pub const BUCKET_GROWTH: f64 = 1.05;
/// Half-life of a sample's weight in seconds: 24 h, for CPU and memory (VPA `cpu-histogram-decay-half-life`).
pub const HALF_LIFE: i64 = 86_400;
/// Below this weight a bucket counts as empty: 0.001 of the smallest sample weight 0.1 (VPA `epsilon`).
pub const EPSILON: f64 = 0.001 * 0.1;
/// When weights have grown by 2 to this power, all are scaled down (VPA `maxDecayExponent`).
const MAX_EXPONENT: i64 = 100;

/// Where the buckets lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    first: f64,
    ratio: f64,
    count: usize,
}

impl Buckets {
    /// CPU in cores: first bucket 0.01, up to 1,000 (VPA `cpuHistogramOptions`).
    pub fn cpu() -> Self {
        Self::exponential(1000.0, 0.01, BUCKET_GROWTH)
    }

    /// Memory in bytes: first bucket 10 MB, up to 1 TB (VPA `memoryHistogramOptions`).
    pub fn memory() -> Self {
        Self::exponential(1e12, 1e7, BUCKET_GROWTH)
    }

    /// Buckets that grow by `ratio` until they hold `max`.
    pub fn exponential(max: f64, first: f64, ratio: f64) -> Self {
        let count = whole((max * (ratio - 1.0) / first + 1.0).log(ratio).ceil()) + 1;
        Self {
            first,
            ratio,
            count: usize::try_from(count).unwrap_or(usize::MAX).min(10_000),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none (never).
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bucket of a value; what is too large lies in the last one.
    pub fn find(&self, value: f64) -> usize {
        if value < self.first {
            return 0;
        }
        let bucket = whole(
            (value * (self.ratio - 1.0) / self.first + 1.0)
                .log(self.ratio)
                .floor(),
        );
        usize::try_from(bucket)
            .unwrap_or(usize::MAX)
            .min(self.count - 1)
    }

    /// Where a bucket starts.
    pub fn start(&self, bucket: usize) -> f64 {
        self.first * (self.ratio.powf(count(bucket)) - 1.0) / (self.ratio - 1.0)
    }
}

/// A histogram whose samples lose weight with age.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayingHistogram {
    buckets: Buckets,
    half_life: i64,
    weights: Vec<f64>,
    total: f64,
    /// Unix seconds at which a sample weighs what it was added with; a multiple of the half-life.
    reference: Option<i64>,
}

impl DecayingHistogram {
    /// An empty histogram.
    pub fn new(buckets: Buckets, half_life: i64) -> Self {
        Self {
            buckets,
            half_life,
            weights: vec![0.0; buckets.len()],
            total: 0.0,
            reference: None,
        }
    }

    /// Adds a sample of time `at` (Unix seconds).
    pub fn add(&mut self, value: f64, weight: f64, at: i64) {
        let weight = weight * self.decay(at);
        if let Some(bucket) = self.weights.get_mut(self.buckets.find(value)) {
            *bucket += weight;
        }
        self.total += weight;
    }

    /// Takes back a sample that was added before.
    pub fn subtract(&mut self, value: f64, weight: f64, at: i64) {
        let weight = weight * self.decay(at);
        if let Some(bucket) = self.weights.get_mut(self.buckets.find(value)) {
            *bucket = without(*bucket, weight);
        }
        self.total = without(self.total, weight);
    }

    /// The end of the bucket in which the share (0 to 1) of the weight is reached; 0 when empty.
    pub fn percentile(&self, share: f64) -> f64 {
        let filled = |weight: &f64| *weight >= EPSILON;
        let (Some(lowest), Some(highest)) = (
            self.weights.iter().position(filled),
            self.weights.iter().rposition(filled),
        ) else {
            return 0.0;
        };
        let threshold = share * self.total;
        let mut partial = 0.0;
        let reached = |weight: &f64| {
            partial += weight;
            partial >= threshold
        };
        let inside = self.weights.get(lowest..highest).unwrap_or_default();
        let bucket = inside
            .iter()
            .position(reached)
            .map_or(highest, |offset| lowest + offset);
        self.buckets.start(if bucket + 1 < self.buckets.len() {
            bucket + 1
        } else {
            bucket
        })
    }

    /// Whether it holds no weight.
    pub fn is_empty(&self) -> bool {
        self.weights.iter().all(|weight| *weight < EPSILON)
    }

    /// Adds all samples of another histogram with the same buckets and half-life.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        match (self.reference, other.reference) {
            (Some(own), Some(theirs)) if own < theirs => self.shift(theirs),
            (Some(own), Some(theirs)) if theirs < own => other.shift(own),
            (None, theirs) => self.reference = theirs,
            _ => {}
        }
        for (weight, theirs) in self.weights.iter_mut().zip(&other.weights) {
            *weight += theirs;
        }
        self.total += other.total;
    }

    /// Weight factor of a sample at `at`, after moving the reference when the factor would grow too large.
    fn decay(&mut self, at: i64) -> f64 {
        match self.reference {
            None => self.reference = Some(self.rounded(at)),
            Some(reference) if at > reference + MAX_EXPONENT * self.half_life => self.shift(at),
            Some(_) => {}
        }
        let age = at - self.reference.unwrap_or(at);
        (seconds(age) / seconds(self.half_life)).exp2()
    }

    fn shift(&mut self, to: i64) {
        let to = self.rounded(to);
        let moved = (self.reference.unwrap_or(to) - to) / self.half_life;
        let factor = seconds(moved).exp2();
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        self.total *= factor;
        self.reference = Some(to);
    }

    /// The nearest multiple of the half-life; halfway up.
    fn rounded(&self, at: i64) -> i64 {
        (at + self.half_life / 2).div_euclid(self.half_life) * self.half_life
    }
}

fn without(weight: f64, taken: f64) -> f64 {
    if weight - taken < EPSILON {
        0.0
    } else {
        weight - taken
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3600;
    const T0: i64 = 1_234_567_890;

    /// Buckets as close to VPA's linear test buckets (width 1) as a growing ratio allows.
    fn unit_buckets() -> Buckets {
        Buckets {
            first: 1.0,
            ratio: 1.0 + 1e-9,
            count: 11,
        }
    }

    #[test]
    fn bucket_edges_of_vpas_own_test() {
        // autoscaler, histogram_options_test.go, TestExponentialHistogramOptions(500, 40, 1.5).
        let buckets = Buckets::exponential(500.0, 40.0, 1.5);
        assert_eq!(buckets.len(), 6);
        for (bucket, start) in [
            (0, 0.0),
            (1, 40.0),
            (2, 100.0),
            (3, 190.0),
            (4, 325.0),
            (5, 527.5),
        ] {
            assert!((buckets.start(bucket) - start).abs() < 1e-9, "{bucket}");
        }
        for (value, bucket) in [(-1.0, 0), (39.99, 0), (40.0, 1), (100.0, 2), (900.0, 5)] {
            assert_eq!(buckets.find(value), bucket, "{value}");
        }
        assert_eq!((Buckets::cpu().len(), Buckets::memory().len()), (176, 176));
    }

    fn check(histogram: &DecayingHistogram, expected: &[(f64, f64)]) {
        for (share, value) in expected {
            assert!(
                (histogram.percentile(*share) - value).abs() < 1e-5,
                "p{share}: {} is not {value}",
                histogram.percentile(*share)
            );
        }
    }

    #[test]
    fn decayed_percentiles_of_vpas_own_test() {
        // autoscaler, decaying_histogram_test.go, TestDecayingHistogramPercentiles.
        let mut histogram = DecayingHistogram::new(unit_buckets(), HOUR);
        for (hour, value) in [1.0, 2.0, 3.0, 4.0].into_iter().enumerate() {
            histogram.add(
                value + 1e-6,
                value,
                T0 + HOUR * i64::try_from(hour).unwrap(),
            );
        }
        check(
            &histogram,
            &[
                (0.0, 2.0),
                (0.02, 2.0),
                (0.03, 3.0),
                (0.10, 3.0),
                (0.11, 4.0),
                (0.34, 4.0),
                (0.35, 5.0),
                (1.0, 5.0),
            ],
        );
    }

    #[test]
    fn percentiles_without_decay_of_vpas_own_test() {
        // autoscaler, decaying_histogram_test.go, TestNoDecay.
        let mut histogram = DecayingHistogram::new(unit_buckets(), HOUR);
        for value in [1.0, 2.0, 3.0, 4.0] {
            histogram.add(value + 1e-6, value, T0);
        }
        check(
            &histogram,
            &[
                (0.0, 2.0),
                (0.1, 2.0),
                (0.2, 3.0),
                (0.3, 3.0),
                (0.4, 4.0),
                (0.6, 4.0),
                (0.7, 5.0),
                (1.0, 5.0),
            ],
        );
    }

    #[test]
    fn a_heavy_sample_is_forgotten_after_twenty_half_lives() {
        // autoscaler, decaying_histogram_test.go, TestSimpleDecay.
        let mut histogram = DecayingHistogram::new(unit_buckets(), HOUR);
        histogram.add(2.0 + 1e-6, 1000.0, T0);
        histogram.add(1.0 + 1e-6, 1.0, T0 + 20 * HOUR);
        check(&histogram, &[(0.999, 2.0), (1.0, 3.0)]);
    }

    #[test]
    fn weights_are_scaled_down_before_they_overflow() {
        // autoscaler, decaying_histogram_test.go, TestLongtermDecay.
        let mut histogram = DecayingHistogram::new(unit_buckets(), HOUR);
        histogram.add(2.0 + 1e-6, 1.0, T0);
        histogram.add(1.0 + 1e-6, 1.0, T0 + 101 * HOUR);
        check(&histogram, &[(1.0, 2.0)]);
    }

    #[test]
    fn merging_equals_adding_everything_to_one() {
        // autoscaler, decaying_histogram_test.go, TestDecayingHistogramMerge.
        let samples = [
            (1.0, T0),
            (2.0, T0 + HOUR),
            (2.0, T0 + 2 * HOUR),
            (3.0, T0 + HOUR),
            (3.0, T0 + 150 * HOUR),
        ];
        let histogram = |samples: &[(f64, i64)]| {
            let mut histogram = DecayingHistogram::new(unit_buckets(), HOUR);
            for (value, at) in samples {
                histogram.add(value + 1e-6, 1.0, *at);
            }
            histogram
        };
        let mut merged = histogram(&samples[..2]);
        merged.merge(&histogram(&samples[2..]));
        let together = histogram(&samples);
        for (a, b) in merged.weights.iter().zip(&together.weights) {
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-30), "{a} {b}");
        }
    }

    #[test]
    fn a_subtracted_sample_leaves_nothing() {
        let mut histogram = DecayingHistogram::new(Buckets::memory(), HALF_LIFE);
        assert_eq!(histogram.percentile(0.5), 0.0);
        histogram.add(2e8, 1.0, T0);
        assert!(!histogram.is_empty());
        histogram.subtract(2e8, 1.0, T0);
        assert!(histogram.is_empty());
        assert_eq!(histogram.percentile(0.9), 0.0);
    }

    /// The definition, with no buckets: sort, weigh by age, walk.
    fn naive(samples: &[(f64, i64)], share: f64) -> f64 {
        let newest = samples.iter().map(|(_, at)| *at).max().unwrap();
        let mut weighted: Vec<(f64, f64)> = samples
            .iter()
            .map(|(v, at)| (*v, (seconds(at - newest) / seconds(HALF_LIFE)).exp2()))
            .collect();
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = weighted.iter().map(|(_, w)| w).sum();
        let mut partial = 0.0;
        for (value, weight) in &weighted {
            partial += weight;
            if partial >= share * total {
                return *value;
            }
        }
        weighted.last().unwrap().0
    }

    proptest! {
        /// Never below the exact weighted percentile, and at most one bucket (5 % plus the first bucket) above.
        #[test]
        fn agrees_with_the_definition(samples in prop::collection::vec((0.001_f64..50.0, 0_i64..8 * 86_400), 1..300), share in 0.05_f64..0.99) {
            let samples: Vec<(f64, i64)> = samples.into_iter().map(|(v, at)| (v, T0 + at)).collect();
            let mut histogram = DecayingHistogram::new(Buckets::cpu(), HALF_LIFE);
            for (value, at) in &samples {
                histogram.add(*value, 1.0, *at);
            }
            let (exact, ours) = (naive(&samples, share), histogram.percentile(share));
            // Rounding may move a share that lies exactly on a bucket's edge to the next sample: allow for that.
            let (low, high) = (naive(&samples, share - 1e-9), naive(&samples, share + 1e-9));
            prop_assert!(ours >= low - 1e-9 && ours <= high * 1.05 + 0.010_000_1, "{} is not near {}", ours, exact);
        }
    }
}
