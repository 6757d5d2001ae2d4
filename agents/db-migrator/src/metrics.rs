//! What this agent counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::domain::{Dialect, Risk};

/// Upper bounds in seconds: from a trivial statement to an index on a large table.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    database_type: &'static str,
    status: &'static str,
    risk_level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    database_type: &'static str,
}

/// The metric families of the reference mesh's db-migrator.
#[derive(Debug, Clone)]
pub struct Metrics {
    executed: Family<Executed, Counter>,
    duration: Family<Timed, Histogram, fn() -> Histogram>,
    rollbacks: Counter,
    steps: Family<Timed, Histogram, fn() -> Histogram>,
    lock_waits: Family<Timed, Histogram, fn() -> Histogram>,
    lock_attempts: Family<Timed, Counter>,
    blocked: Family<Timed, Counter>,
    in_doubt: Family<Timed, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self {
            executed: Family::default(),
            duration: Family::new_with_constructor(histogram),
            rollbacks: Counter::default(),
            steps: Family::new_with_constructor(histogram),
            lock_waits: Family::new_with_constructor(histogram),
            lock_attempts: Family::default(),
            blocked: Family::default(),
            in_doubt: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers `migrations_executed_total`, `migration_duration_seconds`, `rollbacks_triggered_total` and what shows
    /// how a run gets on with others: `migration_step_duration_seconds`, `migration_lock_wait_seconds`,
    /// `migration_lock_attempts_total`, `migration_blocked_sessions_total`, `migration_steps_in_doubt_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "migrations_executed",
            "Migrations run up or down, by outcome",
            metrics.executed.clone(),
        );
        registry.register(
            "migration_duration_seconds",
            "Time from the first statement of a migration to its commit",
            metrics.duration.clone(),
        );
        registry.register(
            "rollbacks_triggered",
            "Rollbacks of a database that began to change it",
            metrics.rollbacks.clone(),
        );
        metrics.register_waits(registry);
        metrics
    }

    fn register_waits(&self, registry: &mut Registry) {
        registry.register(
            "migration_step_duration_seconds",
            "Time of one statement, or of a script that is sent at once",
            self.steps.clone(),
        );
        registry.register(
            "migration_lock_wait_seconds",
            "Time from the first attempt of a transaction to its end, when its locks were not free at once",
            self.lock_waits.clone(),
        );
        registry.register(
            "migration_lock_attempts",
            "Attempts of transactions that gave up because a lock was not free",
            self.lock_attempts.clone(),
        );
        registry.register(
            "migration_blocked_sessions",
            "Sessions of others that were seen waiting behind a migration",
            self.blocked.clone(),
        );
        registry.register(
            "migration_steps_in_doubt",
            "Statements whose outcome was read from the catalog after a crash",
            self.in_doubt.clone(),
        );
    }

    pub(crate) fn stepped(&self, dialect: Dialect, seconds: f64) {
        self.steps.get_or_create(&timed(dialect)).observe(seconds);
    }

    pub(crate) fn lock_wait(&self, dialect: Dialect, seconds: f64) {
        self.lock_waits
            .get_or_create(&timed(dialect))
            .observe(seconds);
    }

    pub(crate) fn lock_attempt(&self, dialect: Dialect) {
        self.lock_attempts.get_or_create(&timed(dialect)).inc();
    }

    pub(crate) fn blocked(&self, dialect: Dialect, sessions: u64) {
        self.blocked.get_or_create(&timed(dialect)).inc_by(sessions);
    }

    pub(crate) fn in_doubt(&self, dialect: Dialect) {
        self.in_doubt.get_or_create(&timed(dialect)).inc();
    }

    /// Attempts that gave up.
    pub fn lock_attempts(&self, dialect: Dialect) -> u64 {
        self.lock_attempts.get_or_create(&timed(dialect)).get()
    }

    /// Sessions that were seen waiting behind an attempt.
    #[cfg(test)]
    pub(crate) fn blocked_sessions(&self, dialect: Dialect) -> u64 {
        self.blocked.get_or_create(&timed(dialect)).get()
    }

    /// Statements that were in doubt.
    #[cfg(test)]
    pub(crate) fn doubts(&self, dialect: Dialect) -> u64 {
        self.in_doubt.get_or_create(&timed(dialect)).get()
    }

    pub(crate) fn executed(&self, dialect: Dialect, succeeded: bool, risk: Risk, seconds: f64) {
        let status = if succeeded { "succeeded" } else { "failed" };
        self.executed
            .get_or_create(&Executed {
                database_type: dialect.name(),
                status,
                risk_level: risk.name(),
            })
            .inc();
        self.duration
            .get_or_create(&timed(dialect))
            .observe(seconds);
    }

    pub(crate) fn rollback(&self) {
        self.rollbacks.inc();
    }
}

fn timed(dialect: Dialect) -> Timed {
    Timed {
        database_type: dialect.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_families_as_the_reference_mesh_does() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.executed(Dialect::Sqlite, true, Risk::Low, 0.02);
        metrics.rollback();
        metrics.stepped(Dialect::Sqlite, 0.1);
        metrics.lock_wait(Dialect::Postgres, 0.1);
        metrics.lock_attempt(Dialect::Postgres);
        metrics.blocked(Dialect::Postgres, 3);
        metrics.in_doubt(Dialect::Postgres);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "migrations_executed_total{database_type=\"sqlite\",status=\"succeeded\",risk_level=\"low\"} 1",
            "migration_duration_seconds_count{database_type=\"sqlite\"} 1",
            "rollbacks_triggered_total 1",
            "migration_step_duration_seconds_count{database_type=\"sqlite\"} 1",
            "migration_lock_wait_seconds_count{database_type=\"postgres\"} 1",
            "migration_lock_attempts_total{database_type=\"postgres\"} 1",
            "migration_blocked_sessions_total{database_type=\"postgres\"} 3",
            "migration_steps_in_doubt_total{database_type=\"postgres\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
