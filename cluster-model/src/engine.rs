//! The state behind a lock, and the clock that plays it forward.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{State, step};

/// Longest sleep of the clock.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(crate) struct Engine {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
    rescheduled: Notify,
    stopped: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    state: State,
    next: Option<OffsetDateTime>,
}

impl Engine {
    pub(crate) fn new(state: State) -> Self {
        Self {
            revision: watch::Sender::new(state.revision()),
            inner: Mutex::new(Inner { state, next: None }),
            rescheduled: Notify::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes the state, then lets the controllers react at once.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut State, OffsetDateTime) -> T) -> T {
        let now = OffsetDateTime::now_utc();
        let mut inner = self.lock();
        let answer = change(&mut inner.state, now);
        self.step(inner, now);
        answer
    }

    /// Tells about each new revision.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Is done when the server stops.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Ends watches and the clock.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Wakes the controllers whenever one of their times has come.
    pub(crate) async fn play(&self) {
        loop {
            let next = self.lock().next;
            let sleep = next.map_or(LONGEST_SLEEP, |at| {
                let left = at - OffsetDateTime::now_utc();
                Duration::try_from(left)
                    .unwrap_or_default()
                    .min(LONGEST_SLEEP)
            });
            tokio::select! {
                () = tokio::time::sleep(sleep) => {
                    let inner = self.lock();
                    self.step(inner, OffsetDateTime::now_utc());
                }
                () = self.rescheduled.notified() => {}
                () = self.stopped.cancelled() => return,
            }
        }
    }

    fn step(&self, mut inner: MutexGuard<'_, Inner>, now: OffsetDateTime) {
        let next = step(&mut inner.state, now);
        let earlier = next.is_some_and(|at| inner.next.is_none_or(|known| at < known));
        inner.next = next;
        let revision = inner.state.revision();
        drop(inner);
        self.revision.send_if_modified(|known| {
            let changed = *known != revision;
            *known = revision;
            changed
        });
        if earlier {
            self.rescheduled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
