//! How long a schema change stands in a lock queue, where it stops every later reader, and when it tries again.

use std::time::Duration;

/// Longest stand in the queue while an old transaction holds the table: waiting longer would not help.
const SHORT_MS: u64 = 10;
/// Longest stand while only short transactions hold it.
const LONG_MS: u64 = 80;
/// A transaction is old from this age on.
const OLD_SECONDS: i64 = 1;
/// Pauses between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A pause is this part of the time waited so far, so the change comes at most that much late.
const PART: u32 = 15;
/// Names in an error.
const NAMED: usize = 5;

/// A session that holds what another waits for. Never holds the text of a query.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Blocker {
    /// The server's process.
    pub pid: i64,
    /// What it calls itself.
    pub application: String,
    /// `active`, `idle in transaction` and the like.
    pub state: String,
    /// Age of its transaction.
    pub seconds: i64,
}

/// The waits of one transaction for its locks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Attempts that gave up.
    pub attempts: u32,
    /// Attempts in a row that met nothing but short transactions.
    traffic: u32,
    /// Who was seen last.
    blockers: Vec<Blocker>,
}

impl Waiting {
    /// Milliseconds that the next attempt may stand in the queue: 10, and up to 80 while it only meets traffic.
    pub fn timeout_ms(&self) -> u64 {
        (SHORT_MS << (self.traffic / 3).min(3)).min(LONG_MS)
    }

    /// Notes an attempt that gave up, and who was in its way.
    pub fn gave_up(&mut self, seen: Vec<Blocker>) {
        self.attempts += 1;
        if seen.is_empty() {
            return;
        }
        let old = seen.iter().any(|blocker| blocker.seconds >= OLD_SECONDS);
        self.traffic = if old { 0 } else { self.traffic + 1 };
        self.blockers = seen;
    }

    /// The pause before the next attempt; `dice` from 0 to 255 spreads it by a quarter either way.
    pub fn pause(waited: Duration, dice: u8) -> Duration {
        let even = (waited / PART).clamp(FIRST_PAUSE, LAST_PAUSE);
        even * (192 + u32::from(dice) / 2) / 256
    }

    /// Who was seen last.
    pub fn blockers(&self) -> &[Blocker] {
        &self.blockers
    }

    /// Who was in the way, for an error.
    pub fn in_the_way(&self) -> String {
        named(&self.blockers)
    }
}

/// Blockers in one line: `pid 12 (application billing, idle in transaction, 340 s)`.
pub fn named(blockers: &[Blocker]) -> String {
    let mut names = blockers
        .iter()
        .take(NAMED)
        .map(|blocker| {
            format!(
                "pid {} (application {}, {}, {} s)",
                blocker.pid, blocker.application, blocker.state, blocker.seconds
            )
        })
        .collect::<Vec<_>>();
    if blockers.len() > NAMED {
        names.push(format!("{} more", blockers.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker(seconds: i64) -> Blocker {
        Blocker {
            pid: 7,
            application: "billing".into(),
            state: "idle in transaction".into(),
            seconds,
        }
    }

    #[test]
    fn stays_short_behind_an_old_transaction_and_grows_in_traffic() {
        let mut waiting = Waiting::default();
        for _ in 0..30 {
            waiting.gave_up(vec![blocker(0), blocker(9)]);
        }
        assert_eq!((waiting.attempts, waiting.timeout_ms()), (30, 10));
        for expected in [10, 10, 20, 20, 20, 40, 40, 40, 80, 80, 80, 80] {
            waiting.gave_up(vec![blocker(0)]);
            assert_eq!(waiting.timeout_ms(), expected, "{waiting:?}");
        }
        waiting.gave_up(vec![blocker(1)]);
        assert_eq!(waiting.timeout_ms(), 10);
    }

    #[test]
    fn pauses_a_fifteenth_of_what_was_waited_within_bounds() {
        let pause = |waited, dice| Waiting::pause(Duration::from_millis(waited), dice).as_millis();
        assert_eq!((pause(0, 128), pause(5_000, 128)), (100, 333));
        assert_eq!(pause(3_600_000, 128), 1_000);
        assert_eq!((pause(0, 0), pause(0, 255)), (75, 124));
        assert!(
            pause(5_000, 255) < 500,
            "a table held for 5 s is changed within half a second of its release"
        );
    }

    #[test]
    fn names_who_is_in_the_way() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.in_the_way(), "");
        waiting.gave_up(vec![blocker(340); 7]);
        let said = waiting.in_the_way();
        assert!(
            said.starts_with("pid 7 (application billing, idle in transaction, 340 s), "),
            "{said}"
        );
        assert!(said.ends_with(", 2 more"), "{said}");
        waiting.gave_up(Vec::new());
        assert_eq!(waiting.in_the_way(), said, "the last that were seen");
    }
}
