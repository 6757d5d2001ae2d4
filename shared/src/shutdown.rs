//! SIGTERM and SIGINT start a drain; a second signal aborts it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT, and one by the second.
///
/// # Errors
/// When the process may not handle signals.
pub(crate) fn on_signal() -> std::io::Result<(CancellationToken, CancellationToken)> {
    let mut signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
    let tokens = (drain.clone(), abort.clone());
    tokio::spawn(async move {
        next(&mut signals).await;
        tokens.0.cancel();
        next(&mut signals).await;
        tokens.1.cancel();
    });
    Ok((drain, abort))
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
