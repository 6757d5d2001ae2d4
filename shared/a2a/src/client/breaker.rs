//! A circuit breaker: a peer that keeps failing is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

/// Consecutive failures that open the circuit. One call fails at most four times (see [`Backoff`](super::Backoff)), so
/// it takes two calls to come to the verdict.
pub const FAILURES: u32 = 5;
/// How long the circuit stays open before one probe is let through: about what a pod needs to restart.
pub const OPEN_FOR: Duration = Duration::from_secs(30);

/// How a call ended, as far as the peer's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The peer answered, be it with a refusal.
    Success,
    /// The peer could not be reached, broke down, or was overloaded.
    Failure,
    /// The caller did not wait for the end.
    Unknown,
}

/// The circuit is open: no call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open for another {} ms", retry_in.as_millis())]
pub struct CircuitOpen {
    /// When a call may be tried again.
    pub retry_in: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass.
    Closed { failures: u32 },
    /// Calls are refused.
    Open { since: Instant },
    /// One call passes; how it ends decides.
    HalfOpen { probe: Instant },
}

/// The circuit to one peer. The time is an argument, so that it can be tested and shared behind any lock.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed { failures: 0 },
        }
    }
}

impl Breaker {
    /// Asks to make a call. Whoever may must [`record`](Self::record) how it ended.
    ///
    /// # Errors
    /// [`CircuitOpen`].
    pub fn admit(&mut self, now: Instant) -> Result<(), CircuitOpen> {
        let since = match self.state {
            State::Closed { .. } => return Ok(()),
            // A probe that never reported was dropped by its caller; the next one may go.
            State::Open { since } | State::HalfOpen { probe: since } => since,
        };
        let waited = now.saturating_duration_since(since);
        if waited < OPEN_FOR {
            let retry_in = OPEN_FOR.saturating_sub(waited);
            return Err(CircuitOpen { retry_in });
        }
        self.state = State::HalfOpen { probe: now };
        Ok(())
    }

    /// Takes note of how a call ended.
    pub fn record(&mut self, outcome: Outcome, now: Instant) {
        self.state = match (self.state, outcome) {
            (_, Outcome::Success) => State::Closed { failures: 0 },
            (State::Closed { failures }, Outcome::Failure) if failures + 1 >= FAILURES => {
                State::Open { since: now }
            }
            (State::Closed { failures }, Outcome::Failure) => State::Closed {
                failures: failures + 1,
            },
            (State::HalfOpen { .. }, Outcome::Failure | Outcome::Unknown) => {
                State::Open { since: now }
            }
            // Calls that began before the circuit opened prolong nothing.
            (state @ State::Open { .. }, _) | (state @ State::Closed { .. }, Outcome::Unknown) => {
                state
            }
        };
    }

    /// Whether calls pass freely.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.is_closed());
            breaker.admit(now).unwrap();
            breaker.record(Outcome::Failure, now);
        }
        breaker
    }

    #[tokio::test]
    async fn opens_after_five_failures_in_a_row() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(10);
        let refused = breaker.admit(later).unwrap_err();
        assert_eq!(refused.retry_in, Duration::from_secs(20));
    }

    #[tokio::test]
    async fn forgets_failures_after_a_success() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 0..FAILURES - 1 {
                breaker.record(Outcome::Failure, now);
            }
            breaker.record(Outcome::Success, now);
        }
        assert!(breaker.is_closed());
    }

    #[tokio::test]
    async fn lets_one_probe_through_and_closes_on_its_success() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let probe = now + OPEN_FOR;
        breaker.admit(probe).unwrap();
        assert_eq!(breaker.admit(probe).unwrap_err().retry_in, OPEN_FOR);
        breaker.record(Outcome::Success, probe);
        assert!(breaker.is_closed());
        breaker.admit(probe).unwrap();
        breaker.admit(probe).unwrap();
    }

    #[tokio::test]
    async fn stays_open_when_the_probe_fails_or_is_given_up() {
        for outcome in [Outcome::Failure, Outcome::Unknown] {
            let now = Instant::now();
            let mut breaker = opened(now);
            let probe = now + OPEN_FOR;
            breaker.admit(probe).unwrap();
            breaker.record(outcome, probe);
            let refused = breaker.admit(probe + Duration::from_secs(29));
            assert_eq!(refused.unwrap_err().retry_in, Duration::from_secs(1));
            breaker.admit(probe + OPEN_FOR).unwrap();
        }
    }

    #[tokio::test]
    async fn survives_a_probe_that_never_reports() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.admit(now + OPEN_FOR).unwrap();
        breaker.admit(now + OPEN_FOR * 2).unwrap();
    }

    #[tokio::test]
    async fn ignores_calls_that_were_given_up() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES * 2 {
            breaker.record(Outcome::Unknown, now);
        }
        assert!(breaker.is_closed());
        let mut breaker = opened(now);
        // A late failure of an older call does not prolong the wait.
        breaker.record(Outcome::Failure, now + Duration::from_secs(29));
        breaker.admit(now + OPEN_FOR).unwrap();
    }
}
