use super::*;

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    objects.add_text(text).unwrap();
    objects
}

fn role(kind: &str, name: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nrules: [{rules}]\n"
    )
}

fn bind(kind: &str, role: &str, subject: &str) -> String {
    let role_kind = if kind == "RoleBinding" && role.starts_with("r-") {
        "Role"
    } else {
        "ClusterRole"
    };
    format!(
        "---\nkind: {kind}\nmetadata: {{name: b-{role}, namespace: shop}}\nroleRef: {{kind: {role_kind}, name: {role}}}\nsubjects: [{subject}]\n"
    )
}

const WEB: &str = "{kind: ServiceAccount, name: web, namespace: shop}";
const ALICE: &str = "{kind: User, name: alice}";

fn found(text: &str) -> Vec<(String, Severity, Option<String>)> {
    audit(&objects(text), false)
        .findings
        .into_iter()
        .map(|f| (f.check, f.severity, f.subject))
        .collect()
}

fn checks(rule: &str) -> Vec<(String, Severity)> {
    let text = role("ClusterRole", "c", rule) + &bind("ClusterRoleBinding", "c", ALICE);
    found(&text)
        .into_iter()
        .map(|(check, severity, _)| (check, severity))
        .collect()
}

#[test]
fn every_dangerous_rule_has_its_check() {
    let rbac = "rbac.authorization.k8s.io";
    for (rule, check, severity) in [
        ("{apiGroups: ['*'], resources: ['*'], verbs: ['*']}".to_owned(), "all-permissions", Severity::Critical),
        ("{apiGroups: [''], resources: [configmaps], verbs: ['*']}".to_owned(), "wildcard-verbs", Severity::High),
        ("{apiGroups: [apps], resources: ['*'], verbs: [get]}".to_owned(), "wildcard-resources", Severity::High),
        ("{apiGroups: ['*'], resources: [widgets], verbs: [get]}".to_owned(), "wildcard-api-groups", Severity::Medium),
        ("{nonResourceURLs: ['*'], verbs: [get]}".to_owned(), "non-resource-urls", Severity::Medium),
        ("{apiGroups: [''], resources: [secrets], verbs: [list]}".to_owned(), "secrets-read", Severity::High),
        ("{apiGroups: [''], resources: [secrets], verbs: [patch]}".to_owned(), "secrets-write", Severity::Medium),
        (format!("{{apiGroups: [{rbac}], resources: [clusterroles], verbs: [escalate]}}"), "rbac-escalate", Severity::Critical),
        (format!("{{apiGroups: [{rbac}], resources: [clusterroles], verbs: [bind]}}"), "rbac-bind", Severity::Critical),
        (format!("{{apiGroups: [{rbac}], resources: [rolebindings], verbs: [create]}}"), "rbac-write", Severity::High),
        ("{apiGroups: [''], resources: [users], verbs: [impersonate]}".to_owned(), "impersonate", Severity::Critical),
        ("{apiGroups: [''], resources: [pods/exec], verbs: [create]}".to_owned(), "pods-exec", Severity::High),
        ("{apiGroups: [''], resources: ['*/attach'], verbs: [create]}".to_owned(), "pods-exec", Severity::High),
        ("{apiGroups: [''], resources: [pods/portforward], verbs: [create]}".to_owned(), "pods-portforward", Severity::Medium),
        ("{apiGroups: [batch], resources: [cronjobs], verbs: [create]}".to_owned(), "create-workloads", Severity::High),
        ("{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create]}".to_owned(), "service-account-tokens", Severity::High),
        ("{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}".to_owned(), "nodes-proxy", Severity::Critical),
        ("{apiGroups: [''], resources: [nodes], verbs: [patch]}".to_owned(), "nodes-write", Severity::Medium),
        ("{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/approval], verbs: [update]}".to_owned(), "approve-certificates", Severity::Critical),
        ("{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve]}".to_owned(), "approve-certificates", Severity::Critical),
        ("{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], verbs: [create]}".to_owned(), "admission-webhooks", Severity::Critical),
        ("{apiGroups: [''], resources: [persistentvolumes], verbs: [create]}".to_owned(), "persistent-volumes", Severity::High),
        ("{apiGroups: [''], resources: [namespaces], verbs: [patch]}".to_owned(), "namespaces-write", Severity::Medium),
    ] {
        assert_eq!(checks(&rule), [(check.to_owned(), severity)], "{rule}");
    }
}

#[test]
fn every_check_of_the_table_is_tried_above() {
    let source = include_str!("tests.rs");
    for check in super::checks::check_ids() {
        assert!(
            source.contains(&format!("\"{check}\"")),
            "{check} has no test"
        );
    }
}

