use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::route::Route;
use super::{VERSION, ok, openapi, refused};
use crate::domain::kind::KINDS;
use crate::domain::object::set;
use crate::domain::{Kind, Refusal};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// A page that describes the API.
pub(super) fn page(route: &Route) -> Response {
    let found = match route {
        Route::Health => return "ok".into_response(),
        Route::Version => Some(version()),
        Route::CoreVersions => Some(json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        Route::Groups => Some(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>()})),
        Route::Group(name) => {
            let name = groups().into_iter().find(|group| group.0 == name);
            name.map(|name| {
                let mut page = group(name);
                set(&mut page, "/kind", "APIGroup");
                set(&mut page, "/apiVersion", "v1");
                page
            })
        }
        Route::Resources(group, version) => resources(group, version),
        Route::Schemas => Some(openapi::index()),
        Route::Schema(group, version) => openapi::schema(group, version),
        Route::Objects(_) => None,
    };
    match found {
        Some(page) => ok(&page),
        None => refused(&Refusal::no_such_path()),
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

/// The named groups with their version, each once.
pub(super) fn groups() -> Vec<(&'static str, &'static str)> {
    let named = KINDS.iter().filter(|kind| !kind.group.is_empty());
    let mut groups: Vec<_> = named.map(|kind| (kind.group, kind.version)).collect();
    groups.dedup();
    groups
}

/// The kinds of a group and version.
pub(super) fn kinds(group: &str, version: &str) -> Vec<&'static Kind> {
    let here = |kind: &&&'static Kind| kind.group == group && kind.version == version;
    KINDS.iter().filter(here).copied().collect()
}

fn group((name, version): (&str, &str)) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds = kinds(group, version);
    let first = kinds.first()?;
    let resources: Vec<_> = kinds.iter().flat_map(|kind| entries(kind)).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": first.api_version(), "resources": resources,
    }))
}

fn entries(kind: &Kind) -> Vec<Value> {
    let part = |name: &str, verbs: &[&str]| {
        json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "",
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs,
        })
    };
    let common = matches!(
        kind.kind,
        "Pod"
            | "Service"
            | "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "DaemonSet"
            | "Job"
            | "CronJob"
            | "HorizontalPodAutoscaler"
    );
    let mut entries = vec![json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(),
        "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
        "shortNames": kind.short, "categories": if common { vec!["all"] } else { Vec::new() },
    })];
    if kind.status {
        entries.push(part("status", &["get", "patch", "update"]));
    }
    let foreign = |name: &str, verbs: &[&str], (group, version, kind): (&str, &str, &str)| {
        let mut entry = part(name, verbs);
        set(&mut entry, "/group", group);
        set(&mut entry, "/version", version);
        set(&mut entry, "/kind", kind);
        entry
    };
    if kind.scale {
        let scale = ("autoscaling", "v1", "Scale");
        entries.push(foreign("scale", &["get", "patch", "update"], scale));
    }
    if kind.kind == "Pod" {
        let eviction = ("policy", "v1", "Eviction");
        entries.push(foreign("eviction", &["create"], eviction));
    }
    entries
}
