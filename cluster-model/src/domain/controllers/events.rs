//! Events: what controllers and the kubelet tell about objects.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::kind::EVENTS;
use crate::domain::object::{int, name, namespace, set, stamp, text, uid};
use crate::domain::state::{Key, State};

/// What is told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) normal: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) by: &'static str,
}

impl Told {
    pub(super) fn normal(by: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            normal: true,
            reason,
            message,
            by,
        }
    }

    pub(super) fn warning(by: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            normal: false,
            ..Self::normal(by, reason, message)
        }
    }
}

/// Records an event about an object; the same one again only counts up.
pub(super) fn tell(state: &mut State, about: &Value, told: Told, now: OffsetDateTime) {
    let same = (uid(about).to_owned(), told.reason.to_owned(), told.message);
    let known = state.similar_events.get(&same).cloned();
    let found = known.and_then(|key| state.get(&key).cloned().map(|event| (key, event)));
    if let Some((key, event)) = found {
        let mut event = (*event).clone();
        let count = int(&event, "/count").unwrap_or(1);
        set(&mut event, "/count", count + 1);
        set(&mut event, "/lastTimestamp", stamp(now));
        let _full = state.put(&key, event);
        return;
    }
    let place = match namespace(about) {
        "" => "default",
        place => place,
    };
    let key = Key::new(
        &EVENTS,
        place,
        &format!("{}.{:016x}", name(about), state.next_number()),
    );
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "name": key.name, "namespace": place, "uid": state.next_uid(),
            "creationTimestamp": stamp(now),
        },
        "involvedObject": {
            "apiVersion": text(about, "/apiVersion"), "kind": text(about, "/kind"),
            "namespace": namespace(about), "name": name(about), "uid": uid(about),
            "resourceVersion": text(about, "/metadata/resourceVersion"),
        },
        "type": if told.normal { "Normal" } else { "Warning" },
        "reason": told.reason, "message": same.2, "count": 1,
        "firstTimestamp": stamp(now), "lastTimestamp": stamp(now), "eventTime": null,
        "source": {"component": told.by}, "reportingComponent": told.by, "reportingInstance": "",
    });
    if state.put(&key, event).is_ok() {
        state.similar_events.insert(same, key);
    }
}
