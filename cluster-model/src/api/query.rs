use std::collections::HashMap;
use std::time::Duration;

use http::Uri;

use crate::domain::selector::{Fields, Labels};
use crate::domain::{Kind, Refusal};

/// Longest watch, and its length when the caller names none: half an hour.
const LONGEST_WATCH: Duration = Duration::from_mins(30);

/// The parameters of a call.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of its own"
)]
pub(super) struct Query {
    pub(super) labels: Labels,
    pub(super) fields: Fields,
    pub(super) watch: bool,
    pub(super) resource_version: String,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) timeout: Duration,
    pub(super) limit: usize,
    pub(super) next: String,
    pub(super) dry_run: bool,
    pub(super) field_manager: String,
    pub(super) propagation: String,
    pub(super) grace: Option<i64>,
}

impl Query {
    pub(super) fn parse(uri: &Uri, kind: &Kind) -> Result<Self, Refusal> {
        let parameters = axum::extract::Query::<HashMap<String, String>>::try_from_uri(uri)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        let get = |name: &str| parameters.get(name).map_or("", String::as_str);
        let flag = |name: &str| matches!(get(name), "true" | "1");
        let seconds = get("timeoutSeconds").parse().unwrap_or(u64::MAX);
        let dry_run = match get("dryRun") {
            "" => false,
            "All" => true,
            other => {
                let message =
                    format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                return Err(Refusal::bad_request(message));
            }
        };
        Ok(Self {
            labels: Labels::parse(get("labelSelector"))?,
            fields: Fields::parse(kind, get("fieldSelector"))?,
            watch: flag("watch"),
            resource_version: get("resourceVersion").to_owned(),
            bookmarks: flag("allowWatchBookmarks"),
            initial_events: flag("sendInitialEvents"),
            timeout: Duration::from_secs(seconds).min(LONGEST_WATCH),
            limit: get("limit").parse().unwrap_or(0),
            next: get("continue").to_owned(),
            dry_run,
            field_manager: get("fieldManager").to_owned(),
            propagation: get("propagationPolicy").to_owned(),
            grace: get("gracePeriodSeconds").parse().ok(),
        })
    }
}