#[test]
fn harmless_rules_give_no_findings() {
    for rule in [
        "{apiGroups: [''], resources: [pods, configmaps, services], verbs: [get, list, watch]}",
        "{apiGroups: [apps], resources: [deployments], verbs: [get]}",
        "{apiGroups: [apps], resources: [secrets], verbs: [get]}",
        "{nonResourceURLs: [/metrics], verbs: [get]}",
        "{apiGroups: [''], resources: [secrets], verbs: [delete]}",
    ] {
        assert_eq!(checks(rule), [], "{rule}");
    }
}

#[test]
fn a_namespace_or_a_list_of_names_lowers_the_severity() {
    let secrets = "{apiGroups: [''], resources: [secrets], verbs: [get]}";
    let in_namespace = role("Role", "r-a", secrets) + &bind("RoleBinding", "r-a", WEB);
    assert_eq!(
        found(&in_namespace),
        [(
            "secrets-read".into(),
            Severity::Medium,
            Some("ServiceAccount:shop/web".into())
        )]
    );
    let named = "{apiGroups: [''], resources: [secrets], verbs: [get], resourceNames: [shop-db]}";
    assert_eq!(checks(named), [("secrets-read".into(), Severity::Medium)]);
}

#[test]
fn a_role_binding_does_not_give_cluster_scoped_resources() {
    let text = role(
        "ClusterRole",
        "c",
        "{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}",
    ) + &bind("RoleBinding", "c", WEB);
    assert_eq!(found(&text), []);
}

#[test]
fn a_role_without_a_binding_is_judged_one_step_lower() {
    let text = role(
        "ClusterRole",
        "c",
        "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}",
    );
    assert_eq!(
        found(&text),
        [("all-permissions".into(), Severity::High, None)]
    );
}

#[test]
fn dangerous_subjects_are_found() {
    let reader = role(
        "ClusterRole",
        "c",
        "{apiGroups: [''], resources: [pods], verbs: [get]}",
    );
    for (subject, check) in [
        (
            "{kind: User, name: 'system:anonymous'}",
            "anonymous-binding",
        ),
        (
            "{kind: Group, name: 'system:unauthenticated'}",
            "anonymous-binding",
        ),
        (
            "{kind: Group, name: 'system:authenticated'}",
            "everybody-binding",
        ),
        (
            "{kind: Group, name: 'system:serviceaccounts:shop'}",
            "everybody-binding",
        ),
        (
            "{kind: ServiceAccount, name: default, namespace: shop}",
            "default-service-account",
        ),
    ] {
        let checks: Vec<String> =
            found(&(reader.clone() + &bind("ClusterRoleBinding", "c", subject)))
                .into_iter()
                .map(|(check, ..)| check)
                .collect();
        assert_eq!(checks, [check], "{subject}");
    }
    let across = reader
        + &bind(
            "RoleBinding",
            "c",
            "{kind: ServiceAccount, name: web, namespace: other}",
        );
    assert_eq!(
        found(&across),
        [(
            "cross-namespace-binding".into(),
            Severity::Medium,
            Some("ServiceAccount:other/web".into())
        )]
    );
}

#[test]
fn cluster_admin_is_known_without_its_manifest() {
    let text = bind("ClusterRoleBinding", "cluster-admin", WEB);
    let checks: Vec<_> = found(&text)
        .into_iter()
        .map(|(check, severity, _)| (check, severity))
        .collect();
    assert_eq!(
        checks,
        [
            ("all-permissions".into(), Severity::Critical),
            ("cluster-admin-binding".into(), Severity::Critical)
        ]
    );
}

#[test]
fn what_kubernetes_installs_is_left_out_but_not_what_borrows_its_names() {
    let own = "kind: ClusterRoleBinding\nmetadata: {name: cluster-admin}\nroleRef: {kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: Group, name: 'system:masters'}]\n";
    assert_eq!(found(own), []);
    let borrowed = own.replace("{kind: Group, name: 'system:masters'}", ALICE);
    assert_eq!(found(&borrowed).len(), 2);
    let renamed = own.replace("name: cluster-admin}\nroleRef", "name: backdoor}\nroleRef");
    assert_eq!(found(&renamed).len(), 2);
}

#[test]
fn aggregated_roles_take_over_the_rules_that_their_selectors_name() {
    let text = "kind: ClusterRole\nmetadata: {name: c}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {to: c}}, {matchExpressions: [{key: also, operator: Exists}]}]}\n\
        ---\nkind: ClusterRole\nmetadata: {name: part, labels: {to: c}}\nrules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]\n\
        ---\nkind: ClusterRole\nmetadata: {name: part2, labels: {also: x}}\nrules: [{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}]\n\
        ---\nkind: ClusterRole\nmetadata: {name: unrelated, labels: {to: d}}\nrules: [{apiGroups: [''], resources: [pods/exec], verbs: [create]}]\n";
    let text = text.to_owned() + &bind("ClusterRoleBinding", "c", ALICE);
    let of_alice: Vec<String> = found(&text)
        .into_iter()
        .filter(|(.., subject)| subject.is_some())
        .map(|(check, ..)| check)
        .collect();
    assert_eq!(of_alice, ["nodes-proxy", "secrets-read"]);
}

