//! Ctrl-C and its relatives, heard from the moment that processes may be left behind.

use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM, and the end of the terminal.
#[derive(Debug)]
pub(crate) struct Interrupt([Signal; 3]);

impl Interrupt {
    /// Hears them from now on.
    ///
    /// # Errors
    /// When the system allows no handler.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one.
    pub(crate) async fn received(&mut self) {
        let any = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        let _which = select_all(any).await;
    }
}
