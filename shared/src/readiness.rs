//! Ready when everything that was waited for is there, unready as soon as shutdown starts.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug, Default)]
struct State {
    awaited: BTreeSet<&'static str>,
    draining: bool,
}

/// Whether an agent is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

impl Readiness {
    /// Makes readiness wait until the guard is dropped.
    #[must_use]
    pub fn wait_for(&self, what: &'static str) -> Guard {
        self.with(|state| state.awaited.insert(what));
        Guard {
            readiness: self.clone(),
            what,
        }
    }

    /// Unready for good.
    pub fn drain(&self) {
        self.with(|state| state.draining = true);
    }

    /// Whether the agent is draining.
    pub fn is_draining(&self) -> bool {
        self.with(|state| state.draining)
    }

    /// What is still missing; `Ok` when ready.
    ///
    /// # Errors
    /// A line that names what is awaited.
    pub fn check(&self) -> Result<(), String> {
        self.with(|state| match (state.draining, state.awaited.is_empty()) {
            (true, _) => Err("draining".into()),
            (false, true) => Ok(()),
            (false, false) => Err(format!(
                "waiting for {}",
                state.awaited.iter().copied().collect::<Vec<_>>().join(", ")
            )),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Holds readiness back while it lives.
#[derive(Debug)]
pub struct Guard {
    readiness: Readiness,
    what: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.readiness.with(|state| state.awaited.remove(self.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_the_last_guard_is_gone_and_unready_when_draining() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.wait_for("store"), readiness.wait_for("cache"));
        drop(a);
        assert_eq!(readiness.check(), Err("waiting for cache".into()));
        drop(b);
        assert_eq!(readiness.check(), Ok(()));
        readiness.drain();
        assert_eq!(readiness.check(), Err("draining".into()));
    }
}
