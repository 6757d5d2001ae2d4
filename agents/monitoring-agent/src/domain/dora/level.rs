//! The clusters of the yearly report "Accelerate State of DevOps", as published for [`YEAR`].
//!
//! They describe groups that were found in a survey; they are no thresholds. A number gets the best cluster that it
//! is at least as good as. The change failure rate of the medium cluster (10 %) was better than that of the high one
//! (20 %) in that year, so a rate is never rated medium.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The year of the table.
pub const YEAR: u16 = 2024;

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
const WEEK: f64 = 7.0 * DAY;
/// A month of 30 days.
const MONTH: f64 = 30.0 * DAY;

/// A cluster.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The best.
    Elite,
    /// The second.
    High,
    /// The third.
    Medium,
    /// The last.
    Low,
}

impl Level {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elite => "elite",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

fn rated(value: f64, bounds: [f64; 3]) -> Level {
    let [elite, high, medium] = bounds;
    if value <= elite {
        Level::Elite
    } else if value <= high {
        Level::High
    } else if value <= medium {
        Level::Medium
    } else {
        Level::Low
    }
}

/// By deployments a day: elite on demand (at least one a day), high weekly, medium monthly.
pub fn of_frequency(per_day: f64) -> Level {
    if per_day > 0.0 {
        rated(DAY / per_day, [DAY, WEEK, MONTH])
    } else {
        Level::Low
    }
}

/// By seconds from merge to deployment: elite a day, high a week, medium a month.
pub fn of_lead_time(seconds: f64) -> Level {
    rated(seconds, [DAY, WEEK, MONTH])
}

/// By change failure rate: elite 5 %, high 20 %, low above.
pub fn of_failure_rate(ratio: f64) -> Level {
    rated(ratio, [0.05, 0.20, 0.20])
}

/// By seconds to recovery: elite an hour, high and medium a day, low above.
pub fn of_recovery(seconds: f64) -> Level {
    rated(seconds, [HOUR, DAY, DAY])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_better_cluster() {
        assert_eq!(of_frequency(1.0), Level::Elite);
        assert_eq!(of_frequency(0.99), Level::High);
        assert_eq!(of_frequency(1.0 / 7.0), Level::High);
        assert_eq!(of_frequency(1.0 / 30.0), Level::Medium);
        assert_eq!(of_frequency(0.0), Level::Low);
        assert_eq!(of_lead_time(86_400.0), Level::Elite);
        assert_eq!(of_lead_time(86_401.0), Level::High);
        assert_eq!(of_failure_rate(0.05), Level::Elite);
        assert_eq!(of_failure_rate(0.10), Level::High);
        assert_eq!(of_failure_rate(0.21), Level::Low);
        assert_eq!(of_recovery(3_600.0), Level::Elite);
        assert_eq!(of_recovery(86_401.0), Level::Low);
    }
}
