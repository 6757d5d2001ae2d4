//! A run that its caller awaits in place, and that goes on by itself when the caller goes away.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::runtime::Handle;

/// Costs no switch between tasks while somebody waits; spawns the rest of the run when it is dropped.
pub(crate) struct Detaching(Option<BoxFuture<'static, ()>>);

impl std::fmt::Debug for Detaching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Detaching")
    }
}

impl Detaching {
    pub(crate) fn new(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(run)))
    }
}

impl Future for Detaching {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(run) = &mut self.0 else {
            return Poll::Ready(());
        };
        let done = run.as_mut().poll(context);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

impl Drop for Detaching {
    fn drop(&mut self) {
        // Outside of a runtime the process is at its end.
        if let (Some(run), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn(run));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_run_goes_on_when_nobody_waits_any_more() {
        let (go, gone) = oneshot::channel();
        let (done, finished) = oneshot::channel();
        let mut run = Detaching::new(async {
            gone.await.unwrap();
            done.send(()).unwrap();
        });
        assert!(futures::poll!(&mut run).is_pending());
        drop(run);
        go.send(()).unwrap();
        finished.await.unwrap();
    }
}
