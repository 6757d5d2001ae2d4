//! What the requests that a workload serves tell about it.

use super::At;

/// What is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestSign {
    /// An error budget is used up within days: a person looks when there is time.
    SlowBurn,
    /// The 95th percentile of latency is a multiple of its baseline.
    Latency,
    /// Too many requests fail.
    ErrorRate,
    /// An error budget is used up within hours.
    FastBurn,
}

/// The requests of one workload, judged by its objectives.
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    /// The worst sign.
    pub sign: RequestSign,
    /// Since when it shows.
    pub since: At,
    /// Share of requests that fail or are too slow.
    pub failing_share: f64,
    /// Whether that is significantly more than before the last change; `None` when there are too few requests.
    pub worse_than_before: Option<bool>,
    /// Requests a second as a multiple of those before.
    pub traffic_ratio: Option<f64>,
    /// What was measured, in sentences.
    pub evidence: Vec<String>,
}
