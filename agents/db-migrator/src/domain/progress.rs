//! How far a long statement is, and when its phase will end.

use std::time::Duration;

/// A phase of a long statement, as the database reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The command and what it does now, for example `CREATE INDEX: building index: scanning table`.
    pub name: String,
    /// Blocks, rows or sessions that are done.
    pub done: u64,
    /// Of how many; 0 when unknown.
    pub total: u64,
}

/// Estimates the end of a phase from how fast it went since it was first seen.
#[derive(Debug, Clone, Default)]
pub struct Estimate {
    first: Option<(String, u64, Duration)>,
}

impl Estimate {
    /// Takes what is seen `at` this time since the statement began. `None` until the phase moved.
    pub fn left(&mut self, phase: &Phase, at: Duration) -> Option<Duration> {
        let same =
            |(name, done, _): &(String, u64, Duration)| *name == phase.name && *done <= phase.done;
        if !self.first.as_ref().is_some_and(same) {
            self.first = Some((phase.name.clone(), phase.done, at));
        }
        let (_, from, since) = self.first.as_ref()?;
        let moved = phase.done.checked_sub(*from).filter(|moved| *moved > 0)?;
        let rest = phase.total.checked_sub(phase.done)?;
        let nanos = at.saturating_sub(*since).as_nanos() * u128::from(rest) / u128::from(moved);
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }
}

/// The sentence of a phase: `CREATE INDEX: building index, 40 %, about 12 s left in this phase`.
pub fn sentence(phase: &Phase, left: Option<Duration>) -> String {
    let percent = (phase.done.min(phase.total) * 100)
        .checked_div(phase.total)
        .map_or_else(String::new, |percent| format!(", {percent} %"));
    let left = left.map_or_else(String::new, |left| {
        format!(", about {} s left in this phase", left.as_secs().max(1))
    });
    format!("{}{percent}{left}", phase.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &str, done: u64, total: u64) -> Phase {
        Phase {
            name: name.into(),
            done,
            total,
        }
    }

    #[test]
    fn estimates_each_phase_by_its_own_speed() {
        let mut estimate = Estimate::default();
        let at = Duration::from_secs;
        assert_eq!(estimate.left(&phase("scan", 100, 1_000), at(5)), None);
        assert_eq!(
            estimate.left(&phase("scan", 100, 1_000), at(6)),
            None,
            "it has not moved"
        );
        // 300 of the remaining 900 took 3 s.
        assert_eq!(
            estimate.left(&phase("scan", 400, 1_000), at(8)),
            Some(at(6))
        );
        assert_eq!(
            estimate.left(&phase("sort", 400, 1_000), at(9)),
            None,
            "a new phase starts anew"
        );
        assert_eq!(
            estimate.left(&phase("sort", 300, 1_000), at(10)),
            None,
            "so does one that went back"
        );
        assert_eq!(
            estimate.left(&phase("sort", 1_000, 1_000), at(12)),
            Some(at(0))
        );
        assert_eq!(
            estimate.left(&phase("sort", 1_500, 1_000), at(13)),
            None,
            "a total that was wrong estimates nothing"
        );
    }

    #[test]
    fn says_what_it_knows() {
        assert_eq!(
            sentence(
                &phase("VACUUM: scanning heap", 2, 5),
                Some(Duration::from_secs(12))
            ),
            "VACUUM: scanning heap, 40 %, about 12 s left in this phase"
        );
        assert_eq!(
            sentence(&phase("CLUSTER: sorting", 0, 0), None),
            "CLUSTER: sorting"
        );
    }
}
