//! The tests behind "more than before": Wilson's bound, Fisher's exact test, Mann-Whitney.

/// The 95th percentile of the standard normal distribution.
const Z_95: f64 = 1.644_853_627;
/// Above this many requests Fisher's exact test is the same as the normal approximation to three digits, and slow.
const EXACT_UP_TO: f64 = 20_000.0;

/// The lower bound of a share, one-sided with 95 % confidence. Source: Wilson, "Probable inference", 1927.
pub fn wilson_lower(bad: f64, total: f64) -> f64 {
    if total <= 0.0 || bad <= 0.0 {
        return 0.0;
    }
    let (n, p) = (total, (bad / total).min(1.0));
    let z2 = Z_95 * Z_95;
    let centre = p + z2 / (2.0 * n);
    let spread = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - spread) / (1.0 + z2 / n)).max(0.0)
}

/// The chance of at least this many bad requests after a change if it changed nothing: Fisher's exact test, one
/// sided; its normal approximation where there are many requests.
pub fn chance_of_more(before: (f64, f64), after: (f64, f64)) -> f64 {
    let (bad_before, all_before) = (before.0.round(), before.1.round());
    let (bad_after, all_after) = (after.0.round(), after.1.round());
    let (bad, all) = (bad_before + bad_after, all_before + all_after);
    if all_before <= 0.0 || all_after <= 0.0 || bad <= 0.0 {
        return 1.0;
    }
    if all > EXACT_UP_TO {
        let share = bad / all;
        let spread = (share * (1.0 - share) * (1.0 / all_before + 1.0 / all_after)).sqrt();
        let z = (bad_after / all_after - bad_before / all_before) / spread.max(f64::MIN_POSITIVE);
        return upper_tail(z);
    }
    let most = bad.min(all_after);
    let mut chance = 0.0;
    let mut hits = bad_after;
    while hits <= most {
        chance += (ln_choose(all_after, hits) + ln_choose(all_before, bad - hits)
            - ln_choose(all, bad))
        .exp();
        hits += 1.0;
    }
    chance.min(1.0)
}

fn ln_choose(n: f64, k: f64) -> f64 {
    if k < 0.0 || k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Stirling's series; exact to ten digits from 10 on, and by its product below.
fn ln_factorial(n: f64) -> f64 {
    if n < 10.0 {
        let mut sum = 0.0;
        let mut k = 2.0;
        while k <= n {
            sum += f64::ln(k);
            k += 1.0;
        }
        return sum;
    }
    let n1 = n;
    n1 * n1.ln() - n1 + 0.5 * (2.0 * std::f64::consts::PI * n1).ln() + 1.0 / (12.0 * n1)
        - 1.0 / (360.0 * n1.powi(3))
        + 1.0 / (1_260.0 * n1.powi(5))
}

/// The chance of a standard normal value above `z`. Source: Abramowitz and Stegun 7.1.26, error below 2e-7.
pub fn upper_tail(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [
        0.254_829_592,
        -0.284_496_736,
        1.421_413_741,
        -1.453_152_027,
        1.061_405_429,
    ];
    let sum = series.iter().rev().fold(0.0, |sum, a| (sum + a) * t);
    let tail = 0.5 * sum * (-x * x).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// The chance that values `after` are as much larger than those `before` if they come from the same source:
/// Mann-Whitney's test, one-sided, by the normal approximation with ties corrected and continuity of 0.5.
#[expect(
    clippy::cast_precision_loss,
    reason = "samples are counted in hundreds"
)]
pub fn chance_of_larger(before: &[f64], after: &[f64]) -> f64 {
    let (n1, n2) = (after.len() as f64, before.len() as f64);
    if n1 < 1.0 || n2 < 1.0 {
        return 1.0;
    }
    let mut all: Vec<(f64, bool)> = before.iter().map(|v| (*v, false)).collect();
    all.extend(after.iter().map(|v| (*v, true)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut ties, mut done) = (0.0, 0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let count = tied.len() as f64;
        let rank = done + f64::midpoint(count, 1.0);
        rank_sum += rank * tied.iter().filter(|(_, after)| *after).count() as f64;
        ties += count.powi(3) - count;
        done += count;
    }
    let n = n1 + n2;
    let u = rank_sum - n1 * (n1 + 1.0) / 2.0;
    let variance = n1 * n2 / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    upper_tail((u - n1 * n2 / 2.0 - 0.5) / variance.sqrt())
}

/// The middle value.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
}