#[test]
fn a_missing_role_is_named_and_not_passed_over() {
    let audit = audit(
        &objects(&bind("ClusterRoleBinding", "elsewhere", WEB)),
        false,
    );
    assert_eq!(audit.unresolved, ["ClusterRole/elsewhere"]);
    assert!(audit.findings.is_empty());
}

#[test]
fn a_service_account_has_the_rights_of_its_groups() {
    let text = role(
        "ClusterRole",
        "c",
        "{apiGroups: [''], resources: [pods], verbs: [get]}",
    ) + &bind(
        "ClusterRoleBinding",
        "c",
        "{kind: Group, name: 'system:serviceaccounts:shop'}",
    );
    let access = Access::resolve(&objects(&text));
    let of = |subject: &str| {
        access
            .permissions(&subject.parse().unwrap())
            .into_iter()
            .map(|p| (p.scope, p.rule, p.via))
            .collect::<Vec<_>>()
    };
    let expected = (
        "cluster".to_owned(),
        "get pods in core".to_owned(),
        "ClusterRoleBinding/b-c (Group:system:serviceaccounts:shop)".to_owned(),
    );
    assert_eq!(
        of("ServiceAccount:shop/web"),
        std::slice::from_ref(&expected)
    );
    assert_eq!(of("User:system:serviceaccount:shop:web"), [expected]);
    assert_eq!(of("ServiceAccount:other/web"), []);
    assert_eq!(of("User:alice"), []);
}

#[test]
fn the_way_to_full_power_is_found_across_two_steps() {
    let text = role(
        "Role",
        "r-deploy",
        "{apiGroups: [apps], resources: [deployments], verbs: [create]}",
    ) + &bind("RoleBinding", "r-deploy", ALICE)
        + &role(
            "ClusterRole",
            "tokens",
            "{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create]}",
        )
        + &bind("ClusterRoleBinding", "tokens", WEB)
        + &bind(
            "ClusterRoleBinding",
            "cluster-admin",
            "{kind: ServiceAccount, name: operator, namespace: ops}",
        );
    let audit = audit(&objects(&text), false);
    let paths: Vec<(&str, &str)> = audit
        .findings
        .iter()
        .filter(|f| f.check == "escalation-path")
        .map(|f| (f.subject.as_deref().unwrap(), f.rule.as_str()))
        .collect();
    let end = "issues a token for ServiceAccount:ops/operator, which may do everything";
    assert_eq!(
        paths,
        [
            (
                "ServiceAccount:shop/web",
                format!("ServiceAccount:shop/web {end}").as_str()
            ),
            (
                "User:alice",
                format!("User:alice starts a pod as ServiceAccount:shop/web {end}").as_str()
            ),
        ]
    );
}

#[test]
fn workloads_with_the_default_service_account_and_its_token_are_named() {
    let pod = |extra: &str| {
        format!(
            "kind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec: {{template: {{spec: {{containers: []{extra}}}}}}}\n"
        )
    };
    assert_eq!(found(&pod("")).len(), 1);
    assert_eq!(found(&pod(", automountServiceAccountToken: false")), []);
    assert_eq!(found(&pod(", serviceAccountName: web")), []);
}

#[test]
fn lists_json_and_broken_input_are_told_apart() {
    let list = r#"{"kind":"List","items":[{"kind":"ClusterRole","metadata":{"name":"c"},"rules":null},{"kind":"Service","metadata":{"name":"s"}}]}"#;
    let read = objects(list);
    assert_eq!((read.roles.len(), read.other), (1, 1));
    let error = |text: &str| Objects::default().add_text(text).unwrap_err().to_string();
    assert!(error("kind: [").starts_with("not valid YAML or JSON"));
    assert!(
        error("kind: ClusterRole\nmetadata: {name: c}\nrules: 5\n")
            .starts_with("not a valid ClusterRole")
    );
    assert_eq!(
        error("kind: Role\nmetadata: {}\n"),
        "not a valid Role: metadata.name is missing"
    );
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let references = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.extend([format!("a{level}: &a{level} [{references}]\n")]);
    }
    assert!(matches!(
        Objects::default().add_text(&bomb),
        Err(ReadObjectsError::Syntax(_))
    ));
}
