//! Bodies follow the examples of <https://docs.gitlab.com/user/project/integrations/webhook_events/>.

use serde_json::{Value, json};

use crate::domain::dora::{
    clock,
    fact::{First, Status},
    hook::{Hook, Kind, Unreadable, marked, read, tier_of},
};

const SHA: &str = "279484c09fbe69ededfced8c1bb6e6d24616b468";

fn hook(body: &Value) -> Hook {
    read(body.to_string().as_bytes()).unwrap()
}

fn project() -> Value {
    json!({"id": 30, "name": "test", "path_with_namespace": "root/test", "default_branch": "master"})
}

pub(super) fn deployment(status: &str, at: &str) -> Value {
    json!({
        "object_kind": "deployment", "status": status, "status_changed_at": at,
        "deployment_id": 15, "deployable_id": 796,
        "deployable_url": "http://10.126.0.2:3000/root/test/-/jobs/796",
        "environment": "staging", "environment_tier": "staging", "environment_slug": "staging",
        "environment_external_url": "https://staging.example.com",
        "project": project(), "ref": "master", "short_sha": "279484c0",
        "user": {"id": 1, "name": "Administrator"}, "user_url": "http://10.126.0.2:3000/root",
        "commit_url": format!("http://10.126.0.2:3000/root/test/-/commit/{SHA}"),
        "commit_title": "Add new file"
    })
}

#[test]
fn a_deployment_has_its_full_commit_from_the_address_and_its_time_in_any_form() {
    let Hook {
        kind,
        project,
        facts,
    } = hook(&deployment("success", "2021-04-28 21:50:00 +0200"));
    assert_eq!((kind, project), (Kind::Deployment, Some(30)));
    let one = &facts.deployments[&15];
    let at = clock::parse("2021-04-28T19:50:00Z").unwrap();
    assert_eq!(one.last(), Some((Status::Success, at)));
    let place = one.place.as_ref().unwrap();
    assert_eq!(place.sha, Some(SHA.parse().unwrap()));
    assert_eq!((place.tier.as_str(), place.job), ("staging", Some(796)));
    assert_eq!(facts.path, Some((at, "root/test".to_owned())));
}

#[test]
fn a_deployment_by_the_api_has_no_job_and_an_approval_moves_nothing() {
    let mut body = deployment("success", "2021-04-28 21:50:00 +0200");
    body["deployable_url"] = Value::Null;
    body["deployable_id"] = Value::Null;
    body.as_object_mut().unwrap().remove("environment_tier");
    body["environment"] = json!("prod/eu");
    let place = hook(&body).facts.deployments[&15].place.clone().unwrap();
    assert_eq!((place.job, place.tier.as_str()), (None, "production"));
    let approved = hook(&deployment("approved", "2021-04-28 21:50:00 +0200"));
    assert_eq!(approved.facts.deployments[&15].last(), None);
}

#[test]
fn only_jobs_that_start_an_environment_deploy() {
    let build = |id: u64, environment: Value| {
        json!({"id": id, "stage": "deploy", "name": "production", "status": "success",
            "created_at": "2016-08-12 15:23:28 UTC", "started_at": "2016-08-12 15:26:12 UTC",
            "finished_at": "2016-08-12 15:26:29 UTC", "environment": environment})
    };
    let environment = |action: &str| json!({"name": "production", "action": action, "deployment_tier": "production"});
    let facts = hook(&json!({
        "object_kind": "pipeline", "project": project(),
        "object_attributes": {"id": 31, "ref": "master", "sha": SHA, "status": "success",
            "created_at": "2016-08-12 15:23:28 UTC", "finished_at": "2016-08-12 15:26:29 UTC"},
        "builds": [build(1, environment("start")), build(2, environment("stop")), build(3, Value::Null)]
    }))
    .facts;
    assert_eq!(facts.jobs.keys().copied().collect::<Vec<_>>(), [1]);
    let at = clock::parse("2016-08-12T15:26:29Z").unwrap();
    assert_eq!(facts.jobs[&1].last(), Some((Status::Success, at)));

    // The commit's id in a Job Hook is the pipeline's; the commit is `sha`.
    let job = |environment: Value| {
        json!({"object_kind": "build", "ref": "master", "sha": SHA, "build_id": 1977,
            "build_status": "failed", "build_created_at": "2021-02-23T02:41:37.886Z",
            "build_started_at": "2021-02-23 02:42:00 UTC", "build_finished_at": "2021-02-23 02:43:00 UTC",
            "project_id": 380, "commit": {"id": 2366, "sha": SHA}, "project": project(), "environment": environment})
    };
    let facts = hook(&job(environment("start"))).facts;
    assert_eq!(facts.jobs[&1977].last().unwrap().0, Status::Failed);
    assert_eq!(
        facts.jobs[&1977].place.as_ref().unwrap().sha,
        Some(SHA.parse().unwrap())
    );
    assert!(hook(&job(Value::Null)).facts.is_empty());
}

