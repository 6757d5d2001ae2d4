use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use super::{Call, table};
use crate::domain::object::set;
use crate::domain::state::{Change, ChangeKind};
use crate::domain::{Refusal, State};

/// Most changes looked at under one lock.
const BATCH: usize = 500;
/// Pause between bookmarks: 10 s. Kubernetes sends about one a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

/// One open watch.
struct Watch {
    call: Call,
    /// Changes up to this revision are looked at.
    seen: u64,
    ready: VecDeque<(&'static str, Arc<Value>)>,
    revisions: Receiver<u64>,
    end: Instant,
    bookmark: Instant,
    over: bool,
}

pub(super) fn watch(call: Call) -> Result<Response, Refusal> {
    let version = call.query.resource_version.as_str();
    let seen =
        match version {
            "" | "0" => None,
            version => Some(version.parse().map_err(|_| {
                Refusal::bad_request(format!("invalid resource version {version:?}"))
            })?),
        };
    let initial = seen.is_none() || call.query.initial_events;
    let mut watch = Watch {
        revisions: call.engine.revisions(),
        end: Instant::now() + call.query.timeout,
        bookmark: Instant::now() + BOOKMARK_EVERY,
        seen: seen.unwrap_or(0),
        ready: VecDeque::new(),
        over: false,
        call,
    };
    if initial {
        watch.start_with_what_is_there();
    }
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(line), watch))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some((kind, object)) = self.ready.pop_front() {
                return Some(self.line(kind, &object));
            }
            if self.over {
                return None;
            }
            self.revisions.mark_unchanged();
            self.gather();
            if self.ready.is_empty() && !self.over {
                self.wait().await;
            }
        }
    }

    /// Waits for a change, the next bookmark, or the end.
    async fn wait(&mut self) {
        let stopped = self.call.engine.stopped().clone();
        tokio::select! {
            changed = self.revisions.changed() => self.over = changed.is_err(),
            () = sleep_until(self.end) => self.over = true,
            () = stopped.cancelled() => self.over = true,
            () = sleep_until(self.bookmark), if self.call.query.bookmarks => {
                self.bookmark = Instant::now() + BOOKMARK_EVERY;
                let bookmark = self.bookmark_object(false);
                self.ready.push_back(("BOOKMARK", bookmark));
            }
        }
    }

    fn start_with_what_is_there(&mut self) {
        let (call, ready) = (&self.call, &mut self.ready);
        self.seen = call.engine.read(|state| {
            let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
            let found = state.list(call.target.kind, namespace);
            let found = found.filter(|(_, object)| call.selects(object));
            ready.extend(found.map(|(_, object)| ("ADDED", Arc::clone(object))));
            state.revision()
        });
        if self.call.query.initial_events {
            let bookmark = self.bookmark_object(true);
            self.ready.push_back(("BOOKMARK", bookmark));
        }
    }

    /// Looks at the next changes.
    fn gather(&mut self) {
        let engine = Arc::clone(&self.call.engine);
        if let Err(refusal) = engine.read(|state| self.gather_from(state)) {
            self.ready
                .push_back(("ERROR", Arc::new(refusal.to_status())));
            self.over = true;
        }
    }

    fn gather_from(&mut self, state: &State) -> Result<(), Refusal> {
        for change in state.changes_after(self.seen)?.take(BATCH) {
            self.seen = change.revision;
            if let Some(event) = event(&self.call, change) {
                self.ready.push_back(event);
            }
        }
        if self.seen < state.revision() {
            self.revisions.mark_changed();
        }
        Ok(())
    }

    fn bookmark_object(&self, end_of_initial: bool) -> Arc<Value> {
        let kind = self.call.target.kind;
        let mut bookmark = json!({
            "kind": kind.kind, "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": self.seen.to_string()},
        });
        if end_of_initial {
            let end = json!({"k8s.io/initial-events-end": "true"});
            set(&mut bookmark, "/metadata/annotations", end);
        }
        Arc::new(bookmark)
    }

    fn line(&self, kind: &str, object: &Arc<Value>) -> Bytes {
        let in_table = table::wanted(&self.call.accept) && !matches!(kind, "ERROR" | "BOOKMARK");
        let mut line = if in_table {
            let table = table::of(
                self.call.target.kind,
                std::slice::from_ref(object),
                &Value::Null,
            );
            json!({"type": kind, "object": table}).to_string()
        } else {
            format!("{{\"type\":\"{kind}\",\"object\":{object}}}")
        };
        line.push('\n');
        line.into()
    }
}

impl Call {
    fn selects(&self, object: &Value) -> bool {
        self.query.labels.match_object(object) && self.query.fields.match_object(object)
    }
}

/// What a change means for the objects that this watch selects.
fn event(call: &Call, change: &Change) -> Option<(&'static str, Arc<Value>)> {
    let target = &call.target;
    let elsewhere = !target.namespace.is_empty() && change.key.namespace != target.namespace;
    if change.key.kind != target.kind || elsewhere {
        return None;
    }
    let before = change.before.as_ref().filter(|object| call.selects(object));
    let after = change.after.as_ref().filter(|object| call.selects(object));
    match (change.kind, before, after) {
        (ChangeKind::Deleted, Some(last), _) => Some(("DELETED", Arc::clone(last))),
        (_, None, Some(now)) => Some(("ADDED", Arc::clone(now))),
        (_, Some(_), Some(now)) => Some(("MODIFIED", Arc::clone(now))),
        (_, Some(before), None) => {
            let mut last = (**before).clone();
            let version = change.revision.to_string();
            set(&mut last, "/metadata/resourceVersion", version);
            Some(("DELETED", Arc::new(last)))
        }
        (_, None, None) => None,
    }
}
