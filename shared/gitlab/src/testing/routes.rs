//! What it answers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State as Shared},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{Held, Recorded, State, pipelines, stamp};

type Query = HashMap<String, String>;
/// Status and body.
pub(super) type Answer = (u16, Value);

/// All routes in one handler, so that each request is recorded with its answer.
pub(super) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(Shared(shared): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().trim_start_matches("/api/v4/");
    let path: Vec<String> = path.split('/').map(decoded).collect();
    let query: Query = parts.uri.query().map(pairs).unwrap_or_default();
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = Asked {
        method: &parts.method,
        path: &path,
        query: &query,
        body: &body,
    };
    let trouble = (!state.trouble.is_empty()).then(|| state.trouble.remove(0));
    let token = parts
        .headers
        .get("private-token")
        .and_then(|token| token.to_str().ok());
    let (status, answer, wait) = match trouble {
        Some((status, wait)) => (status, json!({"message": "try again"}), wait),
        None if token != Some(state.token.as_str()) => {
            (401, json!({"message": "401 Unauthorized"}), None)
        }
        None => {
            let (status, answer) = answer(&mut state, &asked);
            (status, answer, None)
        }
    };
    let response = respond((status, answer), (&parts.headers, &query, state.page), wait);
    state.requests.push(Recorded {
        method: parts.method.to_string(),
        path: path.join("/"),
        body,
        status: response.status().as_u16(),
    });
    response
}

fn respond(
    (status, answer): Answer,
    (headers, query, page): (&HeaderMap, &Query, usize),
    wait: Option<u64>,
) -> Response {
    let mut sent: Vec<(HeaderName, String)> = Vec::new();
    sent.extend(wait.map(|seconds| (header::RETRY_AFTER, seconds.to_string())));
    let mut answer = answer;
    if let Value::Array(all) = &answer {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let size = number("per_page").unwrap_or(20).min(page);
        let current = number("page").unwrap_or(1).max(1);
        let part: Vec<Value> = all
            .iter()
            .skip((current - 1) * size)
            .take(size)
            .cloned()
            .collect();
        let more = all.len() > current * size;
        let next = if more {
            (current + 1).to_string()
        } else {
            String::new()
        };
        sent.push((HeaderName::from_static("x-next-page"), next));
        answer = Value::Array(part);
    }
    let mut hasher = DefaultHasher::new();
    answer.to_string().hash(&mut hasher);
    let tag = format!("W/\"{:x}\"", hasher.finish());
    if status == 200
        && headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    sent.push((header::ETAG, tag));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(answer)).into_response();
    for (name, value) in sent {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A part of a path or query without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pairs(query: &str) -> Query {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').map(pair).collect()
}

struct Asked<'a> {
    method: &'a Method,
    path: &'a [String],
    query: &'a Query,
    body: &'a Value,
}

pub(super) fn missing(what: &str) -> Answer {
    (404, json!({"message": format!("404 {what} Not Found")}))
}

fn answer(state: &mut State, asked: &Asked<'_>) -> Answer {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let ["projects", project, rest @ ..] = path.as_slice() else {
        return match path.as_slice() {
            ["projects"] => pipelines::projects(state),
            _ => missing("Route"),
        };
    };
    let number = state.next();
    let Some(held) = state.projects.get_mut(*project) else {
        return missing("Project");
    };
    match (asked.method.as_str(), rest) {
        (_, ["deployments", ..]) => deployments(held, asked, rest, number),
        (_, ["issues", ..]) => issues(held, asked, rest, number),
        (_, ["merge_requests", merge, "notes", ..]) => notes(held, asked, (merge, rest), number),
        (_, ["freeze_periods", ..]) => freezes(held, asked, rest, number),
        ("GET", ["environments"]) => (200, Value::Array(held.environments.clone())),
        ("GET", ["pipelines", pipeline, "jobs"]) => pipelines::of_pipeline(held, pipeline),
        (_, ["jobs", job, rest @ ..]) => {
            pipelines::jobs(held, asked.method.as_str(), (job, rest), number)
        }
        ("GET", ["repository", "tags", tag]) => pipelines::tag(held, tag),
        ("GET", ["repository", "commits", sha]) => held
            .commits
            .get(*sha)
            .map_or_else(|| missing("Commit"), |commit| (200, commit.clone())),
        ("GET", ["repository", "commits", sha, "merge_requests"]) => (
            200,
            Value::Array(held.merges.get(*sha).cloned().unwrap_or_default()),
        ),
        ("POST", ["statuses", sha]) => {
            let mut status = json!({"id": number, "sha": sha, "ref": null, "status": asked.body["state"], "created_at": stamp(),
                "started_at": null, "finished_at": null, "allow_failure": false, "coverage": null, "author": {}});
            take(
                &mut status,
                asked.body,
                &["name", "description", "target_url"],
            );
            held.statuses.push(status.clone());
            (201, status)
        }
        _ => missing("Route"),
    }
}

