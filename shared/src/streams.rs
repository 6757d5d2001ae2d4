//! How many streams may be open at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::a2a::fault::{Fault, Kind};

/// Streams of one agent.
const MOST: usize = 512;
/// Streams of one principal.
const MOST_OF_ONE: usize = 128;

/// Open streams by principal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// The place of one open stream.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    principal: String,
}

impl Streams {
    /// Takes a place.
    ///
    /// # Errors
    /// `Overloaded` when too many are open.
    pub(crate) fn enter(&self, principal: &str) -> Result<Place, Fault> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(principal.to_owned()).or_default();
        if all >= MOST || *own >= MOST_OF_ONE {
            let said = format!("{all} streams are open, {own} of them of {principal}");
            return Err(Fault::new(Kind::Overloaded, said));
        }
        *own += 1;
        Ok(Place {
            streams: self.clone(),
            principal: principal.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.principal) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_cannot_take_all_places() {
        let streams = Streams::default();
        let own: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| streams.enter("a").unwrap())
            .collect();
        assert_eq!(streams.enter("a").unwrap_err().kind, Kind::Overloaded);
        let other = streams.enter("b").unwrap();
        drop(own);
        drop(other);
        assert!(streams.0.lock().unwrap().is_empty());
        streams.enter("a").unwrap();
    }
}
