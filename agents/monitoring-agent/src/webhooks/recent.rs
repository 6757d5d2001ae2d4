//! Deliveries that are durable already, so that a repetition costs nothing. Only a saving: a repetition that is not
//! noticed changes no number either.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Deliveries that are remembered: 64 Ki. GitLab repeats one within minutes.
const REMEMBERED: usize = 1 << 16;

/// The latest deliveries.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Deliveries>);

#[derive(Debug, Default)]
struct Deliveries {
    known: HashSet<Box<str>>,
    /// Oldest first.
    order: VecDeque<Box<str>>,
}

impl Recent {
    /// Whether a delivery is known to be durable.
    pub fn contains(&self, id: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .contains(id)
    }

    /// Remembers a delivery that is durable now.
    pub fn remember(&self, id: &str) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Deliveries { known, order } = &mut *guard;
        if known.insert(id.into()) {
            order.push_back(id.into());
        }
        let oldest = (order.len() > REMEMBERED).then(|| order.pop_front());
        if let Some(oldest) = oldest.flatten() {
            known.remove(&oldest);
        }
    }
}