/// Copies members of a request.
fn take(object: &mut Value, from: &Value, names: &[&str]) {
    for name in names {
        if let Some(value) = from.get(name) {
            object[name] = value.clone();
        }
    }
}

fn with_id<'a>(list: &'a mut [Value], member: &str, id: &str) -> Option<&'a mut Value> {
    let id: u64 = id.parse().ok()?;
    list.iter_mut().find(|one| one[member].as_u64() == Some(id))
}

fn absent(body: &Value, names: &[&str]) -> Option<Answer> {
    let name = names
        .iter()
        .find(|name| body.get(**name).is_none_or(Value::is_null))?;
    Some((400, json!({"error": format!("{name} is missing")})))
}

const SETTABLE: [&str; 4] = ["running", "success", "failed", "canceled"];

fn deployments(held: &mut Held, asked: &Asked<'_>, rest: &[&str], number: u64) -> Answer {
    let settable = asked.body["status"]
        .as_str()
        .is_some_and(|status| SETTABLE.contains(&status));
    let refused = (400, json!({"message": {"status": ["is invalid"]}}));
    match (asked.method.as_str(), rest) {
        ("GET", [_]) => {
            let fits = |one: &&Value| {
                let equal = |name: &str, value: &Value| {
                    asked.query.get(name).is_none_or(|wanted| value == wanted)
                };
                let name = one.pointer("/environment/name").unwrap_or(&Value::Null);
                equal("environment", name) && equal("status", &one["status"])
            };
            let mut found: Vec<Value> = held.deployments.iter().filter(fits).cloned().collect();
            if asked.query.get("sort").is_some_and(|sort| sort == "desc") {
                found.reverse();
            }
            (200, Value::Array(found))
        }
        ("POST", [_]) => {
            if let Some(refused) =
                absent(asked.body, &["environment", "sha", "ref", "tag", "status"])
            {
                return refused;
            }
            if !settable {
                return refused;
            }
            let iid = held.deployments.len() + 1;
            let mut made = json!({"id": number, "iid": iid, "created_at": stamp(), "updated_at": stamp(), "user": {"id": 1, "username": "mesh"},
                "environment": {"id": 9, "name": asked.body["environment"], "external_url": null}, "deployable": null});
            take(&mut made, asked.body, &["ref", "sha", "status"]);
            held.deployments.push(made.clone());
            (201, made)
        }
        ("PUT", [_, id]) if settable => match with_id(&mut held.deployments, "id", id) {
            Some(one) => {
                take(one, asked.body, &["status"]);
                one["updated_at"] = json!(stamp());
                (200, one.clone())
            }
            None => missing("Deployment"),
        },
        ("PUT", [_, _]) => refused,
        _ => missing("Route"),
    }
}

