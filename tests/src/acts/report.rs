//! What a run came to, by level, and which failures are the corpus' own.

use std::fmt;

use super::{corpus::Level, runner::Outcome};

/// Tests of the corpus that contradict the protocol or each other. Each was read; none is about an agent's comfort.
pub const DEFECTS: [(&str, &str); 9] = [
    (
        "CORE-SEND-004",
        "puts the unsupported type into free metadata, where no server looks: a part's type is its mediaType (4.1.6)",
    ),
    (
        "CORE-CTX-001",
        "demands that any contextId made by a client is refused; section 3.4.1 lets agents accept it",
    ),
    (
        "CORE-CAP-001",
        "expects UnsupportedOperationError where sections 3.1.7 and 5.4 name PushNotificationNotSupportedError",
    ),
    (
        "PUSH-CFG-004",
        "expects UnsupportedOperationError where sections 3.1.7 and 5.4 name PushNotificationNotSupportedError",
    ),
    (
        "VER-NEG-002",
        "expects a 1.0 answer without A2A-Version; section 3.6.2 reads that as 0.3",
    ),
    (
        "CLIENT-PARSE-003",
        "its history has messages without messageId, which section 4.1.4 requires",
    ),
    (
        "CORE-HIST-005",
        "counts the caller's messages only; an agent's questions are part of the history too (4.1.1)",
    ),
    (
        "DM-FMT-003",
        "forbids the contextId that section 3.4.1 has agents return once they made one",
    ),
    (
        "CORE-ERR-007",
        "expects error.data to be an object; section 9.5 and its own CORE-ERR-008 make it an array",
    ),
];

/// Results of all tests that apply.
#[derive(Debug)]
pub struct Report {
    results: Vec<(String, Level, Outcome)>,
}

impl Report {
    /// Sorts results by level and id.
    pub fn new(mut results: Vec<(String, Level, Outcome)>) -> Self {
        results.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
        Self { results }
    }

    /// Failures of must and should tests that are not the corpus' own.
    pub fn failures(&self) -> Vec<String> {
        self.results
            .iter()
            .filter(|(id, level, _)| *level != Level::May && defect(id).is_none())
            .filter_map(|(id, _, outcome)| match outcome {
                Outcome::Failed(reason) => Some(format!("{id}: {reason}")),
                Outcome::Passed | Outcome::Skipped(_) => None,
            })
            .collect()
    }

    /// Named defects whose tests passed all the same: either the corpus or the agent changed.
    pub fn stale_defects(&self) -> Vec<&str> {
        self.results
            .iter()
            .filter(|(id, _, outcome)| defect(id).is_some() && *outcome == Outcome::Passed)
            .map(|(id, _, _)| id.as_str())
            .collect()
    }

    /// How many tests of a level passed, failed, failed by a defect of the corpus, and were skipped.
    pub fn counts(&self, level: Level) -> [usize; 4] {
        let mut counts = [0; 4];
        for (id, of, outcome) in &self.results {
            let [passed, failed, defective, skipped] = &mut counts;
            if *of == level {
                *match outcome {
                    Outcome::Passed => passed,
                    Outcome::Failed(_) if defect(id).is_some() => defective,
                    Outcome::Failed(_) => failed,
                    Outcome::Skipped(_) => skipped,
                } += 1;
            }
        }
        counts
    }
}

fn defect(id: &str) -> Option<&'static str> {
    DEFECTS
        .iter()
        .find(|(named, _)| *named == id)
        .map(|(_, reason)| *reason)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "level   passed  failed  corpus defect  skipped")?;
        for (name, level) in [
            ("must", Level::Must),
            ("should", Level::Should),
            ("may", Level::May),
        ] {
            let [passed, failed, defective, skipped] = self.counts(level);
            writeln!(
                f,
                "{name:<7} {passed:>6}  {failed:>6}  {defective:>13}  {skipped:>7}"
            )?;
        }
        for (id, _, outcome) in &self.results {
            match (outcome, defect(id)) {
                (Outcome::Failed(_), Some(reason)) => writeln!(f, "defect  {id}: {reason}")?,
                (Outcome::Passed, Some(_)) => writeln!(f, "passed though named as a defect  {id}")?,
                (Outcome::Failed(reason), None) => writeln!(f, "FAILED  {id}: {reason}")?,
                (Outcome::Skipped(reason), _) => writeln!(f, "skipped {id}: {reason}")?,
                (Outcome::Passed, None) => (),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_binding_failures_outside_the_table_count() {
        let failed = || Outcome::Failed("x".into());
        let report = Report::new(vec![
            ("A".into(), Level::Must, failed()),
            ("B".into(), Level::May, failed()),
            ("CORE-CTX-001".into(), Level::Must, failed()),
            ("VER-NEG-002".into(), Level::Should, Outcome::Passed),
        ]);
        assert_eq!(report.failures(), ["A: x"]);
        assert_eq!(report.stale_defects(), ["VER-NEG-002"]);
        assert_eq!(report.counts(Level::Must), [0, 1, 1, 0]);
    }
}
