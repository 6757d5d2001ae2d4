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
/// Only [`UNREADY_AFTER_MS`] when the release changed where its pods may run, no node fits, and no node belongs to
/// a pool that is made larger on demand: then no time helps.
pub const UNSCHEDULABLE_AFTER_MS: i64 = 30 * SECOND;
/// How long a volume may fail to mount, a sandbox to be made or an admission webhook to answer, when the message
/// does not say that something is missing: 30 s. The kubelet tries again after 0.5 s and doubles that each time,
/// so this is about its seventh try.
pub const UNMOUNTED_AFTER_MS: i64 = 30 * SECOND;
/// How long a volume or a controller may wait for an object that is missing: 5 s. What is applied together can come
/// in any order, and the kubelet looks again after 0.5, 1 and 2 s.
pub const MISSING_AFTER_MS: i64 = 5 * SECOND;
/// How long a controller may be refused pods for a used-up quota: 30 s, in which a rollout that also takes pods
/// away makes room for itself.
pub const QUOTA_AFTER_MS: i64 = 30 * SECOND;
/// How long a controller may leave the newest spec unseen: 2 minutes. `KubeDeploymentGenerationMismatch` of
/// kubernetes-mixin waits 15; controllers usually need milliseconds.
pub const LAG_AFTER_MS: i64 = 2 * MINUTE;
/// How long an autoscaler may be at its limit: 15 minutes. Source: `KubeHpaMaxedOut` of kubernetes-mixin.
pub const LIMITED_AFTER_MS: i64 = 15 * MINUTE;
/// How long a disruption budget may be exhausted by unhealthy pods: 15 minutes. Source:
/// `KubePdbNotEnoughHealthyPods` of kubernetes-mixin.
pub const EXHAUSTED_AFTER_MS: i64 = 15 * MINUTE;
/// How long a claim may wait for its volume: 5 minutes. Source: `KubePersistentVolumeErrors` of kubernetes-mixin.
pub const PENDING_AFTER_MS: i64 = 5 * MINUTE;
/// A larger share of failing requests than this over [`ERROR_WINDOW_MS`] opens an incident: 5 %.
/// Source: reference manifest of rollback-coordinator, "error rate > 5 % for 5 minutes".
pub const MAX_ERROR_PERCENT: f64 = 5.0;
/// The window of the error rate: 5 minutes. Source: as [`MAX_ERROR_PERCENT`].
pub const ERROR_WINDOW_MS: i64 = 5 * MINUTE;
/// A 95th percentile of latency above this multiple of its baseline over [`LATENCY_WINDOW_MS`] opens an incident:
/// 2. Source: reference manifest of rollback-coordinator, "p95 latency > 2x baseline for 10 minutes".
pub const MAX_LATENCY_RATIO: f64 = 2.0;
/// The window of the latency: 10 minutes. Source: as [`MAX_LATENCY_RATIO`].
pub const LATENCY_WINDOW_MS: i64 = 10 * MINUTE;
/// A change of configuration counts as one without a rollout when it comes at least this long after the last
/// release: 1 minute. What is applied together is applied within seconds.
pub const CONFIG_APART_MS: i64 = MINUTE;
/// How long after a change of configuration trouble can be its effect: 10 minutes. The kubelet shows mounted
/// changes within about 2; the rest is for the application to read them.
pub const CONFIG_WINDOW_MS: i64 = 10 * MINUTE;
/// Trouble of others counts as shared when it began at most this long before ours: 1 minute.
pub const SHARED_WINDOW_MS: i64 = MINUTE;

/// The numbers in use.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// See [`UNSCHEDULABLE_AFTER_MS`].
    pub unschedulable_after_ms: i64,
    /// See [`UNMOUNTED_AFTER_MS`].
    pub unmounted_after_ms: i64,
    /// See [`MISSING_AFTER_MS`].
    pub missing_after_ms: i64,
    /// See [`QUOTA_AFTER_MS`].
    pub quota_after_ms: i64,
    /// See [`LAG_AFTER_MS`].
    pub lag_after_ms: i64,
    /// See [`LIMITED_AFTER_MS`].
    pub limited_after_ms: i64,
    /// See [`EXHAUSTED_AFTER_MS`].
    pub exhausted_after_ms: i64,
    /// See [`PENDING_AFTER_MS`].
    pub pending_after_ms: i64,
    /// See [`MAX_ERROR_PERCENT`].
    pub max_error_percent: f64,
    /// See [`MAX_LATENCY_RATIO`].
    pub max_latency_ratio: f64,
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
            unschedulable_after_ms: UNSCHEDULABLE_AFTER_MS,
            unmounted_after_ms: UNMOUNTED_AFTER_MS,
            missing_after_ms: MISSING_AFTER_MS,
            quota_after_ms: QUOTA_AFTER_MS,
            lag_after_ms: LAG_AFTER_MS,
            limited_after_ms: LIMITED_AFTER_MS,
            exhausted_after_ms: EXHAUSTED_AFTER_MS,
            pending_after_ms: PENDING_AFTER_MS,
            max_error_percent: MAX_ERROR_PERCENT,
            max_latency_ratio: MAX_LATENCY_RATIO,
        }
    }
}
