//! Service level objectives: how fast an error budget burns, how much of it is left, and what the requests of a
//! workload say about a change.

pub mod objective;
pub mod statistics;
pub mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use objective::{Objective, ParseObjectiveError, parse};
pub use verdict::{Measured, Samples, judge};

use super::At;

/// Milliseconds in a minute.
const MINUTE: i64 = 60_000;
/// Milliseconds in an hour.
const HOUR: i64 = 60 * MINUTE;
/// Milliseconds in a day.
const DAY: i64 = 24 * HOUR;

/// A rule of the multi-window, multi-burn-rate alert: both windows have to burn faster than the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The long window.
    pub long_ms: i64,
    /// The short window, by which it ends soon after the trouble.
    pub short_ms: i64,
    /// The share of the whole budget that may be used within the long window.
    pub budget_share: f64,
    /// Whether it is urgent.
    pub page: bool,
}

/// The four rules. Source: the table of the Site Reliability Workbook as Sloth has it; with a period of 30 days
/// they are burn rates of 14.4, 6, 3 and 1.
pub const RULES: [Rule; 4] = [
    Rule {
        long_ms: HOUR,
        short_ms: 5 * MINUTE,
        budget_share: 0.02,
        page: true,
    },
    Rule {
        long_ms: 6 * HOUR,
        short_ms: 30 * MINUTE,
        budget_share: 0.05,
        page: true,
    },
    Rule {
        long_ms: DAY,
        short_ms: 2 * HOUR,
        budget_share: 0.10,
        page: false,
    },
    Rule {
        long_ms: 3 * DAY,
        short_ms: 6 * HOUR,
        budget_share: 0.10,
        page: false,
    },
];

/// Fewer bad requests than this in the long window prove nothing: 5. With one request in ten seconds and 99.9 %,
/// two failures alone are a burn rate of 5.6.
pub const MIN_BAD: f64 = 5.0;

impl Rule {
    /// The burn rate that uses its share of the budget within the long window.
    #[expect(
        clippy::cast_precision_loss,
        reason = "windows of milliseconds are far below 2^52"
    )]
    pub fn threshold(&self, period_ms: i64) -> f64 {
        self.budget_share * period_ms as f64 / self.long_ms as f64
    }
}

/// Requests of a window, all and bad ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Bad requests.
    pub bad: f64,
    /// All requests.
    pub total: f64,
}

impl Counts {
    /// The share of bad requests; 0 without requests.
    pub fn share(&self) -> f64 {
        if self.total > 0.0 {
            (self.bad / self.total).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// What the share of bad requests is at least, with 95 % confidence (Wilson's lower bound).
    pub fn at_least(&self) -> f64 {
        statistics::wilson_lower(self.bad, self.total)
    }
}

/// One rule as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Burn {
    /// The long window, in milliseconds.
    pub long_ms: i64,
    /// The short window, in milliseconds.
    pub short_ms: i64,
    /// The burn rate that is too fast.
    pub threshold: f64,
    /// Requests of the long window.
    pub requests: Counts,
    /// Burn rate over the long window.
    pub long: f64,
    /// What it is at least, given how few requests there were.
    pub long_at_least: f64,
    /// Burn rate over the short window.
    pub short: f64,
    /// Whether it is urgent when it fires.
    pub page: bool,
    /// Whether it fires.
    pub firing: bool,
}

/// Judges one rule.
pub fn burn(rule: &Rule, (long, short): (Counts, Counts), objective: &Objective) -> Burn {
    let budget = objective.budget();
    let threshold = rule.threshold(objective.period_ms);
    let long_at_least = long.at_least() / budget;
    let short_rate = short.share() / budget;
    let enough = long.bad >= MIN_BAD;
    Burn {
        long_ms: rule.long_ms,
        short_ms: rule.short_ms,
        threshold,
        requests: long,
        long: long.share() / budget,
        long_at_least,
        short: short_rate,
        page: rule.page,
        firing: enough && long_at_least > threshold && short_rate > threshold,
    }
}

/// How an objective stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No requests were measured.
    NoData,
    /// It keeps within its budget.
    Met,
    /// It burns its budget within days.
    SlowBurn,
    /// It burns its budget within hours.
    FastBurn,
    /// Its budget is used up.
    Exhausted,
}

/// The budget of the whole period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// Requests of the period.
    pub requests: Counts,
    /// Share of the budget that is left; negative when more is used than there was.
    pub left: f64,
    /// Bad requests that are left of it, at the number of requests so far.
    pub bad_left: f64,
}

/// The budget of a period with these requests.
pub fn budget(requests: Counts, objective: &Objective) -> Budget {
    let allowed = requests.total * objective.budget();
    let used = if allowed > 0.0 {
        requests.bad / allowed
    } else {
        0.0
    };
    Budget {
        requests,
        left: 1.0 - used,
        bad_left: allowed - requests.bad,
    }
}

/// How an objective stands by its budget and its rules.
pub fn standing(budget: &Budget, burns: &[Burn]) -> Standing {
    let fires = |page: bool| burns.iter().any(|burn| burn.firing && burn.page == page);
    if budget.requests.total <= 0.0 {
        Standing::NoData
    } else if fires(true) {
        Standing::FastBurn
    } else if budget.left <= 0.0 {
        Standing::Exhausted
    } else if fires(false) {
        Standing::SlowBurn
    } else {
        Standing::Met
    }
}

/// When a query is asked for which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// End of the window.
    pub at: At,
    /// Its length.
    pub window_ms: i64,
}

#[cfg(test)]
mod tests;
