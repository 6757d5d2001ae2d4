use serde_json::json;
use shared::testing::FakeAgent;

use super::*;
use crate::clients::workspace::Workspace;

const WILDCARD: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: shop}\nrules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]\n\
    ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: shop}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: shop}\n\
    subjects: [{kind: ServiceAccount, name: shop, namespace: shop}]\n";
const ELSEWHERE: &str = "---\nkind: Role\nmetadata: {name: r, namespace: other}\nrules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]\n";

#[derive(Debug)]
struct FakeCluster;

#[async_trait::async_trait]
impl RbacSource for FakeCluster {
    async fn read(&self, _: &[String]) -> Result<ClusterObjects, SkillError> {
        Ok(ClusterObjects {
            objects: parse(&format!("{WILDCARD}{ELSEWHERE}")).unwrap(),
            missing: vec![String::from("cronjobs")],
        })
    }
}

async fn run(
    agent: FakeAgent,
    input: serde_json::Value,
) -> (Result<AuditRbacOutput, SkillError>, Vec<String>) {
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let skill = AuditRbac {
        targets: Vec::new(),
        cluster: Arc::new(FakeCluster),
        tree: Arc::new(Workspace::default()),
        metrics,
    };
    let (context, agent) = agent.context();
    let output = skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await;
    (output, agent.trail())
}

#[tokio::test]
async fn judges_manifests_without_asking_the_cluster() {
    let input = json!({"content": [{"name": "rbac.yaml", "content": WILDCARD}], "subject": "ServiceAccount:shop/shop"});
    let (output, trail) = run(FakeAgent::default(), input).await;
    let output = output.unwrap();
    assert_eq!(
        output
            .findings
            .iter()
            .map(|f| f.check.as_str())
            .collect::<Vec<_>>(),
        ["all-permissions"]
    );
    assert_eq!(
        (
            output.summary.critical,
            output.roles,
            output.bindings,
            output.subjects
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(output.permissions.unwrap()[0].rule, "* * in *");
    assert!(trail.is_empty());
}

#[tokio::test]
async fn reads_the_cluster_and_says_what_it_may_not_judge() {
    let (output, trail) = run(FakeAgent::default().namespace("shop"), json!({})).await;
    let output = output.unwrap();
    assert_eq!(
        (output.roles, output.not_evaluated),
        (
            1,
            vec![
                "cronjobs".to_owned(),
                "namespace other: not among this agent's targets".to_owned()
            ]
        )
    );
    assert_eq!(trail, ["outcome kubernetes.list rbac/* ok"]);
}

#[tokio::test]
async fn refuses_a_namespace_that_is_no_target() {
    let (output, trail) = run(
        FakeAgent::default().namespace("shop"),
        json!({"namespaces": ["kube-system"]}),
    )
    .await;
    assert!(matches!(output, Err(SkillError::Denied(_))));
    assert!(trail.is_empty());
}

#[tokio::test]
async fn names_the_field_or_file_that_is_wrong() {
    let manifest = json!([{"name": "rbac.yaml", "content": WILDCARD}]);
    for (input, start) in [
        (
            json!({"content": [{"name": "rbac.yaml", "content": "kind: ["}]}),
            "rbac.yaml: expected Kubernetes objects",
        ),
        (
            json!({"content": manifest.clone(), "namespaces": ["shop"]}),
            "namespaces: expected none",
        ),
        (
            json!({"content": manifest, "subject": "shop"}),
            "subject: expected ServiceAccount:NAMESPACE/NAME",
        ),
        (
            json!({"paths": ["rbac.yaml"]}),
            "paths[0]: expected no paths",
        ),
    ] {
        let error = run(FakeAgent::default(), input).await.0.unwrap_err();
        assert!(
            matches!(error, SkillError::Rejected { .. }) && error.to_string().starts_with(start),
            "{error}"
        );
    }
}
