//! Webhook events.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Labels of a counted event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    outcome: &'static str,
}

/// What came in.
#[derive(Debug, Clone, Default)]
pub struct Counts(Family<Labels, Counter>);

impl Counts {
    /// Registers it.
    pub fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let help = "Webhook events by kind and what became of them";
        registry.register("webhook_events", help, counts.0.clone());
        counts
    }

    /// Counts an event.
    pub fn add(&self, kind: &'static str, outcome: &'static str) {
        self.0.get_or_create(&Labels { kind, outcome }).inc();
    }
}
