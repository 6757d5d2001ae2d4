//! A deploy freeze of a project: its times are what it is known by, since GitLab gives it no name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::surroundings::Environment;

/// How far the clock of GitLab may be behind.
const CLOCKS: Duration = Duration::minutes(5);
/// How long a freeze lasts that nobody ends: a rollback has five minutes, and a coordinator that is gone for good must
/// not keep a project from deploying for a day.
const LONGEST: Duration = Duration::hours(2);

/// A freeze that a rollback made, or is about to make. No other freeze of the project had these times before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frozen {
    /// The environment; GitLab freezes the whole project.
    #[serde(flatten)]
    pub environment: Environment,
    /// When it begins: minute, hour, day and month as a cron expression, in UTC.
    pub starts: String,
    /// When it ends by itself.
    pub ends: String,
}

impl Frozen {
    /// A freeze from now on, with times that no other freeze has.
    pub fn from_now(
        environment: Environment,
        now: OffsetDateTime,
        others: &[(String, String)],
    ) -> Self {
        let starts = cron(now - CLOCKS);
        let mut end = now + LONGEST;
        let taken = |end| {
            let ends = cron(end);
            others
                .iter()
                .any(|other| *other == (starts.clone(), ends.clone()))
        };
        while taken(end) {
            end += Duration::minutes(1);
        }
        Self {
            environment,
            ends: cron(end),
            starts,
        }
    }

    /// Whether a freeze with these times is this one.
    pub fn is(&self, starts: &str, ends: &str) -> bool {
        self.starts == starts && self.ends == ends
    }
}

fn cron(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (minute, hour, day, month) = (at.minute(), at.hour(), at.day(), u8::from(at.month()));
    format!("{minute} {hour} {day} {month} *")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_is_known_by_times_that_no_other_has() {
        let environment = Environment {
            project: "30".into(),
            name: "production".into(),
        };
        let now = OffsetDateTime::from_unix_timestamp(1_798_761_480).unwrap();
        let frozen =
            |others: &[(String, String)]| Frozen::from_now(environment.clone(), now, others);
        let first = frozen(&[]);
        assert_eq!(
            (&*first.starts, &*first.ends),
            ("53 23 31 12 *", "58 1 1 1 *")
        );
        let times = |one: &Frozen| (one.starts.clone(), one.ends.clone());
        let second = frozen(&[times(&first)]);
        assert_eq!(second.ends, "59 1 1 1 *");
        assert!(!second.is(&first.starts, &first.ends));
        let third = frozen(&[times(&first), times(&second)]);
        assert_eq!(third.ends, "0 2 1 1 *");
    }
}
