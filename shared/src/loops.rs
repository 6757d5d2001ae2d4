//! Background loops: started again with a pause when they fail.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{Context, backplane::Plane, builder::Loop, context::Work};

/// First pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A loop's calls have no caller who stops waiting.
const NEVER: Duration = Duration::from_hours(8760);

/// Keeps one loop running until shutdown.
pub(crate) async fn supervise(
    name: &'static str,
    work: Loop,
    plane: Arc<Plane>,
    shutdown: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let Some(context) = context(name, &plane, &shutdown) else {
            return;
        };
        let span =
            tracing::info_span!("loop", "otel.name" = name, trace_id = tracing::field::Empty);
        let run = tokio::spawn(work(context, shutdown.clone()).instrument(span));
        match run.await {
            Ok(Ok(())) if shutdown.is_cancelled() => return,
            Ok(Ok(())) => tracing::info!(name, "a background loop ended and starts again"),
            Ok(Err(error)) => tracing::warn!(
                name,
                error = format!("{error:#}"),
                "a background loop failed and starts again"
            ),
            Err(error) => {
                tracing::error!(name, %error, "a background loop stopped unexpectedly and starts again");
            }
        }
        pause = if started.elapsed() > LONGEST_PAUSE {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn context(name: &str, plane: &Arc<Plane>, shutdown: &CancellationToken) -> Option<Context> {
    let work = Work {
        task_id: format!("loop:{name}"),
        skill: name.to_owned(),
        caller: plane.access.own()?,
        on_behalf_of: None,
        deadline: Instant::now() + NEVER,
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    Some(Context::new(
        work,
        None,
        shutdown.child_token(),
        plane.clone(),
    ))
}
