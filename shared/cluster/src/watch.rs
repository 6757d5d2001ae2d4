use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::core::{ApiResource, Selector};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::{Backend, Cluster, action, check_name};
use crate::error::ClusterError;
use crate::scoped::Scoped;

/// First pause after a broken watch: 100 ms; it doubles up to 5 s and resets with the next event.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a watch reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<K> {
    /// The complete list at the start, and again whenever the watch had to start over: what is
    /// not in it is gone.
    Listed(Vec<K>),
    /// An object was added or changed.
    Applied(K),
    /// An object was deleted; this is its last state.
    Deleted(K),
}

impl Cluster {
    /// Watches the objects of a kind in one namespace, or everywhere with `None`.
    ///
    /// The stream never ends. It reconnects by itself, resumes where it was, and reports each
    /// failure that it survives as an error. A snapshot gives its one list and then nothing.
    pub fn watch<K>(
        &self,
        namespace: Option<&str>,
        labels: Option<&Selector>,
    ) -> BoxStream<'static, Result<Event<K>, ClusterError>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let kind = ApiResource::erase::<K>(&());
        let action = action("watch", &kind, namespace, None);
        let (cluster, labels) = (self.clone(), labels.cloned());
        let namespace = namespace.map(str::to_owned);
        if let Err(error) = check_name(&action, namespace.as_deref()) {
            return stream::once(async { Err(error) }).boxed();
        }
        match self.backend {
            Backend::Live(_) => {
                let config = watcher::Config::default();
                let config = match &labels {
                    Some(labels) => config.labels_from(labels),
                    None => config,
                };
                live(cluster, namespace, config, action).boxed()
            }
            Backend::Snapshot(_) => stream::once(async move {
                let everything = Selector::default();
                let labels = labels.as_ref().unwrap_or(&everything);
                let listed = cluster.list_matching(namespace.as_deref(), labels).await;
                listed.map(Event::Listed)
            })
            .chain(stream::pending())
            .boxed(),
        }
    }
}

fn live<K>(
    cluster: Cluster,
    namespace: Option<String>,
    config: watcher::Config,
    action: String,
) -> impl Stream<Item = Result<Event<K>, ClusterError>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    clients(cluster).flat_map(move |client| match client {
        Err(error) => stream::once(async { Err(error) }).boxed(),
        Ok(client) => {
            let api: Api<Scoped<K>> = match &namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, &()),
                None => Api::all(client),
            };
            let action = action.clone();
            watcher(api, config.clone())
                .backoff(Pauses::default())
                .scan(Vec::new(), move |listed, event| {
                    let event = event
                        .map(|event| collect(listed, event))
                        .map_err(|error| failure(&action, error));
                    futures::future::ready(Some(event.transpose()))
                })
                .filter_map(futures::future::ready)
                .boxed()
        }
    })
}

/// Tries until there is a client, which is the last item; failures are items too.
fn clients(cluster: Cluster) -> impl Stream<Item = Result<kube::Client, ClusterError>> + Send {
    stream::unfold(Some((cluster, Pauses::default())), |state| async {
        let (cluster, mut pauses) = state?;
        match cluster.client().await {
            Ok(client) => Some((Ok(client), None)),
            Err(error) => {
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                Some((Err(error), Some((cluster, pauses))))
            }
        }
    })
}

fn collect<K>(listed: &mut Vec<K>, event: watcher::Event<Scoped<K>>) -> Option<Event<K>> {
    match event {
        watcher::Event::Init => {
            listed.clear();
            None
        }
        watcher::Event::InitApply(Scoped(object)) => {
            listed.push(object);
            None
        }
        watcher::Event::InitDone => Some(Event::Listed(std::mem::take(listed))),
        watcher::Event::Apply(Scoped(object)) => Some(Event::Applied(object)),
        watcher::Event::Delete(Scoped(object)) => Some(Event::Deleted(object)),
    }
}

fn failure(action: &str, error: watcher::Error) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ClusterError::from_kube(action, error),
        watcher::Error::WatchError(status) => ClusterError::from_status(action.to_owned(), *status),
        error @ watcher::Error::NoResourceVersion => ClusterError::Unavailable {
            action: action.to_owned(),
            source: Box::new(error),
        },
    }
}

#[derive(Debug, Clone)]
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_its_pauses_up_to_five_seconds_and_starts_again_after_an_event() {
        let mut pauses = Pauses::default();
        let taken: Vec<_> = pauses.by_ref().take(8).map(|p| p.as_millis()).collect();
        assert_eq!(taken, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        pauses.reset();
        assert_eq!(pauses.next(), Some(FIRST_PAUSE));
    }

    #[test]
    fn hands_over_a_list_only_when_it_is_complete() {
        let mut listed = vec!["left over from a broken list"];
        assert_eq!(collect(&mut listed, watcher::Event::Init), None);
        for name in ["a", "b"] {
            let event = watcher::Event::InitApply(Scoped(name));
            assert_eq!(collect(&mut listed, event), None);
        }
        assert_eq!(
            collect(&mut listed, watcher::Event::InitDone),
            Some(Event::Listed(vec!["a", "b"]))
        );
        assert!(listed.is_empty());
    }
}
