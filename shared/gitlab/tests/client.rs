//! The client against the small GitLab, and both against GitLab's documented examples.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail loudly"
)]

use std::path::PathBuf;

use gitlab::{
    Commit, CommitStatus, Deployment, DeploymentState, FreezePeriod, Gitlab, GitlabError,
    IncidentText, Issue, MergeRequest, NewDeployment, Note, Project, StatusState, mark,
    testing::RecordingGitlab,
};
use serde_json::Value;

const SHA: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";
const TOKEN: &str = "glpat-secret";

struct Setup {
    server: RecordingGitlab,
    client: Gitlab,
    token: PathBuf,
    project: Project,
    _folder: tempfile::TempDir,
}

async fn setup() -> Setup {
    let server = RecordingGitlab::start(TOKEN).await.unwrap();
    server.project("shop/web");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let client = Gitlab::new(&server.settings(token.clone())).unwrap();
    Setup {
        server,
        client,
        token,
        project: Project::from("shop/web"),
        _folder: folder,
    }
}

fn deployment(sha: &str) -> NewDeployment {
    NewDeployment {
        environment: "production".into(),
        sha: sha.into(),
        git_ref: "main".into(),
        tag: false,
        status: DeploymentState::Running,
    }
}

fn incident(description: &str) -> IncidentText {
    let mark = mark("monitoring-agent", "inc-1-1");
    IncidentText {
        title: "web fails".into(),
        description: format!("{mark}\n{description}"),
        labels: vec!["incident".into(), "sev1".into()],
        mark,
    }
}

#[tokio::test]
async fn deployments_are_recorded_and_found_page_by_page() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    server.page(2);
    for _ in 0..5 {
        client
            .create_deployment(project, &deployment(SHA))
            .await
            .unwrap();
    }
    let all = client
        .deployments(project, "production", (None, 100))
        .await
        .unwrap();
    assert_eq!(
        all.iter().map(|one| one.iid).collect::<Vec<_>>(),
        [5, 4, 3, 2, 1]
    );
    let last = client
        .update_deployment(project, all[0].id, DeploymentState::Success)
        .await
        .unwrap();
    assert_eq!((last.iid, last.status), (5, DeploymentState::Success));
    let good = (Some(DeploymentState::Success), 1);
    let found = client
        .deployments(project, "production", good)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert!(
        client
            .deployments(project, "staging", (None, 9))
            .await
            .unwrap()
            .is_empty()
    );
    let refused = client
        .update_deployment(project, all[0].id, DeploymentState::Blocked)
        .await;
    let error = refused.unwrap_err();
    assert_eq!(
        error.to_string(),
        "GitLab refused to update a deployment (400): {\"status\":[\"is invalid\"]}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn one_note_is_written_once_and_edited_in_place() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    server.page(1);
    let mark = mark("monitoring-agent", "inc-1-1");
    client
        .put_note(project, 7, ("<!-- other:x -->", "first"))
        .await
        .unwrap();
    for text in ["open", "over", "over"] {
        client.put_note(project, 7, (&mark, text)).await.unwrap();
    }
    let notes = server.notes("shop/web", 7);
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[1]["body"], format!("{mark}\nover"));
    let edits = server.changes();
    assert_eq!(
        edits.len(),
        3,
        "what is unchanged is not written: {edits:?}"
    );
}

#[tokio::test]
async fn an_incident_is_made_once_then_changed_closed_and_opened_again() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    let made = client
        .put_incident(project, &incident("open"), false)
        .await
        .unwrap();
    assert_eq!(
        (made.iid, made.state.as_str(), made.issue_type.as_str()),
        (1, "opened", "incident")
    );
    let closed = client
        .put_incident(project, &incident("over"), true)
        .await
        .unwrap();
    assert_eq!((closed.iid, closed.state.as_str()), (1, "closed"));
    assert!(closed.closed_at.is_some() && closed.description.unwrap().ends_with("over"));
    let again = client
        .put_incident(project, &incident("again"), false)
        .await
        .unwrap();
    assert_eq!(
        (again.state.as_str(), server.issues("shop/web").len()),
        ("opened", 1)
    );
    assert_eq!(
        server.issues("shop/web")[0]["labels"],
        serde_json::json!(["incident", "sev1"])
    );
}

