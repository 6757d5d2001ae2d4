//! When to try again: exponential back-off with full jitter, within a deadline.

use std::time::Duration;

/// How often and after which pauses a call is tried again.
///
/// The pause before the nth repeat is drawn evenly from zero to `first` times two to the power of n - 1, and at most
/// `longest` (full jitter: clients that failed together do not come back together).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest pause before the first repeat.
    pub first: Duration,
    /// Longest pause of all.
    pub longest: Duration,
    /// Tries in all, the first included.
    pub attempts: u32,
}

impl Default for Backoff {
    /// 50 ms, a few round trips within a cluster; 5 s; four tries, which wait 350 ms in all at most.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            attempts: 4,
        }
    }
}

impl Backoff {
    /// The pause after `failed` tries, or None when it is time to give up: no try is left, or the pause would last
    /// until the deadline, which is `left` away.
    ///
    /// `unit` is a random number from 0 to 1 (see [`jitter`]); `at_least` is what the peer asked for (`Retry-After`).
    pub fn pause(
        &self,
        failed: u32,
        unit: f64,
        at_least: Duration,
        left: Duration,
    ) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(31);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.longest);
        let pause = ceiling.mul_f64(unit.clamp(0.0, 1.0)).max(at_least);
        (pause < left).then_some(pause)
    }
}

/// A random number from 0 to 1; 1 when the system has no randomness to give.
pub fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: Duration = Duration::from_hours(1);

    #[test]
    fn doubles_the_ceiling_up_to_the_longest_pause() {
        let backoff = Backoff {
            longest: Duration::from_millis(300),
            attempts: 6,
            ..Backoff::default()
        };
        let pauses: Vec<_> = (1..=6)
            .map(|failed| backoff.pause(failed, 1.0, Duration::ZERO, FAR))
            .map(|pause| pause.map(|pause| pause.as_millis()))
            .collect();
        let expected = [Some(50), Some(100), Some(200), Some(300), Some(300), None];
        assert_eq!(pauses, expected);
    }

    #[test]
    fn waits_as_long_as_the_peer_asks() {
        let asked = Duration::from_secs(2);
        let pause = |left| Backoff::default().pause(1, 0.5, asked, left);
        assert_eq!(pause(FAR), Some(asked));
        assert_eq!(pause(asked), None, "the deadline comes first");
    }

    proptest! {
        #[test]
        fn stays_between_zero_and_the_ceiling(failed in 1_u32..100, unit in 0.0..=1.0) {
            let backoff = Backoff { attempts: 100, ..Backoff::default() };
            let pause = backoff.pause(failed, unit, Duration::ZERO, FAR).unwrap();
            let ceiling = backoff.pause(failed, 1.0, Duration::ZERO, FAR).unwrap();
            prop_assert!(pause <= ceiling && ceiling <= backoff.longest);
        }
    }

    #[test]
    fn draws_from_zero_to_one() {
        let draws: Vec<_> = (0..100).map(|_| jitter()).collect();
        assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 0.5) && draws.iter().any(|draw| *draw > 0.5));
    }
}
