//! Looks at a statement from a second connection while it runs: progress, who is in its way, cancellation.

use std::{future::Future, time::Duration};

use shared::SkillError;
use tokio::time::{Instant, sleep, sleep_until};

use super::Job;
use crate::{
    clients::{Session, TargetError, Watch},
    domain::{
        Dialect,
        progress::{Estimate, sentence},
        waiting::{Blocker, Waiting, named},
    },
};

/// How often a long statement is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a cancelled statement is told again: the first word may have come between two statements.
const TELL: Duration = Duration::from_millis(200);
/// At most this, and a tenth of the time there was, is kept before the deadline to clean up.
const MARGIN: Duration = Duration::from_secs(5);

/// What is known about one transaction or statement from outside.
#[derive(Debug)]
pub(super) struct Observer {
    watch: Option<Box<dyn Watch>>,
    dialect: Dialect,
    began: Instant,
    /// When a statement is given up, so that there is time to clean up before the deadline.
    stop_at: Instant,
    /// The attempts to get its locks.
    pub(super) waiting: Waiting,
    blockers: Vec<Blocker>,
    stopped: bool,
}

impl Observer {
    pub(super) fn new(job: &Job<'_>, session: &dyn Session) -> Self {
        let began = Instant::now();
        let until = job.until();
        let margin = MARGIN.min(until.saturating_duration_since(began) / 10);
        Self {
            watch: session.watch(),
            dialect: session.dialect(),
            began,
            stop_at: until.checked_sub(margin).unwrap_or(until),
            waiting: Waiting::default(),
            blockers: Vec::new(),
            stopped: false,
        }
    }

    /// The first look falls into the wait for a lock, when there was one before.
    fn first_look(&self) -> Duration {
        if self.waiting.attempts > 0 {
            Duration::from_millis(self.waiting.timeout_ms() / 2)
        } else {
            LOOK
        }
    }

    /// Notes an attempt that gave up.
    pub(super) async fn gave_up(&mut self, job: &Job<'_>) {
        job.metrics.lock_attempt(self.dialect);
        let seen = std::mem::take(&mut self.blockers);
        self.waiting.gave_up(seen);
        if let Some(watch) = &mut self.watch
            && let Err(error) = watch.open().await
        {
            tracing::debug!(%error, "nothing can be seen of what is in the way");
        }
    }

    /// Whether there is time for another attempt after this pause.
    pub(super) fn has_time(&self, pause: Duration) -> bool {
        Instant::now() + pause < self.stop_at
    }

    /// The time since the first attempt.
    pub(super) fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// Transactions that a concurrent statement would wait for.
    pub(super) async fn old_transactions(&mut self) -> Vec<Blocker> {
        let Some(watch) = &mut self.watch else {
            return Vec::new();
        };
        watch.old_transactions().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "old transactions cannot be seen");
            Vec::new()
        })
    }

    /// The error of a statement that was cancelled from here; any other stays.
    pub(super) fn explain(&self, job: &Job<'_>, error: TargetError) -> super::EngineError {
        let canceled = matches!(&error, TargetError::Sql { code, .. } if code == "57014");
        if canceled && job.context.check_canceled().is_err() {
            return SkillError::Canceled.into();
        }
        if canceled && self.stopped {
            let waits = if self.blockers.is_empty() {
                String::from("it was still working")
            } else {
                format!("it waited for {}", named(&self.blockers))
            };
            return SkillError::failed(format!(
                "a statement did not end before the deadline of the task: {waits}"
            ))
            .into();
        }
        error.into()
    }

    /// One look: who is in the way, and how far it is.
    async fn look(&mut self, job: &Job<'_>, what: &str, estimate: &mut Estimate) {
        let Some(watch) = &mut self.watch else { return };
        let sample = match watch.sample().await {
            Ok(sample) => sample,
            Err(error) => {
                tracing::debug!(%error, "a statement cannot be seen");
                return;
            }
        };
        job.metrics.blocked(self.dialect, sample.blocked);
        let mut said = what.to_owned();
        let (mut done, mut total) = (0, 0);
        if let Some(phase) = &sample.phase {
            let left = estimate.left(phase, self.began.elapsed());
            said = format!("{said}: {}", sentence(phase, left));
            (done, total) = (phase.done, phase.total);
        }
        if !sample.blockers.is_empty() {
            said = format!("{said}: waits for {}", named(&sample.blockers));
        }
        self.blockers = sample.blockers;
        if said != what {
            job.context.progress(&said, done, total);
        }
    }

    async fn cancel(&mut self) {
        if let Some(watch) = &mut self.watch
            && let Err(error) = watch.cancel().await
        {
            tracing::debug!(%error, "a statement could not be cancelled");
        }
    }
}

impl Job<'_> {
    /// Awaits what a session does. It is cancelled on the server when the task is, and shortly before the deadline.
    pub(super) async fn observed<T>(
        &self,
        observer: &mut Observer,
        what: &str,
        work: impl Future<Output = T> + Send,
    ) -> T {
        tokio::pin!(work);
        if observer.watch.is_none() {
            return work.await;
        }
        let mut estimate = Estimate::default();
        let mut next = observer.first_look();
        loop {
            let (canceled, late) = (self.context.check_canceled().is_err(), observer.stopped);
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = sleep(TELL), if canceled || late => observer.cancel().await,
                () = self.context.canceled(), if !canceled => observer.cancel().await,
                () = sleep_until(observer.stop_at), if !late => {
                    observer.stopped = true;
                    observer.cancel().await;
                }
                () = sleep(next) => {
                    observer.look(self, what, &mut estimate).await;
                    next = LOOK;
                }
            }
        }
    }

    /// Pauses unless the task is cancelled meanwhile.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), SkillError> {
        tokio::select! {
            () = self.context.canceled() => {}
            () = sleep(pause) => {}
        }
        self.context.check_canceled()
    }
}