fn issues(held: &mut Held, asked: &Asked<'_>, rest: &[&str], number: u64) -> Answer {
    match (asked.method.as_str(), rest) {
        ("GET", [_]) => {
            let fits = |one: &&Value| {
                let kind = asked
                    .query
                    .get("issue_type")
                    .is_none_or(|kind| one["issue_type"] == *kind);
                let text = one["description"].as_str().unwrap_or_default();
                kind && asked
                    .query
                    .get("search")
                    .is_none_or(|words| text.contains(words.as_str()))
            };
            (
                200,
                Value::Array(held.issues.iter().filter(fits).cloned().collect()),
            )
        }
        ("POST", [_]) => {
            if let Some(refused) = absent(asked.body, &["title"]) {
                return refused;
            }
            let iid = held.issues.len() + 1;
            let mut made = json!({"id": number, "iid": iid, "project_id": 1, "state": "opened", "issue_type": "issue", "severity": "UNKNOWN",
                "created_at": stamp(), "updated_at": stamp(), "closed_at": null, "description": null, "labels": [], "author": {"id": 1},
                "web_url": format!("http://gitlab.example.com/-/issues/{iid}")});
            take(
                &mut made,
                asked.body,
                &["title", "description", "issue_type"],
            );
            label(&mut made, asked.body);
            held.issues.push(made.clone());
            (201, made)
        }
        ("PUT", [_, iid]) => match with_id(&mut held.issues, "iid", iid) {
            Some(one) => {
                take(one, asked.body, &["title", "description"]);
                label(one, asked.body);
                one["updated_at"] = json!(stamp());
                match asked.body["state_event"].as_str() {
                    Some("close") => {
                        one["state"] = json!("closed");
                        one["closed_at"] = json!(stamp());
                    }
                    Some("reopen") => {
                        one["state"] = json!("opened");
                        one["closed_at"] = Value::Null;
                    }
                    _ => {}
                }
                (200, one.clone())
            }
            None => missing("Issue"),
        },
        _ => missing("Route"),
    }
}

/// Labels come as one text and are given as a list.
fn label(issue: &mut Value, body: &Value) {
    if let Some(labels) = body["labels"].as_str() {
        let labels: Vec<&str> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .collect();
        issue["labels"] = json!(labels);
    }
}

fn notes(
    held: &mut Held,
    asked: &Asked<'_>,
    (merge, rest): (&str, &[&str]),
    number: u64,
) -> Answer {
    let Ok(merge) = merge.parse() else {
        return missing("Merge request");
    };
    let notes = held.notes.entry(merge).or_default();
    match (asked.method.as_str(), rest) {
        ("GET", _) => (200, Value::Array(notes.clone())),
        ("POST", _) => {
            if let Some(refused) = absent(asked.body, &["body"]) {
                return refused;
            }
            let mut made = json!({"id": number, "type": null, "attachment": null, "author": {"id": 1, "username": "mesh"}, "created_at": stamp(),
                "updated_at": stamp(), "system": false, "noteable_id": merge, "noteable_type": "MergeRequest", "noteable_iid": merge,
                "resolvable": false, "confidential": false, "internal": false});
            take(&mut made, asked.body, &["body"]);
            notes.push(made.clone());
            (201, made)
        }
        ("PUT", [.., id]) => match with_id(notes, "id", id) {
            Some(one) => {
                take(one, asked.body, &["body"]);
                (200, one.clone())
            }
            None => missing("Note"),
        },
        _ => missing("Route"),
    }
}

fn freezes(held: &mut Held, asked: &Asked<'_>, rest: &[&str], number: u64) -> Answer {
    match (asked.method.as_str(), rest) {
        ("GET", _) => (200, Value::Array(held.freezes.clone())),
        ("POST", _) => {
            if let Some(refused) = absent(asked.body, &["freeze_start", "freeze_end"]) {
                return refused;
            }
            let mut made = json!({"id": number, "cron_timezone": "UTC", "created_at": stamp(), "updated_at": stamp()});
            take(
                &mut made,
                asked.body,
                &["freeze_start", "freeze_end", "cron_timezone"],
            );
            held.freezes.push(made.clone());
            (201, made)
        }
        ("DELETE", [_, id]) => {
            let before = held.freezes.len();
            let id: Option<u64> = id.parse().ok();
            held.freezes.retain(|one| one["id"].as_u64() != id);
            if before == held.freezes.len() {
                missing("Freeze period")
            } else {
                (204, Value::Object(Map::new()))
            }
        }
        _ => missing("Route"),
    }
}
