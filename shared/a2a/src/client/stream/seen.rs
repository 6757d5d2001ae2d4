//! Which events were delivered already.

use std::collections::{HashSet, VecDeque};

/// Ids of so many events are remembered: more than an agent replays.
const REMEMBERED: usize = 65_536;
/// Longest id of an event, bytes. A number or a UUID is far shorter; the bound keeps what is remembered small.
pub(super) const LONGEST_ID: usize = 256;

/// The ids of the newest events.
#[derive(Debug, Default)]
pub(super) struct Seen {
    order: VecDeque<String>,
    ids: HashSet<String>,
    last: Option<String>,
}

impl Seen {
    /// Whether the id is new; notes it. An empty id takes the last one back, as in the browser's `EventSource`.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        self.last = (!id.is_empty()).then(|| id.to_owned());
        if id.is_empty() {
            return true;
        }
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// The id to take the stream up from.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_each_id_once_and_the_last_one() {
        let mut seen = Seen::default();
        assert_eq!(seen.last(), None);
        assert!(seen.insert("1") && seen.insert("2") && !seen.insert("1"));
        assert_eq!(seen.last(), Some("1"));
        assert!(seen.insert("") && seen.insert(""));
        assert_eq!(seen.last(), None);
    }

    #[test]
    fn forgets_the_oldest() {
        let mut seen = Seen::default();
        for id in 0..=REMEMBERED {
            assert!(seen.insert(&id.to_string()));
        }
        assert_eq!((seen.order.len(), seen.ids.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.insert("1") && seen.insert("0"));
    }
}
