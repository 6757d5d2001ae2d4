//! Waiting for what others do.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

/// Longest wait for anything: 4 minutes, for a machine that does much else.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(60);

/// Looks again and again until there is something.
///
/// # Errors
/// When a look fails, or there is nothing for too long.
pub async fn until<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    what: &str,
    look: impl Fn() -> F,
) -> anyhow::Result<T> {
    let found = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            sleep(LOOK).await;
        }
    };
    let found = timeout(PATIENCE, found).await;
    found.with_context(|| format!("waited too long: {what}"))?
}
