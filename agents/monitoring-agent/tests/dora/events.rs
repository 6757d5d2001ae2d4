//! A made-up organisation that deploys: webhook bodies by number, in the form of GitLab's documentation.
//!
//! Ten events tell of one change: a push, a merge request that is opened and merged, a pipeline, two deployments to
//! staging and two to production, the pipeline's end, and a job or an incident. So any number of events in any order
//! can be made without keeping them.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};

/// Events that tell of one change.
pub(crate) const EACH: u64 = 10;
/// When the first change was pushed.
pub(crate) const BEGAN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
/// Every so many changes of a project one causes an incident, from the fourth on.
pub(crate) const INCIDENT_EVERY: u64 = 10;
/// Every so many changes of a project one cannot be deployed, from the eighth on.
pub(crate) const FAILS_EVERY: u64 = 25;

/// The organisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Organisation {
    /// Its projects.
    pub(crate) projects: u64,
    /// Minutes between two changes of a project.
    pub(crate) pace: u64,
}

fn sha(project: u64, change: u64) -> String {
    // Spread over all digits, as hashes are.
    let mix = (change + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ project.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    format!("{mix:016x}{project:08x}{change:016x}")
}

/// `2021-04-28 21:50:00 +0200`, as deployments have it.
fn offset(at: OffsetDateTime) -> String {
    let at = at + Duration::hours(2);
    format!("{} {} +0200", at.date(), clock(at))
}

/// `2016-08-12 15:23:28 UTC`, as pipelines have it.
fn utc(at: OffsetDateTime) -> String {
    format!("{} {} UTC", at.date(), clock(at))
}

fn clock(at: OffsetDateTime) -> String {
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

fn rfc(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// One change of one project.
struct Change {
    project: u64,
    number: u64,
    at: OffsetDateTime,
}

impl Organisation {
    /// The project and the number of the change within it.
    pub(crate) fn place(self, event: u64) -> (u64, u64) {
        let change = event / EACH;
        (change % self.projects + 1, change / self.projects)
    }

    /// The body of an event.
    pub(crate) fn body(self, event: u64) -> String {
        let (project, number) = self.place(event);
        let minutes = i64::try_from(number * self.pace).unwrap_or(i64::MAX);
        let at = BEGAN + Duration::minutes(minutes);
        let change = Change {
            project,
            number,
            at,
        };
        let mut body = change.event(event % EACH);
        if let Some(body) = body.as_object_mut() {
            body.insert("project".into(), change.project());
            body.insert("user".into(), json!({"id": 7, "name": "Ada Example", "username": "ada",
                "avatar_url": "https://gitlab.example.com/uploads/-/system/user/avatar/7/avatar.png", "email": "[REDACTED]"}));
        }
        body.to_string()
    }
}

impl Change {
    fn project(&self) -> Value {
        let path = format!("shop/service-{}", self.project);
        let url = format!("https://gitlab.example.com/{path}");
        json!({"id": self.project, "name": format!("service-{}", self.project), "description": "", "web_url": url,
            "avatar_url": null, "git_ssh_url": format!("git@gitlab.example.com:{path}.git"),
            "git_http_url": format!("{url}.git"), "namespace": "shop", "visibility_level": 0,
            "path_with_namespace": path, "default_branch": "main", "ci_config_path": null, "homepage": url,
            "url": format!("git@gitlab.example.com:{path}.git"), "http_url": format!("{url}.git")})
    }

    fn after(&self, minutes: i64) -> OffsetDateTime {
        self.at + Duration::minutes(minutes)
    }

    fn event(&self, slot: u64) -> Value {
        let fails = self.number % FAILS_EVERY == 7;
        let end = if fails { "failed" } else { "success" };
        match slot {
            0 => self.push(),
            1 => self.merge("open", -30),
            2 => self.merge("merge", 0),
            3 => self.pipeline("running", None),
            4 => self.deployment(0, "staging", ("running", 2)),
            5 => self.deployment(0, "staging", ("success", 4)),
            6 => self.deployment(1, "production", ("running", 5)),
            7 => self.deployment(1, "production", (end, 8)),
            8 => self.pipeline(end, Some(8)),
            _ => match self.number % INCIDENT_EVERY {
                3 => self.incident(self.number, "open", 15),
                4 => self.incident(self.number - 1, "close", 20),
                _ => self.job(end),
            },
        }
    }

    fn push(&self) -> Value {
        let head = sha(self.project, self.number);
        let before = match self.number.checked_sub(1) {
            Some(before) => sha(self.project, before),
            None => "0".repeat(40),
        };
        let commit = json!({"id": head, "message": "Merge branch 'feature' into 'main'\n", "title": "Merge branch 'feature' into 'main'",
            "timestamp": rfc(self.at), "url": format!("https://gitlab.example.com/shop/-/commit/{head}"),
            "author": {"name": "Ada Example", "email": "[REDACTED]"}, "added": ["src/new.rs"], "modified": ["src/lib.rs"], "removed": []});
        json!({"object_kind": "push", "event_name": "push", "before": before, "after": head, "ref": "refs/heads/main",
            "ref_protected": true, "checkout_sha": head, "user_id": 7, "user_name": "Ada Example",
            "project_id": self.project, "commits": [commit], "total_commits_count": 1, "push_options": {}})
    }

    fn merge(&self, action: &str, minutes: i64) -> Value {
        let merged = action == "merge";
        let head = sha(self.project + 1_000_000, self.number);
        let commit = merged.then(|| sha(self.project, self.number));
        json!({"object_kind": "merge_request", "event_type": "merge_request", "object_attributes": {
            "id": self.number + 5_000, "iid": self.number + 1, "target_branch": "main", "source_branch": format!("feature-{}", self.number),
            "title": "Improve the basket", "description": "Closes #1.", "created_at": utc(self.after(-30)),
            "updated_at": utc(self.after(minutes)), "state": if merged { "merged" } else { "opened" }, "action": action,
            "merge_status": "can_be_merged", "merge_commit_sha": commit, "draft": false,
            "last_commit": {"id": head, "message": "Improve the basket", "timestamp": rfc(self.after(-60)),
                "author": {"name": "Ada Example", "email": "[REDACTED]"}}}, "labels": [], "changes": {}})
    }

    fn job_id(&self) -> u64 {
        self.number * 4 + 3
    }

    fn pipeline(&self, status: &str, end: Option<i64>) -> Value {
        let build = |id: u64, name: &str, environment: Value| {
            json!({"id": id, "stage": name, "name": name, "status": status, "created_at": utc(self.at), "started_at": utc(self.after(5)),
                "finished_at": end.map(|end| utc(self.after(end))), "duration": null, "when": "on_success", "manual": false,
                "allow_failure": false, "runner": null, "artifacts_file": {"filename": null, "size": null}, "environment": environment})
        };
        let environment =
            json!({"name": "production", "action": "start", "deployment_tier": "production"});
        json!({"object_kind": "pipeline", "object_attributes": {"id": self.number + 9_000, "iid": self.number + 1, "ref": "main",
            "tag": false, "sha": sha(self.project, self.number), "source": "push", "status": status, "stages": ["test", "deploy"],
            "created_at": utc(self.at), "finished_at": end.map(|end| utc(self.after(end))), "duration": 480, "variables": []},
            "builds": [build(self.job_id() - 2, "test", Value::Null), build(self.job_id(), "deploy", environment)]})
    }

    fn job(&self, status: &str) -> Value {
        json!({"object_kind": "build", "ref": "main", "tag": false, "sha": sha(self.project, self.number), "build_id": self.job_id(),
            "build_name": "deploy", "build_stage": "deploy", "build_status": status, "build_created_at": utc(self.at),
            "build_started_at": utc(self.after(5)), "build_finished_at": utc(self.after(8)), "build_duration": 180.0,
            "pipeline_id": self.number + 9_000, "project_id": self.project, "commit": {"id": self.number + 9_000},
            "environment": {"name": "production", "action": "start", "deployment_tier": "production"}})
    }

    fn deployment(&self, which: u64, environment: &str, (status, minutes): (&str, i64)) -> Value {
        let head = sha(self.project, self.number);
        json!({"object_kind": "deployment", "status": status, "status_changed_at": offset(self.after(minutes)),
            "deployment_id": self.number * 2 + which + 1, "deployable_id": self.job_id() - 1 + which,
            "deployable_url": "https://gitlab.example.com/shop/-/jobs/1", "environment": environment, "environment_tier": environment,
            "environment_slug": environment, "environment_external_url": null, "ref": "main", "short_sha": head.get(..8),
            "user_url": "https://gitlab.example.com/ada", "commit_url": format!("https://gitlab.example.com/shop/-/commit/{head}"),
            "commit_title": "Merge branch 'feature' into 'main'"})
    }

    fn incident(&self, number: u64, action: &str, minutes: i64) -> Value {
        let closed = (action == "close").then(|| rfc(self.after(minutes)));
        json!({"object_kind": "work_item", "event_type": "work_item", "object_attributes": {"id": number + 7_000, "iid": number + 1,
            "title": "The basket is empty", "description": "Since the last release.", "type": "Incident", "severity": "high",
            "created_at": rfc(self.after(15)), "updated_at": rfc(self.after(minutes)), "closed_at": closed,
            "state": if closed.is_some() { "closed" } else { "opened" }, "action": action, "duplicated_to_id": null,
            "moved_to_id": null}, "labels": [], "changes": {}})
    }
}

/// A number below `count` for every number below it, each once: an order without order.
pub(crate) fn scattered(at: u64, count: u64) -> u64 {
    // Twice a prime that shares no divisor with counts of this size would do; the second one breaks up neighbours.
    let spread = u128::from(at) * 1_000_003 % u128::from(count);
    u64::try_from((spread * 7_919 + 12_345) % u128::from(count)).unwrap_or_default()
}
