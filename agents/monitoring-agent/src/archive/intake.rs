//! The way into the log: whatever waits at the same moment shares one insert.

use tokio::sync::{mpsc, oneshot};

use super::{Archive, Logged};
use crate::domain::dora::Facts;
use crate::watch::now;

/// Events that may wait for the log.
const QUEUE: usize = 8_192;
/// Most events of one segment.
const SEGMENT: usize = 4_096;

/// Why an event was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event could not be stored")]
pub struct NotKept;

struct Waiting {
    event: Logged,
    done: oneshot::Sender<Result<(), NotKept>>,
}

/// Takes in events.
#[derive(Debug, Clone)]
pub struct Intake(mpsc::Sender<Waiting>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Intake {
    /// Starts the writer of a log. It ends when all of its intakes are gone.
    pub fn open(archive: Archive) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(archive, waiting));
        Self(queue)
    }

    /// Logs an event; comes back when it is durable.
    ///
    /// # Errors
    /// When the store did not take it.
    pub async fn keep(&self, project: u64, facts: Facts) -> Result<(), NotKept> {
        let (done, result) = oneshot::channel();
        let event = Logged {
            received: now().millis(),
            project,
            facts,
        };
        let waiting = Waiting { event, done };
        self.0.send(waiting).await.map_err(|_| NotKept)?;
        result.await.unwrap_or(Err(NotKept))
    }
}

async fn write(archive: Archive, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, SEGMENT).await > 0 {
        let (events, done): (Vec<Logged>, Vec<_>) =
            waiting.drain(..).map(|one| (one.event, one.done)).unzip();
        let count = events.len();
        let packing =
            tokio::task::spawn_blocking(move || Archive::segment(&events, now().millis()));
        let result = match packing.await {
            Ok(segment) => archive.0.submit(vec![segment]).await.map_err(|error| {
                tracing::warn!(%error, events = count, "cannot keep events");
                NotKept
            }),
            Err(_) => Err(NotKept),
        };
        for waiter in done {
            // Who does not wait any more will send the event again.
            drop(waiter.send(result.clone()));
        }
    }
}
