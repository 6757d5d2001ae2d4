//! Projects, environments, jobs and tags of the small GitLab. A job that is run again is pending at first, and goes on
//! with every look at it.

#![expect(
    clippy::indexing_slicing,
    reason = "members of values that this module made itself"
)]

use serde_json::{Value, json};

use super::{
    Held, RecordingGitlab, State,
    routes::{Answer, missing},
    stamp,
};

impl RecordingGitlab {
    /// Makes an environment.
    pub fn environment(&self, project: &str, name: &str, slug: &str) {
        self.held_mut(project, |held, number| {
            held.environments.push(json!({
                "id": number, "name": name, "slug": slug, "external_url": null, "created_at": stamp(),
                "updated_at": stamp(), "tier": "production", "state": "available",
            }));
        });
    }

    /// Makes a deployment by a job of a branch that ended well; says the job's number.
    pub fn deployed(&self, project: &str, environment: &str, sha: &str) -> u64 {
        self.held_mut(project, |held, number| {
            let job = job(number, number + 1_000, (sha, "success"));
            deploy(held, number, (environment, &job));
            held.jobs.push(job);
            number
        })
    }

    /// Makes a tag.
    pub fn tag(&self, project: &str, name: &str) {
        self.held_mut(project, |held, _| held.tags.push(name.to_owned()));
    }

    /// Says how jobs end that are run again; `success` when nobody says.
    pub fn jobs_end_as(&self, project: &str, status: &str) {
        self.held_mut(project, |held, _| held.ends_as = Some(status.to_owned()));
    }

    /// Lets jobs that are run again wait for somebody to start them.
    pub fn retried_waits(&self, project: &str) {
        self.held_mut(project, |held, _| held.waits = true);
    }

    /// Does something whenever a deploy job ends well.
    pub fn on_deploy(&self, project: &str, happens: impl Fn(&str) + Send + Sync + 'static) {
        self.held_mut(project, |held, _| {
            held.on_deploy.0 = Some(std::sync::Arc::new(happens));
        });
    }

    /// Changes members of a job.
    pub fn edit_job(&self, project: &str, id: u64, members: &Value) {
        self.held_mut(project, |held, _| {
            let all = held.jobs.iter_mut().chain(
                held.deployments
                    .iter_mut()
                    .filter_map(|one| one.get_mut("deployable")),
            );
            for one in all.filter(|one| one["id"] == id) {
                for (name, value) in members.as_object().into_iter().flatten() {
                    one[name] = value.clone();
                }
            }
        });
    }
}

fn job(id: u64, pipeline: u64, (sha, status): (&str, &str)) -> Value {
    let ended = (status == "success").then(stamp);
    json!({
        "id": id, "name": "deploy", "stage": "deploy", "status": status, "ref": "main", "tag": false, "coverage": null,
        "allow_failure": false, "created_at": stamp(), "started_at": ended, "finished_at": ended, "duration": null,
        "queued_duration": 0.01, "archived": false, "artifacts": [], "runner": null, "user": null,
        "commit": {"id": sha}, "web_url": format!("http://gitlab.example.com/-/jobs/{id}"),
        "pipeline": {"id": pipeline, "ref": "main", "sha": sha, "status": "success"},
        "project": {"ci_job_token_scope_enabled": false},
    })
}

fn deploy(held: &mut Held, number: u64, (environment, job): (&str, &Value)) {
    let iid = held.deployments.len() + 1;
    let status = match job["status"].as_str() {
        Some("success") => "success",
        _ => "running",
    };
    held.deployments.push(json!({
        "id": number, "iid": iid, "ref": "main", "sha": job["commit"]["id"], "status": status, "created_at": stamp(),
        "updated_at": stamp(), "user": {"id": 1, "username": "ada"}, "deployable": job,
        "environment": {"id": 9, "name": environment, "external_url": null},
    }));
}

pub(super) fn projects(state: &State) -> Answer {
    let listed = |(id, held): (&String, &Held)| {
        let id: u64 = id.parse().ok()?;
        Some(
            json!({"id": id, "path_with_namespace": held.path, "path": held.path.rsplit('/').next()}),
        )
    };
    (200, state.projects.iter().filter_map(listed).collect())
}

pub(super) fn of_pipeline(held: &Held, pipeline: &str) -> Answer {
    let pipeline = pipeline.parse::<u64>().ok();
    let of = |one: &&Value| pipeline.is_some() && one["pipeline"]["id"].as_u64() == pipeline;
    (200, held.jobs.iter().rev().filter(of).cloned().collect())
}

pub(super) fn tag(held: &Held, name: &str) -> Answer {
    if held.tags.iter().any(|tag| tag == name) {
        (
            200,
            json!({"name": name, "message": "", "protected": false}),
        )
    } else {
        missing("Tag")
    }
}

pub(super) fn jobs(
    held: &mut Held,
    method: &str,
    (id, rest): (&str, &[&str]),
    number: u64,
) -> Answer {
    let id = id.parse::<u64>().ok();
    let own = |one: &Value| id.is_some() && one["id"].as_u64() == id;
    let Some(at) = held.jobs.iter().position(own) else {
        return missing("Job");
    };
    match (method, rest) {
        ("GET", []) => (200, look(held, at)),
        ("POST", ["retry"]) => retry(held, at, number),
        ("POST", ["play"]) => {
            let found = &mut held.jobs[at];
            if found["status"] != "manual" {
                return (400, json!({"message": "400 Bad request - Unplayable Job"}));
            }
            found["status"] = json!("pending");
            (200, found.clone())
        }
        _ => missing("Route"),
    }
}

/// A look at a job, which goes on afterwards.
fn look(held: &mut Held, at: usize) -> Value {
    let seen = held.jobs[at].clone();
    let end = held.ends_as.clone();
    let next = match seen["status"].as_str() {
        Some("pending") => "running",
        Some("running") => end.as_deref().unwrap_or("success"),
        _ => return seen,
    };
    held.jobs[at]["status"] = json!(next);
    if next == "failed" {
        held.jobs[at]["failure_reason"] = json!("script_failure");
    }
    let deployed = held.deployments.iter_mut();
    let own = |one: &&mut Value| one["deployable"]["id"] == seen["id"];
    if let Some(own) = deployed.into_iter().find(own) {
        if next != "running" {
            own["status"] = json!(next);
        }
        own["deployable"]["status"] = json!(next);
    }
    if next == "success"
        && let Some(happens) = held.on_deploy.0.clone()
    {
        happens(seen["commit"]["id"].as_str().unwrap_or_default());
    }
    seen
}

fn retry(held: &mut Held, at: usize, number: u64) -> Answer {
    let old = held.jobs[at].clone();
    let ended = ["success", "failed", "canceled"].map(|word| json!(word));
    if old["archived"] == true || !ended.contains(&old["status"]) {
        let message = "403 Forbidden - Job is not retryable";
        return (403, json!({"message": message}));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let first = if held.waits { "manual" } else { "pending" };
    let pipeline = old["pipeline"]["id"].as_u64().unwrap_or_default();
    let new = job(number, pipeline, (&text(&old["commit"]["id"]), first));
    let mut deployments = held.deployments.iter();
    let environment = deployments
        .find(|one| one["deployable"]["id"] == old["id"])
        .map(|one| text(&one["environment"]["name"]));
    if let Some(environment) = environment {
        deploy(held, number, (&environment, &new));
    }
    held.jobs.push(new.clone());
    (201, new)
}
