//! The numbers behind triggers. Each is a flag; these are its defaults.

/// Milliseconds in a second.
const SECOND: i64 = 1_000;
/// Milliseconds in a minute.
const MINUTE: i64 = 60 * SECOND;

/// More restarts of one pod than this within [`RESTART_WINDOW_MS`] open an incident: 3.
/// Source: reference manifest of rollback-coordinator, "> 3 restarts in 5 minutes".
pub const MAX_RESTARTS: u32 = 3;
/// The window in which restarts are counted: 5 minutes. Source: as [`MAX_RESTARTS`].
pub const RESTART_WINDOW_MS: i64 = 5 * MINUTE;
/// A larger share of unready pods than this for [`UNREADY_FOR_MS`] opens an incident: 50 %.
/// Source: reference manifest of rollback-coordinator, "> 50 % of pods unready for 3 minutes".
pub const MAX_UNREADY_PERCENT: u32 = 50;
/// How long that share may last: 3 minutes. Source: as [`MAX_UNREADY_PERCENT`].
pub const UNREADY_FOR_MS: i64 = 3 * MINUTE;
/// How long a pod may run with a failing readiness probe once it has passed its startup probe or was ready
/// before: 1.5 s. Source: the mesh's promise of a rollback within 5 s, of which a rollback itself needs 1.2 to 3 s.
pub const UNREADY_AFTER_MS: i64 = 1_500;
/// How long after a change its revision can be the cause of what goes wrong: 30 minutes. Longer than any probe
/// budget or progress deadline (default 10 minutes) of the workloads here.
pub const RELEASE_WINDOW_MS: i64 = 30 * MINUTE;
/// How long a workload has to stay healthy before an incident that nobody acted on is over: 30 s, three periods
/// of Kubernetes' default readiness probe.
pub const RECOVER_AFTER_MS: i64 = 30 * SECOND;
/// Readiness budget of a container without a readiness probe: 30 s, Kubernetes' default of 3 failures 10 s apart.
pub const DEFAULT_BUDGET_MS: i64 = 30 * SECOND;
/// How long the scheduler may look for a node: 30 s, the time a node autoscaler needs to announce one.
pub const UNSCHEDULABLE_AFTER_MS: i64 = 30 * SECOND;
/// Trouble of others counts as shared when it began at most this long before ours: 1 minute.
pub const SHARED_WINDOW_MS: i64 = MINUTE;

/// The numbers in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// See [`MAX_RESTARTS`].
    pub max_restarts: u32,
    /// See [`RESTART_WINDOW_MS`].
    pub restart_window_ms: i64,
    /// See [`MAX_UNREADY_PERCENT`].
    pub max_unready_percent: u32,
    /// See [`UNREADY_FOR_MS`].
    pub unready_for_ms: i64,
    /// See [`UNREADY_AFTER_MS`].
    pub unready_after_ms: i64,
    /// See [`RELEASE_WINDOW_MS`].
    pub release_window_ms: i64,
    /// See [`RECOVER_AFTER_MS`].
    pub recover_after_ms: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_restarts: MAX_RESTARTS,
            restart_window_ms: RESTART_WINDOW_MS,
            max_unready_percent: MAX_UNREADY_PERCENT,
            unready_for_ms: UNREADY_FOR_MS,
            unready_after_ms: UNREADY_AFTER_MS,
            release_window_ms: RELEASE_WINDOW_MS,
            recover_after_ms: RECOVER_AFTER_MS,
        }
    }
}
