//! The user-facing roles that every cluster has, for manifests that bind them without bringing them.
//!
//! Source: Kubernetes documentation, "Using RBAC Authorization", section "User-facing roles";
//! only the rules that a check can find are written down.

use super::objects::Rule;

const WRITE: &str = "create delete deletecollection get list patch update watch";
const READ: &str = "get list watch";
const APPS: &str = "deployments daemonsets statefulsets replicasets";

/// The rules of `cluster-admin`, `admin`, `edit` or `view`.
pub(super) fn rules(name: &str) -> Option<Vec<Rule>> {
    match name {
        "cluster-admin" => Some(vec![rule("*", "*", "*")]),
        "admin" => {
            let mut rules = edit();
            rules.push(rule(
                "rbac.authorization.k8s.io",
                "roles rolebindings",
                WRITE,
            ));
            Some(rules)
        }
        "edit" => Some(edit()),
        "view" => Some(vec![
            rule(
                "",
                "pods pods/log configmaps services endpoints serviceaccounts",
                READ,
            ),
            rule("apps", APPS, READ),
            rule("batch", "jobs cronjobs", READ),
        ]),
        _ => None,
    }
}

fn edit() -> Vec<Rule> {
    vec![
        rule(
            "",
            "secrets pods pods/attach pods/exec pods/portforward configmaps services",
            WRITE,
        ),
        rule("", "serviceaccounts", "impersonate"),
        rule("", "serviceaccounts/token", "create"),
        rule("apps", APPS, WRITE),
        rule("batch", "jobs cronjobs", WRITE),
    ]
}

/// Resources and verbs are words with spaces between.
fn rule(group: &str, resources: &str, verbs: &str) -> Rule {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    Rule {
        api_groups: vec![group.to_owned()],
        resources: words(resources),
        verbs: words(verbs),
        ..Rule::default()
    }
}
