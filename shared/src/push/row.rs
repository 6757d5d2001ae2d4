//! One configuration as it is stored, and what is to be done about it: decisions without I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Entry, Write};
use time::OffsetDateTime;

use super::{CONFIGS, post::PostError};

/// Sort key of rows that may still have something to deliver; they come first.
pub(super) const PENDING: &str = "0";
/// Sort key of rows that only stay to be shown.
pub(super) const DONE: &str = "1";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// One delivery, from the name's resolution to the answer's head.
    pub(super) patience: Duration,
    /// First pause after a failure; doubles up to the longest.
    pub(super) first_pause: Duration,
    /// Longest pause.
    pub(super) longest_pause: Duration,
    /// An event that failed for so long is given up, and its webhook with it.
    pub(super) give_up: Duration,
    /// A replica that said nothing for so long delivers no more. More than twice the patience: a delivery that began
    /// just before the lease had to be renewed ends well within it.
    pub(super) lease: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(5),
            give_up: Duration::from_hours(24),
            lease: Duration::from_mins(1),
        }
    }
}

impl Timing {
    /// Pause after so many failures in a row: doubling, and half of it by chance, so that webhooks that failed together
    /// are not tried together.
    pub(super) fn pause(&self, failures: u32, chance: u16) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first_pause.saturating_mul(1 << doublings);
        let half = whole.min(self.longest_pause) / 2;
        half + half * u32::from(chance) / u32::from(u16::MAX)
    }
}

/// Longest wait that a webhook may ask for by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// A replica's right to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) holder: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) until: OffsetDateTime,
}

/// A stored configuration with the state of its deliveries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) task_id: String,
    pub(super) id: String,
    pub(super) owner: String,
    /// The configuration, encrypted.
    pub(super) sealed: String,
    /// Number of the last event that the webhook acknowledged, or that it does not get.
    pub(super) sent: u64,
    /// Failures of the next event in a row.
    pub(super) failures: u32,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) failing_since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) next_try: Option<OffsetDateTime>,
    pub(super) last_error: Option<String>,
    pub(super) lease: Option<Lease>,
    /// Nothing will be delivered any more.
    pub(super) done: bool,
    /// Version in the store.
    #[serde(skip)]
    pub(super) version: u64,
}

/// What is to be done about a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, ever.
    Over,
    /// Nothing until the task changes.
    Idle,
    /// Nothing before this time.
    Later(OffsetDateTime),
    /// Deliver.
    Deliver,
}

/// The key of a configuration; ids of tasks have no slash.
pub(super) fn key_of(task_id: &str, id: &str) -> String {
    format!("{task_id}/{id}")
}

impl Row {
    /// A row whose webhook has seen everything up to an event.
    pub(super) fn new(task_id: &str, id: &str, owner: &str, (sealed, sent): (String, u64)) -> Self {
        Self {
            task_id: task_id.to_owned(),
            id: id.to_owned(),
            owner: owner.to_owned(),
            sealed,
            sent,
            failures: 0,
            failing_since: None,
            next_try: None,
            last_error: None,
            lease: None,
            done: false,
            version: 0,
        }
    }

    /// Reads a stored row.
    pub(super) fn read(entry: &Entry) -> Result<Self, serde_json::Error> {
        let row: Self = serde_json::from_slice(&entry.body)?;
        Ok(Self {
            version: entry.version,
            ..row
        })
    }

    /// Its key.
    pub(super) fn key(&self) -> String {
        key_of(&self.task_id, &self.id)
    }

    fn entry(&self) -> Entry {
        Entry {
            key: self.key(),
            scope: self.task_id.clone(),
            sort: if self.done { DONE } else { PENDING }.to_owned(),
            version: self.version,
            body: serde_json::to_vec(self).unwrap_or_default(),
        }
    }

    /// Stores it whatever is there.
    pub(super) fn put(&self) -> Write {
        Write::Put {
            collection: CONFIGS,
            entry: self.entry(),
        }
    }

    /// Stores it when nobody has changed it since it was read.
    pub(super) fn update(&self) -> Write {
        Write::Update {
            collection: CONFIGS,
            entry: self.entry(),
        }
    }

    /// What is to be done by `me` now, with the task at event `newest`.
    pub(super) fn step(&self, newest: u64, ended: bool, (me, now): (&str, OffsetDateTime)) -> Step {
        let foreign = self
            .lease
            .as_ref()
            .filter(|lease| lease.holder != me && lease.until > now);
        match (self.next_try, foreign) {
            _ if self.done => Step::Over,
            _ if self.sent == newest && ended => Step::Over,
            _ if self.sent == newest => Step::Idle,
            (_, Some(lease)) => Step::Later(lease.until),
            (Some(next), _) if next > now => Step::Later(next),
            _ => Step::Deliver,
        }
    }

    /// Whether `me` has to claim the row, or its claim anew, before a delivery.
    pub(super) fn needs_lease(&self, timing: &Timing, (me, now): (&str, OffsetDateTime)) -> bool {
        let enough = now + timing.patience + timing.patience / 2;
        let held = |lease: &Lease| lease.holder == me && lease.until > enough;
        !self.lease.as_ref().is_some_and(held)
    }

    /// The webhook has acknowledged an event.
    pub(super) fn acknowledged(&mut self, number: u64) {
        self.sent = number;
        self.failures = 0;
        self.failing_since = None;
        self.next_try = None;
        self.last_error = None;
    }

