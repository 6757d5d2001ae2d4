//! Projects, environments and jobs: the client against the small GitLab, and both against GitLab's documented examples.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail loudly"
)]

use gitlab::{
    Deployment, Environment, Gitlab, GitlabError, Job, JobState, KnownProject, Project, project_of,
    testing::RecordingGitlab,
};
use serde_json::{Value, json};

const SHA: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";
const TOKEN: &str = "glpat-secret";

async fn setup() -> (RecordingGitlab, Gitlab, Project, tempfile::TempDir) {
    let server = RecordingGitlab::start(TOKEN).await.unwrap();
    server.numbered_project(30, "shop/web");
    server.environment("30", "production/eu", "production-eu-x1");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let client = Gitlab::new(&server.settings(token)).unwrap();
    (server, client, Project::from(30), folder)
}

#[tokio::test]
async fn annotations_lead_to_a_project_and_its_environment() {
    let (server, client, project, _folder) = setup().await;
    server.numbered_project(31, "shop/api");
    server.page(1);
    let all = client.projects().await.unwrap();
    let named = all.iter().map(|one| (one.id, &*one.path_with_namespace));
    assert_eq!(project_of("shop-web", named), Some(30));
    let found = client.environments(&project).await.unwrap();
    assert_eq!(found[0].name, "production/eu");
    assert_eq!(found[0].slug.as_deref(), Some("production-eu-x1"));
}

#[tokio::test]
async fn a_job_is_run_again_and_followed_to_its_end() {
    let (server, client, project, _folder) = setup().await;
    let first = server.deployed("30", "production/eu", SHA);
    let old = client.job(&project, first).await.unwrap();
    assert_eq!(old.status, JobState::Success);
    let new = client.retry_job(&project, first).await.unwrap();
    assert!(new.id > first);
    let mut seen = Vec::new();
    while seen.last() != Some(&JobState::Success) {
        seen.push(client.job(&project, new.id).await.unwrap().status);
    }
    assert_eq!(seen.len(), 3, "pending, running, success");
    let pipeline = old.pipeline.unwrap().id;
    let all = client.jobs_of(&project, pipeline).await.unwrap();
    let ids: Vec<u64> = all.iter().map(|job| job.id).collect();
    assert_eq!(ids, [new.id, first]);
    let last = &client
        .deployments(&project, "production/eu", (None, 1))
        .await
        .unwrap()[0];
    assert_eq!(last.deployable.as_ref().map(|job| job.id), Some(new.id));
}

#[tokio::test]
async fn a_job_that_cannot_be_run_again_says_why() {
    let (server, client, project, _folder) = setup().await;
    let old = server.deployed("30", "production/eu", SHA);
    server.edit_job("30", old, &json!({"archived": true}));
    let error = client.retry_job(&project, old).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "GitLab refused to run a job again (403): 403 Forbidden - Job is not retryable"
    );
    assert!(matches!(
        client.play_job(&project, old).await.unwrap_err(),
        GitlabError::Refused { status: 400, .. }
    ));
    server.edit_job("30", old, &json!({"status": "manual"}));
    client.play_job(&project, old).await.unwrap();
    server.tag("30", "v1");
    assert!(client.has_tag(&project, "v1").await.unwrap());
    assert!(!client.has_tag(&project, "main").await.unwrap());
}

#[tokio::test]
async fn every_field_is_one_that_gitlab_documents() {
    let text = include_str!("../testdata/documented.json");
    let documented: Value = serde_json::from_str(text).unwrap();
    let example = |name: &str| documented[name]["example"].clone();
    let deployment: Deployment = serde_json::from_value(example("deployment_by_job")).unwrap();
    assert_eq!(deployment.deployable.unwrap().pipeline.unwrap().id, 42);
    serde_json::from_value::<Job>(example("job")).unwrap();
    serde_json::from_value::<Environment>(example("environment")).unwrap();
    serde_json::from_value::<KnownProject>(example("project")).unwrap();

    let (server, client, project, _folder) = setup().await;
    let job = server.deployed("30", "production/eu", SHA);
    server.tag("30", "v1");
    client.projects().await.unwrap();
    client.environments(&project).await.unwrap();
    client.retry_job(&project, job).await.unwrap();
    client.has_tag(&project, "v1").await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str| -> Value {
        let url = format!("{}/api/v4/{path}", server.url());
        let request = http.get(url).header("PRIVATE-TOKEN", TOKEN);
        request.send().await.unwrap().json().await.unwrap()
    };
    let given = [
        ("project", get("projects").await[0].clone()),
        (
            "environment",
            get("projects/30/environments").await[0].clone(),
        ),
        ("job", get(&format!("projects/30/jobs/{job}")).await),
        ("tag", get("projects/30/repository/tags/v1").await),
        ("deployment_by_job", server.deployments("30")[0].clone()),
    ];
    for (name, given) in given {
        for field in given.as_object().unwrap().keys() {
            assert!(example(name).get(field).is_some(), "{name}.{field}");
        }
    }
}