#[tokio::test]
async fn commits_their_merge_requests_statuses_and_freezes() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    server.commit("shop/web", SHA, Some(7));
    assert_eq!(client.commit(project, SHA).await.unwrap().id, SHA);
    let merges = client.merge_requests_of(project, SHA).await.unwrap();
    assert_eq!((merges.len(), merges[0].iid), (1, 7));
    let missing = client.commit(project, "b").await.unwrap_err();
    assert!(matches!(missing, GitlabError::NotFound(_)), "{missing:?}");
    let status = CommitStatus {
        state: StatusState::Failed,
        name: "agent-mesh".into(),
        description: "rolled back".into(),
        target_url: None,
    };
    client
        .set_commit_status(project, SHA, &status)
        .await
        .unwrap();
    assert_eq!(server.statuses("shop/web")[0]["status"], "failed");
    let freeze = client
        .create_freeze_period(project, ("0 23 * * 5", "0 7 * * 1"))
        .await
        .unwrap();
    assert_eq!(
        client.freeze_periods(project).await.unwrap(),
        std::slice::from_ref(&freeze)
    );
    for _ in 0..2 {
        client
            .delete_freeze_period(project, freeze.id)
            .await
            .unwrap();
    }
    assert!(client.freeze_periods(project).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_busy_gitlab_is_asked_again_when_it_says_and_a_change_is_not_made_twice() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    server.fail_next(2, 429, Some(0));
    client
        .create_deployment(project, &deployment(SHA))
        .await
        .unwrap();
    assert_eq!(server.requests().len(), 3);
    // Whether a POST was carried out is unknown after 502.
    server.fail_next(1, 502, None);
    let error = client
        .create_deployment(project, &deployment(SHA))
        .await
        .unwrap_err();
    assert!(matches!(error, GitlabError::Busy(502)) && error.is_retryable());
    assert_eq!(server.deployments("shop/web").len(), 1);
    server.fail_next(1, 503, Some(0));
    assert_eq!(
        client
            .deployments(project, "production", (None, 9))
            .await
            .unwrap()
            .len(),
        1
    );
    server.fail_next(1, 429, Some(3_600));
    let error = client.freeze_periods(project).await.unwrap_err();
    assert!(matches!(error, GitlabError::Busy(429)), "{error:?}");
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again_and_a_list_that_grew_is() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        project,
        ..
    } = &setup;
    server.commit("shop/web", SHA, None);
    let first = client.commit(project, SHA).await.unwrap();
    assert_eq!(client.commit(project, SHA).await.unwrap(), first);
    let answers: Vec<u16> = server
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(answers, [200, 304]);
    // The first page stays the same when a second one follows.
    server.page(1);
    for count in 1..4 {
        client
            .create_deployment(project, &deployment(SHA))
            .await
            .unwrap();
        let all = client
            .deployments(project, "production", (None, 9))
            .await
            .unwrap();
        assert_eq!(all.len(), count);
    }
}

#[tokio::test]
async fn a_token_is_read_anew_and_shown_nowhere() {
    let setup = setup().await;
    let Setup {
        server,
        client,
        token,
        project,
        ..
    } = &setup;
    server.token("glpat-next");
    let error = client.freeze_periods(project).await.unwrap_err();
    assert!(matches!(error, GitlabError::Denied(401)));
    std::fs::write(token, "glpat-next").unwrap();
    client.freeze_periods(project).await.unwrap();
    std::fs::write(token, "a\nb").unwrap();
    let error = client.freeze_periods(project).await.unwrap_err();
    assert!(matches!(error, GitlabError::NoToken(_)));
    std::fs::remove_file(token).unwrap();
    let error = client.freeze_periods(project).await.unwrap_err();
    assert!(matches!(error, GitlabError::Token(..)));
    let gone = gitlab::Settings {
        url: "http://127.0.0.1:1".into(),
        ..server.settings(token.clone())
    };
    std::fs::write(token, TOKEN).unwrap();
    let error = Gitlab::new(&gone)
        .unwrap()
        .create_freeze_period(project, ("a", "b"))
        .await
        .unwrap_err();
    assert!(!format!("{error:?}{error}{client:?}").contains("glpat"));
}

#[tokio::test]
async fn every_field_is_one_that_gitlab_documents() {
    let text = include_str!("../testdata/documented.json");
    let documented: Value = serde_json::from_str(text).unwrap();
    let example = |name: &str| documented[name]["example"].clone();
    serde_json::from_value::<Deployment>(example("deployment")).unwrap();
    serde_json::from_value::<Issue>(example("issue")).unwrap();
    serde_json::from_value::<Note>(example("note")).unwrap();
    serde_json::from_value::<FreezePeriod>(example("freeze_period")).unwrap();
    serde_json::from_value::<Commit>(example("commit")).unwrap();
    serde_json::from_value::<MergeRequest>(example("merge_request")).unwrap();

    let setup = setup().await;
    let (server, client, project) = (&setup.server, &setup.client, &setup.project);
    client
        .create_deployment(project, &deployment(SHA))
        .await
        .unwrap();
    client
        .put_incident(project, &incident("open"), false)
        .await
        .unwrap();
    client
        .put_note(project, 7, ("<!-- a:b -->", "text"))
        .await
        .unwrap();
    let status = CommitStatus {
        state: StatusState::Success,
        name: "agent-mesh".into(),
        description: "good".into(),
        target_url: Some("https://example.com".into()),
    };
    client
        .set_commit_status(project, SHA, &status)
        .await
        .unwrap();
    let given = [
        ("deployment", server.deployments("shop/web")),
        ("issue", server.issues("shop/web")),
        ("note", server.notes("shop/web", 7)),
        ("status", server.statuses("shop/web")),
    ];
    for (name, given) in given {
        let example = example(name);
        for field in given[0].as_object().unwrap().keys() {
            assert!(example.get(field).is_some(), "{name}.{field}");
        }
    }
}