    /// A delivery failed: it is tried again later, or given up. Others may try then.
    pub(super) fn failed(
        &mut self,
        error: &PostError,
        timing: &Timing,
        (now, chance): (OffsetDateTime, u16),
    ) {
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(now);
        let pause = timing.pause(self.failures, chance);
        let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
        self.next_try = Some(now + pause.max(asked));
        self.last_error = Some(error.to_string());
        self.lease = None;
        self.done = error.is_final() || now - since >= timing.give_up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "me";

    fn row() -> Row {
        Row::new("t", "c", "o", (String::new(), 3))
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn status(status: u16) -> PostError {
        PostError::Status {
            status,
            retry_after: None,
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn knows_what_is_next() {
        let later = now() + secs(1);
        let lease = |holder: &str, until| {
            Some(Lease {
                holder: holder.into(),
                until,
            })
        };
        let with = |next_try, lease, done| Row {
            next_try,
            lease,
            done,
            ..row()
        };
        for (row, newest, ended, expected) in [
            (row(), 3, false, Step::Idle),
            (row(), 3, true, Step::Over),
            (row(), 4, false, Step::Deliver),
            (row(), 4, true, Step::Deliver),
            // The store was set back: the webhook is told how things stand.
            (row(), 2, true, Step::Deliver),
            (with(None, None, true), 4, false, Step::Over),
            (with(Some(later), None, false), 4, true, Step::Later(later)),
            (with(Some(now()), None, false), 4, true, Step::Deliver),
            (
                with(None, lease("other", later), false),
                4,
                true,
                Step::Later(later),
            ),
            (
                with(None, lease("other", later), false),
                3,
                false,
                Step::Idle,
            ),
            (
                with(None, lease("other", now()), false),
                4,
                true,
                Step::Deliver,
            ),
            (with(None, lease(ME, later), false), 4, true, Step::Deliver),
        ] {
            assert_eq!(row.step(newest, ended, (ME, now())), expected, "{row:?}");
        }
    }

    #[test]
    fn a_lease_outlives_the_delivery_that_it_is_for() {
        let timing = Timing::default();
        assert!(timing.lease > timing.patience * 2);
        let held = |holder: &str, left| Row {
            lease: Some(Lease {
                holder: holder.into(),
                until: now() + left,
            }),
            ..row()
        };
        for (row, needed) in [
            (row(), true),
            (held(ME, timing.lease), false),
            (held(ME, timing.patience), true),
            (held("other", timing.lease), true),
        ] {
            assert_eq!(row.needs_lease(&timing, (ME, now())), needed);
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_by_chance() {
        let timing = Timing::default();
        let range = |failures| {
            (
                timing.pause(failures, 0).as_millis(),
                timing.pause(failures, u16::MAX).as_millis(),
            )
        };
        assert_eq!(range(1), (500, 1_000));
        assert_eq!(range(2), (1_000, 2_000));
        assert_eq!(range(5), (8_000, 16_000));
        assert_eq!(range(9), (128_000, 256_000));
        assert_eq!(range(10), (150_000, 300_000));
        assert_eq!(range(u32::MAX), (150_000, 300_000));
    }

    #[test]
    fn fails_for_a_day_and_is_given_up() {
        let timing = Timing::default();
        let (mut row, mut at, mut tries) = (row(), now(), 0);
        while !row.done {
            row.failed(&status(500), &timing, (at, u16::MAX));
            tries += 1;
            at = row.next_try.unwrap();
        }
        assert!(at - now() >= timing.give_up, "{tries}");
        assert!((290..310).contains(&tries), "{tries}");
        assert_eq!(row.last_error.as_deref(), Some("the webhook answered 500"));
        assert_eq!(row.sent, 3);
    }

    #[test]
    fn a_success_forgets_the_failures_before() {
        let mut row = row();
        row.failed(&status(503), &Timing::default(), (now(), 0));
        assert_eq!((row.failures, row.done), (1, false));
        row.acknowledged(4);
        assert_eq!((row.sent, row.failures), (4, 0));
        assert_eq!(row.step(4, false, (ME, now())), Step::Idle);
        assert!(row.last_error.is_none() && row.failing_since.is_none());
    }

    #[test]
    fn a_webhook_says_when_to_come_back_and_when_never() {
        let timing = Timing::default();
        let asks = |seconds| PostError::Status {
            status: 429,
            retry_after: Some(secs(seconds)),
        };
        for (error, wait) in [
            (asks(0), secs(1)),
            (asks(90), secs(90)),
            (asks(1_000_000), MAX_RETRY_AFTER),
        ] {
            let mut row = row();
            row.failed(&error, &timing, (now(), u16::MAX));
            assert_eq!(row.next_try, Some(now() + wait));
            assert!(!row.done);
        }
        for gone in [404, 410] {
            let mut row = row();
            row.failed(&status(gone), &timing, (now(), 0));
            assert!(row.done);
        }
    }

    #[test]
    fn survives_the_store() {
        let mut row = row();
        row.failed(&status(500), &Timing::default(), (now(), 0));
        let Write::Put { entry, .. } = row.put() else {
            panic!("a put");
        };
        assert_eq!(
            (
                entry.key.as_str(),
                entry.scope.as_str(),
                entry.sort.as_str()
            ),
            ("t/c", "t", PENDING)
        );
        let again = Row::read(&Entry {
            version: 7,
            ..entry
        })
        .unwrap();
        assert_eq!(
            (again.version, again.failures, again.next_try),
            (7, 1, row.next_try)
        );
        assert_eq!(Row { done: true, ..row }.entry().sort, DONE);
    }
}