#[test]
fn a_merge_request_is_merged_when_it_says_so() {
    let body = |action: &str, state: &str, at: &str| {
        json!({"object_kind": "merge_request", "project": project(), "object_attributes": {
            "id": 93, "iid": 16, "target_branch": "master", "source_branch": "hotfix/x", "title": "Fix",
            "created_at": "2013-12-03 17:15:43 UTC", "updated_at": at, "state": state, "action": action,
            "merge_commit_sha": SHA, "target": {}, "last_commit": {"id": SHA, "timestamp": "2013-12-03T16:00:00+01:00"}}})
    };
    let open = hook(&body("open", "opened", "2013-12-03 17:15:43 UTC"))
        .facts
        .merges[&16]
        .clone();
    assert_eq!(open.merged, First(None));
    let merged = hook(&body("merge", "merged", "2013-12-04 10:00:00 UTC"))
        .facts
        .merges[&16]
        .clone();
    assert_eq!(merged.merged, First(clock::parse("2013-12-04T10:00:00Z")));
    assert_eq!(
        merged.first_commit,
        First(clock::parse("2013-12-03T15:00:00Z"))
    );
    assert!(merged.word.unwrap().remedy);
}

#[test]
fn pushes_to_branches_count_and_their_removal_does_not() {
    let zero = "0".repeat(40);
    let body = |git_ref: &str, before: &str, after: &str| {
        json!({"object_kind": "push", "before": before, "after": after, "ref": git_ref, "project_id": 15,
            "project": project(), "total_commits_count": 4, "commits": [
                {"id": SHA, "message": "x", "timestamp": "2011-12-12T14:27:31+02:00", "author": {}}]})
    };
    let facts = hook(&body("refs/heads/master", &zero, SHA)).facts;
    let (key, push) = facts.pushes.first_key_value().unwrap();
    assert_eq!(key, &format!("master {SHA} "));
    assert_eq!((push.before, push.total, push.commits.len()), (None, 4, 1));
    assert!(
        hook(&body("refs/heads/master", SHA, &zero))
            .facts
            .is_empty()
    );
    assert!(hook(&body("refs/tags/v1", &zero, SHA)).facts.is_empty());
}

#[test]
fn an_incident_comes_as_a_work_item_and_an_issue_is_none() {
    let body = |kind: &str, state: &str, action: &str| {
        json!({"object_kind": "work_item", "project": project(), "object_attributes": {
            "iid": 23, "type": kind, "state": state, "action": action, "severity": "high",
            "created_at": "2013-12-03T17:15:43Z", "updated_at": "2013-12-03T18:15:43Z",
            "description": format!("Root cause: {SHA}\n<!-- monitoring-agent:inc-3f9a0c51d2e8-1 -->"), "duplicated_to_id": null}})
    };
    assert!(hook(&body("Issue", "opened", "open")).facts.is_empty());
    let closed = hook(&body("Incident", "closed", "close")).facts.issues[&23].clone();
    assert_eq!(closed.closed(), clock::parse("2013-12-03T18:15:43Z"));
    let word = closed.word.unwrap();
    assert_eq!(word.blames, Some(SHA.parse().unwrap()));
    assert_eq!(word.of_agent.as_deref(), Some("inc-3f9a0c51d2e8-1"));
    let open = hook(&body("Incident", "opened", "update")).facts.issues[&23].clone();
    assert_eq!(open.closed(), None);
}

#[test]
fn a_release_is_known_by_its_tag_and_other_kinds_say_nothing() {
    let body = json!({"id": 1, "object_kind": "release", "tag": "v1.1", "action": "create", "project": project(),
        "created_at": "2020-11-02 12:55:12 UTC", "released_at": "2020-11-02 12:55:12 UTC"});
    assert!(hook(&body).facts.releases.contains_key("v1.1"));
    for other in [
        json!({"object_kind": "wiki_page", "object_attributes": {"type": 7}, "project": project()}),
        json!({"event_name": "user_add_to_group"}),
        json!({}),
    ] {
        let hook = hook(&other);
        assert_eq!((hook.kind, hook.project), (Kind::Other, None));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for text in ["", "[]", "{", "\"deployment\"", "null"] {
        assert_eq!(read(text.as_bytes()), Err(Unreadable::NoJson), "{text}");
    }
    let without = |field: &str| {
        let mut body = deployment("success", "2021-04-28 21:50:00 +0200");
        body.as_object_mut().unwrap().remove(field);
        read(body.to_string().as_bytes())
    };
    for field in [
        "deployment_id",
        "status",
        "status_changed_at",
        "environment",
        "project",
    ] {
        assert_eq!(
            without(field),
            Err(Unreadable::Incomplete(Kind::Deployment)),
            "{field}"
        );
    }
    assert!(without("commit_url").is_ok());
}

#[test]
fn tiers_are_guessed_as_gitlab_does_and_marks_are_checked() {
    for (name, tier) in [
        ("review/x", "development"),
        ("qa", "testing"),
        ("staging", "staging"),
        ("Production/eu", "production"),
        ("live", "production"),
        ("canary", "other"),
    ] {
        assert_eq!(tier_of(name), tier, "{name}");
    }
    assert_eq!(
        marked("a <!-- monitoring-agent:inc-1-2 --> b"),
        Some("inc-1-2")
    );
    assert_eq!(marked("<!-- monitoring-agent:in c -->"), None);
    assert_eq!(marked("monitoring-agent:inc-1-2"), None);
}
